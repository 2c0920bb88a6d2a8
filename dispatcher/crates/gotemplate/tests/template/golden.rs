//! The golden vectors: what Go's text/template, sprig and Kubernetes' YAML reader make of the same inputs.
//!
//! Every difference is a failure unless it is in one of the tables below, which give the reason. An entry that no
//! case needs any more is a failure too.

use std::collections::BTreeSet;
use std::path::Path;

use gotemplate::Template;
use kyaml::parse_documents;
use serde::Deserialize;
use serde_json::Value;

/// Templates that differ by decision or by the parser's leniency, each with its reason.
const DIFFERENT: &[(&str, &[&str])] = &[
    (
        "whole numbers are integers",
        &[
            "{{range .CloudEvent.data.n}}{{.}}{{end}}",
            "{{trunc .CloudEvent.data.n .CloudEvent.data.plain}}",
            "{{has 3 .CloudEvent.data.nums}}",
            "{{kindOf .CloudEvent.data.n}}",
        ],
    ),
    (
        "sprig's slice, which takes lists, replaces the builtin, which core.json was made with",
        &[
            "{{define \"r\"}}{{if .}}{{len .}}{{template \"r\" (slice . 1)}}{{end}}{{end}}{{template \"r\" \"abc\"}}",
            "{{ slice .CloudEvent.data.plain 0 4 }}",
            "{{ slice .CloudEvent.data.plain 4 }}",
            "{{ slice .CloudEvent.data.plain }}",
            "{{ slice .CloudEvent.data.uni 0 4 }}",
        ],
    ),
    (
        "the parser takes what Go refuses; the meaning is plain",
        &[
            "{{ \"multi\nline\" }}",
            "{{define \"t\"}}{{define \"u\"}}{{end}}{{end}}",
            "{{if true}}{{define \"t\"}}x{{end}}{{end}}",
            "{{block \"b\"}}x{{end}}",
            "x {{ /* c */ }} y",
            "{{print \"a\"\"b\"}}",
            "{{08}}",
            "{{with true}}{{else if true}}{{end}}",
            "{{range 3}}{{else if true}}{{end}}",
            "{{print \"\\q\"}}",
            "{{print \"\\ud800\"}}",
        ],
    ),
    (
        "a width that no rendering may have is a mistake",
        &["{{printf \"%99999999d\" 1}}", "{{printf \"%.99999999f\" 1.0}}"],
    ),
    ("an empty command is a mistake", &["{{ print | }}"]),
    ("a trim marker takes a no-break space too", &["a\u{a0}{{- 1}}"]),
    ("complex numbers have no use in YAML", &["{{ 1i }}"]),
    ("a template must not read the environment", &["{{env \"HOME_NOPE_X\"}}|"]),
    ("the words of an error are our own", &["{{`[1]`|fromJson}}"]),
];

/// YAML that is refused or read differently, each with its reason.
const DIFFERENT_YAML: &[(&str, &[&str])] = &[
    (
        "a key that occurs twice is a mistake",
        &["dup keys", "dup keys nested", "dup keys 'a' \"a\"", "dup 1 and 0x1", "job: duplicate image"],
    ),
    ("keys are texts: a variable may be called `on` or `y`", &["merge key", "merge quoted \"<<\"", "on key"]),
    ("the budget allows 64 levels", &["deep flow 200", "deep block 100"]),
    ("documents are divided by --- lines only", &["stream: JSON x2"]),
    ("a number that no float64 holds is a mistake", &["scalar: 1e400"]),
    (
        "only line feeds and carriage returns end lines, as in YAML 1.2",
        &["NEL in dq", "LS in plain", "NEL in plain", "LS + '---'"],
    ),
    ("the reader is more lenient", &["escape /", "surrogates \\ud83d\\ude00", "!!null x"]),
    ("the reader knows neither doubled underscores nor timestamps", &["scalar: 1__0", "!!timestamp"]),
];

#[derive(Deserialize)]
struct Templates {
    data: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(rename = "t")]
    template: String,
    #[serde(rename = "mk")]
    missing_key: String,
    out: Option<String>,
    #[serde(default)]
    err: String,
}

fn read<T: for<'de> Deserialize<'de>>(file: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn rendered(template: &str, data: &Value) -> Result<String, String> {
    let template = Template::parse("x", template).map_err(|error| format!("parse: {error}"))?;
    template.render_text(data).map_err(|error| format!("render: {error}"))
}

/// The reason why a whole class of cases may differ.
fn class(case: &Case, ours: &Result<String, String>) -> Option<&'static str> {
    let go = case.out.as_deref().unwrap_or_default();
    let numbers = ["float64 and int", "int and float64"];
    if case.err.contains("incompatible types for comparison")
        && numbers.iter().any(|types| case.err.contains(types))
        && ours.is_ok()
    {
        return Some("numbers compare by value");
    }
    if ours.as_ref().is_ok_and(|ours| *ours == without_exponents(go)) {
        return Some("whole numbers are printed without an exponent");
    }
    if case.err.contains("unexpected <define> in command") && ours.is_ok() {
        return Some("the parser takes a define inside a block, as if it stood outside");
    }
    if case.template.contains("printf") {
        let for_debugging = ["%x", "%X", "%#x", "%#X", "% x", "%b", "%T", "%#v", "%q", "%#q", "c|", "%10.4v"];
        let verb = for_debugging.iter().any(|verb| case.template.contains(verb));
        if verb && ours.is_ok() && case.out.is_some() {
            return Some("verbs for debugging: the engine's printf does not follow Go in all of them");
        }
        if go.contains("%!") && ours.is_ok() {
            return Some("a verb that does not fit: numbers are both whole and floating-point");
        }
    }
    None
}

/// Turns Go's `1.2345678e+07` into `12345678`, if that is exact.
fn without_exponents(text: &str) -> String {
    let exponent = regex::Regex::new(r"\d(\.\d+)?e\+(0\d|1[0-5])\b").unwrap();
    let whole = |found: &regex::Captures<'_>| format!("{:.0}", found[0].parse::<f64>().unwrap());
    exponent.replace_all(text, whole).into_owned()
}

fn check(file: &str) {
    let templates: Templates = read(file);
    let mut wrong = Vec::new();
    let mut checked = 0;
    for case in templates.cases.iter().filter(|case| case.missing_key == "error") {
        checked += 1;
        let ours = rendered(&case.template, &templates.data);
        let same = ours.as_ref().ok() == case.out.as_ref();
        let listed = DIFFERENT.iter().any(|(_, templates)| templates.contains(&case.template.as_str()));
        if same == (listed || (!same && class(case, &ours).is_some())) {
            wrong.push(format!("{:?}\n   go: {:?} {}\n our: {ours:?}", case.template, case.out, case.err));
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_template_language_agrees_with_go() {
    check("core.json");
}

#[test]
fn sprig_agrees_with_go() {
    check("sprig.json");
}

#[test]
fn generated_templates_agree_with_go() {
    check("gen.json");
}

#[test]
fn run_time_errors_are_on_the_line_where_go_reports_them() {
    for file in ["core.json", "sprig.json", "gen.json"] {
        let templates: Templates = read(file);
        for case in templates.cases.iter().filter(|case| case.missing_key == "error") {
            let Ok(template) = Template::parse("x", &case.template) else { continue };
            let Err(error) = template.render_text(&templates.data) else { continue };
            let Some(place) =
                case.err.strip_prefix("template: x:").filter(|_| case.err.contains("executing"))
            else {
                continue;
            };
            let line = place.split(':').next().and_then(|line| line.parse().ok());
            assert_eq!(error.line, line, "{:?}: {error} but {}", case.template, case.err);
        }
    }
}

#[derive(Deserialize)]
struct YamlCase {
    id: String,
    yaml: String,
    docs: Option<Vec<Value>>,
    err: String,
}

#[test]
fn yaml_is_read_as_kubernetes_reads_it() {
    let cases: Vec<YamlCase> = read("yaml.json");
    let mut wrong = Vec::new();
    for case in &cases {
        let ours = parse_documents(&case.yaml);
        let theirs = case.docs.as_deref().unwrap_or_default();
        let same = match &ours {
            Ok(documents) => case.err.is_empty() && by_value(documents) == by_value(theirs),
            Err(_) => !case.err.is_empty(),
        };
        let listed = DIFFERENT_YAML.iter().any(|(_, ids)| ids.contains(&case.id.as_str()));
        if same == listed {
            let text: String = case.yaml.chars().take(80).collect();
            wrong.push(format!("{}: {text:?}\n   go: {theirs:?} {}\n our: {ours:?}", case.id, case.err));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_listed_difference_is_a_golden_case() {
    let mut known = BTreeSet::new();
    for file in ["core.json", "sprig.json", "gen.json"] {
        known.extend(read::<Templates>(file).cases.into_iter().map(|case| case.template));
    }
    known.extend(read::<Vec<YamlCase>>("yaml.json").into_iter().map(|case| case.id));
    for (reason, cases) in DIFFERENT.iter().chain(DIFFERENT_YAML) {
        for case in *cases {
            assert!(known.contains(*case), "{case:?} ({reason}) is no golden case");
        }
    }
}

/// Compares numbers by value, because Kubernetes' reader reads `1.0` as `1`.
fn by_value(documents: &[Value]) -> Vec<Value> {
    fn number(value: &Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
            Value::Array(items) => items.iter().map(number).collect(),
            Value::Object(entries) => {
                entries.iter().map(|(key, value)| (key.clone(), number(value))).collect()
            }
            other => other.clone(),
        }
    }
    documents.iter().map(number).collect()
}
