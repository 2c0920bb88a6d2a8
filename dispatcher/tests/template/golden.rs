//! The golden vectors: what Go's text/template, sprig and Kubernetes' YAML reader make of the same inputs.

use std::path::Path;

use dispatcher::template::{Template, parse_documents};
use serde::Deserialize;
use serde_json::Value;

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
    stage: Stage,
    out: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Ok,
    Parse,
    Exec,
}

fn read<T: for<'de> Deserialize<'de>>(file: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn rendered(case: &Case, data: &Value) -> (Stage, Option<String>, String) {
    match Template::parse("x", &case.template) {
        Err(error) => (Stage::Parse, None, error.to_string()),
        Ok(template) => match template.render_text(data) {
            Err(error) => (Stage::Exec, None, error.to_string()),
            Ok(text) => (Stage::Ok, Some(text), String::new()),
        },
    }
}

fn check(file: &str) {
    let templates: Templates = read(file);
    let mut wrong = Vec::new();
    let mut checked = 0;
    for case in templates.cases.iter().filter(|case| case.missing_key == "error") {
        checked += 1;
        let (stage, out, error) = rendered(case, &templates.data);
        if out != case.out {
            let stage = match stage {
                Stage::Ok => "ok",
                Stage::Parse => "parse",
                Stage::Exec => "exec",
            };
            wrong.push(format!("{:?}\n   go: {:?}\n our: {stage} {out:?} {error}", case.template, case.out));
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
        let same = match &ours {
            Ok(documents) => {
                case.err.is_empty() && numbers(documents) == numbers(case.docs.as_deref().unwrap_or_default())
            }
            Err(_) => !case.err.is_empty(),
        };
        if !same {
            let text: String = case.yaml.chars().take(80).collect();
            wrong.push(format!("{}: {text:?}\n   go: {:?} {}\n our: {ours:?}", case.id, case.docs, case.err));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Documents with numbers by value: Kubernetes' reader makes `1` of `1.0`.
fn numbers(documents: &[Value]) -> Vec<Value> {
    fn number(value: &Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
            Value::Array(items) => items.iter().map(number).collect(),
            Value::Object(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.clone(), number(value))).collect())
            }
            other => other.clone(),
        }
    }
    documents.iter().map(number).collect()
}
