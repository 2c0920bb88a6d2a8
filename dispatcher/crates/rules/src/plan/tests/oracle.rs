//! Every line of `tests/golden/sveltos.txt`, outputs of the real libraries: the result here is the same, or listed
//! with a reason.

use std::path::Path;
use std::str::Chars;

use super::*;
use crate::plan::cluster::MATCHING_RESOURCE;
use crate::plan::name::fit_label;
use crate::plan::{EnvValue, expand};
use gotemplate::Template;
use kyaml::parse_documents;

/// Events that Sveltos reads and we do not, or the reverse; each with a reason.
const OTHER_EVENTS: &[(&str, &str)] = &[
    (r#""id":"i","data":{"a":1}}"#, "without datacontenttype the data is JSON, as the specification says"),
    (r#""datacontenttype":"text/json""#, "any JSON is taken"),
    (r#""datacontenttype":"Application/JSON""#, "media types are compared without case"),
    (r#""datacontenttype":"application/vnd.x+json""#, "any JSON is taken"),
    (r#""data_base64":"eyJhIjoxfQ==""#, "JSON in base64 is data"),
    (r#"{"specversion":"1.0","datacontenttype""#, "an event needs id, source and type"),
    (r#""specversion":"0.3""#, "only 1.0 is read"),
];

/// Templates that render differently, each with a reason.
const OTHER_TEMPLATES: &[(&str, &str)] = &[
    (r#"{{ env "HOME" }}"#, "a template must not read the environment"),
    ("{{ eq .CloudEvent.data.n 3 }}", "numbers compare by value"),
];

/// The lines of one section of the file.
fn section(title: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/sveltos.txt");
    let text = fs::read_to_string(path).unwrap();
    let begins = |line: &str| line.starts_with("== ") || line.starts_with("######## ");
    let mut lines = text.lines().skip_while(|line| !(begins(line) && line.contains(title)));
    assert!(lines.next().is_some(), "there is no section {title}");
    lines.take_while(|line| !begins(line)).map(str::to_owned).collect()
}

/// A text as Go quotes it, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    fn code(rest: &mut Chars<'_>, digits: usize) -> Option<char> {
        let hex: String = rest.take(digits).collect();
        char::from_u32(u32::from_str_radix(&hex, 16).ok()?)
    }
    let mut rest = text.strip_prefix('"')?.chars();
    let mut out = String::new();
    loop {
        out.push(match rest.next()? {
            '"' => return Some((out, rest.as_str())),
            '\\' => match rest.next()? {
                'a' => '\u{7}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                'x' => code(&mut rest, 2)?,
                'u' => code(&mut rest, 4)?,
                other => other,
            },
            other => other,
        });
    }
}

#[test]
fn events_are_seen_as_the_real_sdk_writes_them() {
    let lines = section("1. normalisation");
    let lines: Vec<_> = lines.iter().filter(|line| !line.is_empty()).collect();
    let mut differences = Vec::new();
    for pair in lines.chunks(2) {
        let input = pair[0].strip_prefix("  IN  ").unwrap();
        let ours = IncomingEvent::parse("s", &[], input.as_bytes()).map(|event| event.view().clone());
        let same = match pair[1].strip_prefix("  OUT ") {
            Some(theirs) => ours.as_ref().ok() == Some(&serde_json::from_str(theirs).unwrap()),
            None => pair[1].starts_with("  ERR ") && ours.is_err(),
        };
        if !same {
            assert!(
                OTHER_EVENTS.iter().any(|(part, _)| input.contains(part)),
                "{input}\n{}\n{ours:?}",
                pair[1]
            );
            differences.push(input);
        }
    }
    assert_eq!(lines.len(), 2 * 21);
    for (part, reason) in OTHER_EVENTS {
        assert!(differences.iter().any(|input| input.contains(part)), "no longer so: {reason}");
    }
}

#[test]
fn what_panics_the_controller_is_a_skip_or_an_error_of_one_event() {
    let mut checked = 0;
    for line in section("2. actions") {
        let Some((action, rest)) = line.strip_prefix("  action ").and_then(unquoted) else { continue };
        let theirs = rest.trim_start().strip_prefix("-> ").unwrap();
        checked += 1;
        let text = trigger(&format!(", cloudEventAction: {}", json!(action)));
        let dir = tempfile::tempdir().unwrap();
        for (index, text) in [SOURCE, &text, &template(&job("j", PLAIN))].iter().enumerate() {
            fs::write(dir.path().join(format!("{index}.yaml")), text).unwrap();
        }
        // A wrong action word or template is found before any event comes.
        let Ok(set) = load(dir.path()) else {
            assert!(theirs.starts_with("PANIC") || theirs.contains("malformed"), "{action:?}: {theirs}");
            continue;
        };
        let event = event(json!({"data": {"name": "Acme", "user_role": "admin_user"}}));
        match plan_all(&set, &event).remove(0).outcome {
            Ok(Action::Create { .. }) => assert_eq!(theirs, "Create"),
            Ok(Action::Delete { .. }) => assert_eq!(theirs, "Delete"),
            Ok(Action::Skip(_)) => assert!(theirs.starts_with("PANIC"), "{action:?}"),
            Err(error) => {
                assert!(theirs.starts_with("ERR") && error.to_string().contains("missing"), "{error}");
            }
        }
    }
    assert_eq!(checked, 9);
}

/// Renders and compares each template of a section.
fn compare(title: &str, cloud_event: &Value) -> usize {
    let context = json!({
        "CloudEvent": cloud_event, "Cluster": Cluster::default().view(), "Resource": null,
        "MatchingResource": *MATCHING_RESOURCE,
    });
    let (mut checked, mut before) = (0, String::new());
    for line in section(title) {
        if line.is_empty() || line.starts_with("funcs:") {
            continue;
        }
        let failed = ["  ERR(", " EXEC-ERR ", " PARSE-ERR ", " ERR("].iter().find_map(|mark| line.find(mark));
        // The output is the first quoted text that ends at the end of the line.
        let whole = |at: &usize| unquoted(&line[*at..]).is_some_and(|(_, rest)| rest.is_empty());
        let output = line.match_indices(" \"").map(|(at, _)| at + 1).find(whole);
        let Some(end) = failed.or(output) else {
            before.push_str(&line);
            before.push('\n');
            continue;
        };
        let source = before.clone() + line[..end].trim_end();
        before.clear();
        let source = source.strip_prefix("  ").filter(|_| title.starts_with('3')).unwrap_or(&source);
        let theirs =
            output.filter(|_| failed.is_none()).and_then(|at| unquoted(&line[at..])).map(|(text, _)| text);
        let ours = Template::parse("t", source).and_then(|template| template.render_text(&context));
        let same = match (&ours, &theirs) {
            (Ok(ours), Some(theirs)) => ours == theirs || *ours == without_exponents(theirs),
            (Err(_), None) => true,
            _ => false,
        };
        let listed = OTHER_TEMPLATES.iter().any(|(template, _)| *template == source);
        assert_eq!(same, !listed, "{source}\n  go: {theirs:?}\n our: {ours:?}");
        checked += 1;
    }
    checked
}

/// Turns Go's `1.2345678e+07` into `12345678`, because whole numbers are integers here.
fn without_exponents(text: &str) -> String {
    let number = regex::Regex::new(r"\d(\.\d+)?e\+0\d\b").unwrap();
    let whole = |found: &regex::Captures<'_>| format!("{:.0}", found[0].parse::<f64>().unwrap());
    number.replace_all(text, whole).into_owned()
}

#[test]
fn templates_render_as_the_real_controller_renders_them() {
    let data = json!({"n": 1_234_567, "small": 3, "f": 1.5, "b": true, "nul": null, "html": "<a&b>",
        "q": "he said \"hi\"", "user_role": "admin_user"});
    let event = json!({"specversion": "1.0", "id": "i1", "source": "knapscen.disco", "type": "user.saved",
        "subject": "s-1", "datacontenttype": "application/json", "data": data});
    assert_eq!(compare("3. rendering", &event), 30);
}

#[test]
fn functions_give_what_the_real_ones_give() {
    let data = json!({"n": 3, "big": 12_345_678, "exp": 1e21, "small": 0.000_001, "neg": -2, "name": "O\"Brien & <Sons>\n",
        "uni": "café \u{2028} 😀", "ctl": "a\u{7}b\u{b}c\u{7f}", "nul": null, "t": true, "f": 1.5, "empty": "",
        "obj": {"a": {"b": "c"}, "z": 1}, "list": ["a", 1, null], "users": [{"name": "A B"}]});
    assert_eq!(compare("function golden vectors", &json!({"subject": "s-1", "data": data})), 64);
}

#[test]
fn names_that_break_or_widen_the_real_rendering_arrive_exactly() {
    let env = "        - name: COMPANY_NAME\n          value: \"{{ .CloudEvent.data.name }}\"\n        \
               - name: COMPANY_DATA\n          value: {{ .CloudEvent.data | toJson | quote }}";
    let mut checked = 0;
    for line in section("4. injection") {
        let Some((name, _)) = line.strip_prefix("--- name=").and_then(unquoted) else { continue };
        let data = json!({"name": name});
        let mut jobs = jobs(plan_one(&job("j", env), &event(json!({"data": data}))));
        let spec = jobs.remove(0).spec;
        assert_eq!((jobs.len(), spec.env.len(), spec.image.as_str()), (0, 2, "acme/image:1"), "{name:?}");
        assert!(spec.command.is_empty() && spec.args.is_empty() && spec.env_from.is_empty(), "{name:?}");
        let seen = |index: usize| match &spec.env[index].value {
            EnvValue::Literal(text) => expand(text, |_| Some("LEAKED".into())),
            other => panic!("{other:?}"),
        };
        assert_eq!(seen(0), name);
        assert_eq!(serde_json::from_str::<Value>(&seen(1)).unwrap(), data);
        checked += 1;
    }
    assert_eq!(checked, 11);
}

#[test]
fn a_source_or_subject_that_is_no_label_still_gets_its_job() {
    let mut checked = 0;
    for line in section("injection + label probes") {
        let Some((value, _)) = line.strip_prefix("label from ").and_then(unquoted) else { continue };
        let source = if value.is_empty() { "s" } else { &value };
        let job =
            jobs(plan_one(&job("j", PLAIN), &event(json!({"subject": value, "source": source})))).remove(0);
        let manifest = job.manifest.value();
        let labels = manifest["metadata"]["labels"].as_object().unwrap();
        assert!(
            labels.values().all(|label| fit_label(label.as_str().unwrap()) == label.as_str().unwrap()),
            "{labels:?}"
        );
        assert_eq!(manifest["metadata"]["annotations"]["dispatcher.knapscen.disco/subject"], value);
        checked += 1;
    }
    assert_eq!(checked, 13);
}

#[test]
fn an_unquoted_name_that_yaml_reads_as_something_else_is_a_name() {
    let mut checked = 0;
    for line in section("injection + label probes") {
        let Some(name) = line.strip_prefix("unquoted name ").and_then(|rest| rest.split_whitespace().next())
        else {
            continue;
        };
        let plan = plan_one(&job("{{ .CloudEvent.subject }}", PLAIN), &event(json!({"subject": name})));
        assert_eq!(jobs(plan).remove(0).name, name);
        checked += 1;
    }
    assert_eq!(checked, 7);
}

#[test]
fn texts_are_split_into_documents_as_the_real_controller_does() {
    let mut checked = 0;
    for line in section("6. split") {
        let Some((text, rest)) = unquoted(line.trim_start()) else { continue };
        let mut rest = rest.trim_start().strip_prefix("-> ").unwrap();
        let count: usize = rest.split(' ').next().unwrap().parse().unwrap();
        let ours = parse_documents(&text).unwrap();
        assert_eq!(ours.len(), count, "{text:?}");
        rest = rest.split_once('[').unwrap().1;
        for document in &ours {
            let (theirs, after) = unquoted(rest.trim_start()).unwrap();
            rest = after;
            let theirs = parse_documents(&theirs).unwrap();
            // Their text was converted from a float64.
            assert_eq!(by_float(&theirs[0]), by_float(document), "{text:?}");
        }
        checked += 1;
    }
    assert_eq!(checked, 15);
}

fn by_float(document: &Value) -> Value {
    match document {
        Value::Number(number) => json!(number.as_f64()),
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), by_float(value))).collect(),
        other => other.clone(),
    }
}

const PLAIN: &str = "        - {name: NAME, value: x}";
