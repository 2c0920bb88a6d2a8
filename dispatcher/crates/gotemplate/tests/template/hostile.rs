//! No text of an event changes the shape of what is rendered: thousands of hostile texts in careless templates.

use gotemplate::Template;
use serde_json::{Value, json};

use super::random::Random;

/// Careless templates, and the path at which the text must arrive exactly as it was sent, if it is the whole value.
const TEMPLATES: &[(&str, Option<&str>)] = &[
    ("a: \"{{ .CloudEvent.data.name }}\"\nb: 1\n", Some("/a")),
    ("a: '{{ .CloudEvent.data.name }}'\nb: 1\n", Some("/a")),
    ("a: {{ .CloudEvent.data.name }}\nb: 1\n", None),
    ("a: {{ .CloudEvent.data.name | quote }}\n", Some("/a")),
    ("a: {{ .CloudEvent.data.name | squote }}\n", Some("/a")),
    ("a: {{ .CloudEvent.data.name | toJson }}\n", Some("/a")),
    ("a: {{ .CloudEvent.data.name | toYaml }}\n", Some("/a")),
    ("a: {{ printf \"%q\" .CloudEvent.data.name }}\n", Some("/a")),
    ("a: {{ toJson .CloudEvent.data }}\n", Some("/a/name")),
    ("a:\n  {{- toYaml .CloudEvent.data | nindent 2 }}\n", Some("/a/name")),
    ("a:\n{{ toYaml .CloudEvent.data | indent 2 }}\n", Some("/a/name")),
    ("{{ $y := toYaml .CloudEvent.data }}a:\n{{ $y | indent 2 }}\n", Some("/a/name")),
    ("a: x-{{ .CloudEvent.data.name }}-y\n", None),
    ("a: [1, \"{{ .CloudEvent.data.name }}\", 2]\n", Some("/a/1")),
    ("a: {b: \"{{ .CloudEvent.data.name }}\", c: 2}\n", Some("/a/b")),
    ("a: |\n  first {{ .CloudEvent.data.name }}\n  last\nb: 1\n", None),
    ("a: |-\n{{ .CloudEvent.data.name | indent 2 }}\nb: 1\n", Some("/a")),
    ("a: >-\n  {{ .CloudEvent.data.name }}\nb: 1\n", Some("/a")),
    ("# for {{ .CloudEvent.data.name }}\na: 1\n", None),
    ("x{{ .CloudEvent.data.name }}: 1\n", None),
    ("{{ range $i, $n := .CloudEvent.data.names }}---\na: \"{{ $n }}\"\ni: {{ $i }}\n{{ end }}", Some("/a")),
    ("a:\n{{ range .CloudEvent.data.names }}- \"{{ . }}\"\n{{ end }}", Some("/a/0")),
    ("a: \"{{ .CloudEvent.data.name | upper }}\"\n", None),
    ("a: {{ .CloudEvent.data.name | b64enc | b64dec | quote }}\n", Some("/a")),
    ("a: \"{{ default \"none\" .CloudEvent.data.name }}\"\nc: {{ ternary \"true\" \"false\" true }}\n", None),
    ("a: \"{{ print .CloudEvent.data.name }}{{ .CloudEvent.data.name }}\"\n", None),
    ("a: \"{{ .CloudEvent.data.map }}\"\nb: {{ .CloudEvent.data.names }}\n", None),
];

fn event(text: &str) -> Value {
    json!({"CloudEvent": {"data": {"name": text, "names": [text, "second"], "map": {text: text}}}})
}

/// A document with every text replaced by a marker.
fn shape(value: &Value) -> Value {
    match value {
        Value::String(_) => json!("text"),
        Value::Array(items) => items.iter().map(shape).collect(),
        // Keys may contain the text too, so compare their number and the shapes of their values.
        Value::Object(entries) => entries.values().map(|value| json!(["entry", shape(value)])).collect(),
        other => other.clone(),
    }
}

fn shapes(documents: &[Value]) -> Vec<Value> {
    documents.iter().map(shape).collect()
}

#[test]
fn a_hostile_text_changes_no_shape_and_arrives_as_it_was_sent() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (source, path) in TEMPLATES {
        let template = Template::parse("careless", source).unwrap();
        let bland = shapes(&template.render_documents(&event("bland")).unwrap());
        for _ in 0..400 {
            let text = random.text();
            let documents = template
                .render_documents(&event(&text))
                .unwrap_or_else(|error| panic!("{source:?} with {text:?}: {error}"));
            assert_eq!(shapes(&documents), bland, "{source:?} with {text:?}");
            if let Some(path) = path {
                assert_eq!(documents[0].pointer(path), Some(&json!(text)), "{source:?} with {text:?}");
            }
        }
    }
}

#[test]
fn json_inside_a_quoted_scalar_stays_json() {
    let mut random = Random(42);
    for source in [
        "a: '{{ toJson .CloudEvent.data }}'",
        "a: |\n  {{ toJson .CloudEvent.data }}",
        "a: {{ toJson .CloudEvent.data | quote }}",
        "a: {{ toJson .CloudEvent.data | squote }}",
        "a: >\n  {{ toRawJson .CloudEvent.data }}",
    ] {
        let template = Template::parse("json", source).unwrap();
        for _ in 0..400 {
            let event = event(&random.text());
            let documents = template.render_documents(&event).unwrap();
            let inner: Value = serde_json::from_str(documents[0]["a"].as_str().unwrap()).unwrap();
            assert_eq!(inner, event["CloudEvent"]["data"], "{source:?}");
        }
    }
}

#[test]
fn errors_never_quote_the_event() {
    const SECRET: &str = "s3cr3t-value";
    let event = json!({"CloudEvent": {"data": {
        "name": SECRET, "list": [SECRET], "map": {SECRET: SECRET}, "n": 1,
    }}});
    for source in [
        "{{ .CloudEvent.data.name.x }}",
        "{{ .CloudEvent.data.missing }}",
        "{{ range .CloudEvent.data.name }}{{ end }}",
        "{{ index .CloudEvent.data.list .CloudEvent.data.name }}",
        "{{ fail .CloudEvent.data.name }}",
        "{{ fail (printf \"bad %s\" .CloudEvent.data.name) }}",
        "{{ regexFind (print \"[\" .CloudEvent.data.name) \"x\" }}",
        "{{ semver .CloudEvent.data.name }}",
        "{{ add1 .CloudEvent.data.name | lower }}",
        "{{ template \"t\" .CloudEvent.data.name }}{{ define \"t\" }}{{ .x }}{{ end }}",
        "a: {{ .CloudEvent.data.name }}\n{{ .CloudEvent.data.name }}: 1\n  b: c\n",
        "{{ .CloudEvent.data.name }}: 1\n{{ .CloudEvent.data.name }}: 2\n",
        "a: *{{ .CloudEvent.data.name }}\n",
        "a: \"x{{ .CloudEvent.data.map }}",
        "a: !{{ .CloudEvent.data.name }} [",
    ] {
        let template = Template::parse("careless", source).unwrap();
        let error = template.render_documents(&event).expect_err(source).to_string();
        assert!(!error.contains(SECRET), "{source:?}: {error}");
        if let Err(error) = template.render_documents_trusting(&event) {
            assert!(!error.to_string().contains(SECRET), "{source:?}: {error}");
        }
    }
}
