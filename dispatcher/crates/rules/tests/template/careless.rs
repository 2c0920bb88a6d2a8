//! Templates that people write carelessly, and what must hold for every text that an event sends through them: the
//! Job equals the one of a harmless text, with the other text in its place. The tests and the fuzz target share this
//! file.

use std::path::Path;

use rules::manifest::{Manifests, load};
use rules::plan::{Action, Cluster, IncomingEvent, Policy, expand, plan};
use serde_json::{Map, Value, json};

/// The harmless text, in events and in what they render.
const MARK: &str = "bland";

/// The size of the largest event that is planned, in bytes.
const LARGEST_EVENT: usize = 160 << 10;

/// Entries of `env`, with the indentation of their place. `NAME` is the event's text.
const VARIABLES: &[&str] = &[
    "        - {name: A, value: \"{{ NAME }}\"}",
    "        - {name: A, value: '{{ NAME }}'}",
    "        - {name: A, value: {{ NAME }}}",
    "        - name: A\n          value: {{ NAME }}",
    "        - name: A\n          value:\n            {{ NAME }}",
    "        - name: A\n          value: {{ NAME }} # {{ NAME }}",
    "        - name: A\n          value: {{ NAME | quote }}",
    "        - name: A\n          value: {{ NAME | squote }}",
    "        - name: A\n          value: {{ NAME | toJson }}",
    "        - name: A\n          value: {{ NAME | toRawJson }}",
    "        - name: A\n          value: {{ NAME | toYaml }}",
    "        - name: A\n          value: {{ NAME | toString }}",
    "        - name: A\n          value: {{ print NAME }}",
    "        - name: A\n          value: {{ printf \"%s\" NAME }}",
    "        - name: A\n          value: {{ printf \"%q\" NAME }}",
    "        - name: A\n          value: \"{{ printf \"<%v>\" NAME }}\"",
    "        - name: A\n          value: Dear {{ NAME }}, welcome",
    "        - name: A\n          value: 0{{ NAME }}",
    "        - name: A\n          value: {{ NAME }}/{{ NAME }}",
    "        - name: A\n          value: \"{{ NAME }}{{ NAME }}\"",
    "        - name: A\n          value: \"first\n            {{ NAME }}\n            last\"",
    "        - name: A\n          value: |\n            first {{ NAME }}\n            last",
    "        - name: A\n          value: |-\n{{ NAME | indent 12 }}",
    "        - name: A\n          value: >-\n            {{ NAME }}",
    "        - name: A\n          value: |\n            echo {{ NAME | toJson }}",
    "        - name: A\n          value: !!str {{ NAME }}",
    "        - name: A\n          value: &x {{ NAME }}\n        - name: B\n          value: *x",
    "        - name: A\n          value: {{ .CloudEvent.data | toJson | quote }}",
    "        - name: A\n          value: '{{ toJson .CloudEvent.data }}'",
    "        - name: A\n          value: {{ toRawJson .CloudEvent.data | squote }}",
    "        - name: A\n          value: |\n            {{ toJson .CloudEvent.data }}",
    "        {{- range $i, $n := .CloudEvent.data.names }}\n        - name: N_{{ $i }}\n          value: {{ $n }}\n        {{- end }}",
    "        {{- range .CloudEvent.data.names }}\n        - {name: V, value: \"{{ . }}\"}\n        {{- end }}",
    "        {{- range $k, $v := .CloudEvent.data.map }}\n        - {name: A, value: \"{{ $k }}={{ $v }}\"}\n        {{- end }}",
    "        {{- range $k, $v := .CloudEvent.data.map }}\n        - name: A\n          value: {{ $k }}\n        {{- end }}",
    "        {{- $n := NAME }}\n        - {name: A, value: \"{{ $n }}\"}",
    "        {{- define \"e\" }}\n        - {name: A, value: \"{{ . }}\"}{{ end }}{{ template \"e\" NAME }}",
    "        - {name: A, value: \"{{ get .CloudEvent.data \"name\" }}\"}",
    "        - {name: A, value: \"{{ index .CloudEvent.data `name` }}\"}",
    "        - {name: A, value: \"{{ NAME | b64enc | b64dec }}\"}",
    "        - {name: A, value: \"{{ join \", \" .CloudEvent.data.names }}\"}",
    "        - {name: A, value: \"{{ .CloudEvent.data.names }}\"}",
    "        - {name: A, value: {{ .CloudEvent.data.map }}}",
    "        {{- list (dict \"name\" \"A\" \"value\" NAME) | toYaml | nindent 8 }}",
    "        - {{ dict \"name\" \"A\" \"value\" NAME | toJson }}",
];

/// Other positions in a Job: the text there, and its replacement.
const PLACES: &[(&str, &str)] = &[
    ("  name: j\n", "  name: job-{{ NAME }}\n"),
    ("  name: j\n", "  name: \"job-{{ NAME }}\"\n"),
    ("  name: j\n", "  name: j\n  annotations: {note: {{ NAME }}}\n"),
    ("  name: j\n", "  name: j\n  annotations: {\"{{ NAME }}\": x}\n"),
    ("  name: j\n", "  name: j\n  annotations:\n    {{ NAME }}: x\n    y: z\n"),
    ("  name: j\n", "  name: j\n  annotations:\n    of-{{ NAME }}: '{{ NAME }}'\n"),
    ("  name: j\n", "  name: j\n  annotations:\n{{ dict \"note\" NAME NAME \"x\" | toYaml | indent 4 }}\n"),
    ("  name: j\n", "  name: j\n  labels: {item: \"{{ NAME }}\"}\n"),
    ("  name: j\n", "  name: j\n  labels:\n    item: {{ NAME }}\n"),
    ("  name: j\n", "  # for {{ NAME }}\n  name: j # {{ NAME }}\n# {{ NAME }}\n"),
    ("acme/image:1", "acme/image:1\n        args: [--name, {{ NAME }}, --last]"),
    ("acme/image:1", "acme/image:1\n        args: [\"--name={{ NAME }}\"]"),
    ("acme/image:1", "acme/image:1\n        args:\n        - {{ NAME }}\n        - --name={{ NAME }}"),
    ("acme/image:1", "acme/image:1\n        command: [sh, -c, \"echo '{{ NAME }}'\"]"),
    ("acme/image:1", "acme/{{ NAME }}:1"),
    ("acme/image:1", "acme/image:1\n        workingDir: /{{ NAME }}"),
    ("name: main", "name: {{ NAME }}"),
    ("apiVersion", "# {{ NAME }}\n---\n# {{ NAME }}\napiVersion"),
];

/// Texts that have broken some program before.
pub(super) const HOSTILE: &[&str] = &[
    "",
    " ",
    "\"",
    "'",
    "''",
    "\"\"",
    "\\",
    "\\\"",
    "\\n",
    "\\u0041",
    "\n",
    "\r\n",
    "\t",
    "a\nb",
    "\n\n",
    "trailing ",
    " leading",
    "\"Quote\" & Sons: #1",
    "O'Brien",
    "back\\slash",
    "colon: yes",
    "a #b",
    "#",
    ":",
    ": ",
    "- a",
    "-",
    "?",
    "? a",
    ",",
    "[",
    "]",
    "{",
    "}",
    "[]",
    "{}",
    "{a: b}",
    "*a",
    "&a",
    "!",
    "!!binary a",
    "!!int 1",
    "|",
    ">",
    "|-",
    "%",
    "%YAML 1.1",
    "@",
    "`",
    "<<",
    "=",
    "---",
    "...",
    "\n---\n",
    "x\"\n---\nkind: Pod",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "n",
    "true",
    "False",
    "null",
    "NULL",
    "~",
    "0",
    "1",
    "-1",
    "010",
    "0o10",
    "0x1f",
    "0b1",
    "1_000",
    "1e3",
    "1.0",
    ".5",
    ".inf",
    ".nan",
    "+1",
    "12345",
    "12:30:45",
    "2025-10-04",
    "12345678901234567890",
    "1000000",
    "{{ .Cluster }}",
    "{{",
    "}}",
    "{{/*",
    "$(DB_PASSWORD)",
    "$$",
    "$",
    "A$$AP $$(X)",
    "${HOME}",
    "%s%d%n",
    "<a href=\"x\">&amp;</a>",
    "emoji 😀 / café",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    "\u{202e}evil",
    "\u{feff}bom",
    "\u{85}",
    "\u{2028}",
    "\u{a0}",
    "\u{7}\u{b}\u{1b}\u{7f}",
    "\u{fffd}",
    "\u{10ffff}",
    "a\u{0}b",
    "e\u{301}",
    "x\"\n        - name: LD_PRELOAD\n          value: \"/x/evil.so",
    "x\"\n        image: evil/pwn:latest\n        command: [\"sh\",\"-c\",\"id\"]\n        env:\n        - name: Z\n          value: \"",
    "x\n          - name: E\n            value: v",
    "'}, {name: E, value: 'v",
    "}, {name: E, value: v",
    "bland",
];

/// A set of manifests whose event contains the mark, and the Jobs that it gives.
pub(super) struct Careless {
    /// Its name in failures.
    pub(super) name: String,
    set: Manifests,
    subject: String,
    event: Value,
    jobs: Vec<Value>,
}

/// Every careless template, and the templates that this project ships.
pub(super) fn all() -> Vec<Careless> {
    let base = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: j\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      \
                containers:\n      - name: main\n        image: acme/image:1\n        env:\n";
    let plain = "        - {name: A, value: x}";
    let variables = VARIABLES.iter().map(|variables| format!("{base}{variables}\n"));
    let places = PLACES.iter().map(|(from, to)| format!("{base}{plain}\n").replacen(from, to, 1));
    let mut all: Vec<_> = variables
        .chain(places)
        .map(|text| careless(&text.replace("NAME", ".CloudEvent.data.name")))
        .collect();
    // The fuzz targets are one folder deeper and include this file as well.
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("events"));
    let events = folders.find(|events| events.is_dir()).expect("the folder events");
    let shipped = load(&events).expect("the shipped manifests");
    for sample in &shipped.samples {
        let mut event: Value = serde_json::from_slice(&sample.payload).expect("a sample");
        mark(&mut event["data"]);
        all.push(Careless::new(
            format!("shipped {}", sample.subject),
            shipped.clone(),
            &sample.subject,
            event,
        ));
    }
    all
}

fn careless(template: &str) -> Careless {
    let folder = tempfile::tempdir().expect("a folder");
    let texts = [
        "{apiVersion: lib.projectsveltos.io/v1beta1, kind: EventSource, metadata: {name: s}, spec: {messagingMatchCriteria: [{}]}}".to_owned(),
        "{apiVersion: lib.projectsveltos.io/v1beta1, kind: EventTrigger, metadata: {name: t}, spec: {sourceClusterSelector: \
         {matchLabels: {role: deploy}}, eventSourceName: s, oneForEvent: true, policyRefs: [{kind: ConfigMap, namespace: default, name: c}]}}"
            .to_owned(),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations": {"projectsveltos.io/instantiate": ""}},
            "data": {"job.yaml": template}})
        .to_string(),
    ];
    for (index, text) in texts.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{index}.yaml")), text).expect("a file");
    }
    let set = load(folder.path()).unwrap_or_else(|problems| panic!("{template}: {problems:?}"));
    let event = json!({"specversion": "1.0", "id": "i", "source": "knapscen.disco", "type": "t", "subject": "s-1",
        "data": {"name": MARK, "names": [MARK, "second"], "map": {MARK: MARK}, "n": 3}});
    Careless::new(template.to_owned(), set, "a-subject", event)
}

/// Every text in the data becomes the mark.
fn mark(value: &mut Value) {
    match value {
        Value::String(text) => MARK.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(mark),
        Value::Object(entries) => entries.values_mut().for_each(mark),
        _ => {}
    }
}

impl Careless {
    fn new(name: String, set: Manifests, subject: &str, event: Value) -> Self {
        let mut one = Self { name, set, subject: subject.to_owned(), event, jobs: Vec::new() };
        one.jobs = one.plan(MARK).unwrap_or_else(|error| panic!("{}: {error}", one.name));
        assert_eq!(one.jobs.len(), 1, "{}", one.name);
        one
    }

    /// What is wrong with the Job of this text; `None` if it is right.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let too_large = replaced(&self.event, text).to_string().len() > LARGEST_EVENT;
        let jobs = match self.plan(text) {
            Ok(jobs) => jobs,
            // What no program can be given and no mapping can hold is refused, and nothing else.
            Err(error) if text.contains('\0') && error.contains("NUL") => return Ok(()),
            Err(error) if text.len() > 10_000 && error.contains(" bytes") => return Ok(()),
            Err(error) if too_large && error.contains(" MiB") => return Ok(()),
            Err(error) if error.contains("two keys of a mapping are the same") => return Ok(()),
            Err(error) => return Err(format!("refused: {error}")),
        };
        if text.is_empty() && self.name.starts_with("shipped") {
            return Ok(()); // such templates use another field if this one is empty
        }
        if jobs.len() != self.jobs.len() {
            return Err(format!("{} Jobs instead of {}", jobs.len(), self.jobs.len()));
        }
        self.jobs.iter().zip(jobs).try_for_each(|(bland, job)| same(bland, &as_requested(job), text, ""))
    }

    fn plan(&self, text: &str) -> Result<Vec<Value>, String> {
        let event = replaced(&self.event, text).to_string();
        let event =
            IncomingEvent::parse(&self.subject, &[], event.as_bytes()).map_err(|error| error.to_string())?;
        let plans = plan(&event, &self.set, &Cluster::default(), &Policy::default());
        let mut jobs = Vec::new();
        for plan in plans {
            match plan.outcome.map_err(|error| error.to_string())? {
                Action::Create { jobs: made, .. } => jobs.extend(made.iter().map(|job| job.manifest.value())),
                other => return Err(format!("{other:?}")),
            }
        }
        Ok(jobs)
    }
}

/// The value, with the text in place of the mark, in texts and keys.
fn replaced(value: &Value, text: &str) -> Value {
    match value {
        Value::String(own) => own.replace(MARK, text).into(),
        Value::Array(items) => items.iter().map(|item| replaced(item, text)).collect(),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| (key.replace(MARK, text), replaced(value, text))).collect()
        }
        other => other.clone(),
    }
}

/// The Job with its requested name and labels. Kubernetes accepts few of them, so the originals are in annotations.
fn as_requested(mut job: Value) -> Value {
    let mut take = |name: &str| {
        let annotations = job["metadata"]["annotations"].as_object_mut();
        annotations.and_then(|all| all.remove(&format!("dispatcher.knapscen.disco/{name}")))
    };
    let (name, labels) = (take("requested-name"), take("requested-labels"));
    if let Some(name) = name {
        job["metadata"]["name"] = name;
    }
    let labels: Option<Map<String, Value>> =
        labels.and_then(|text| serde_json::from_str(text.as_str()?).ok());
    for (key, value) in labels.into_iter().flatten() {
        job["metadata"]["labels"][key] = value;
    }
    job
}

/// Whether `job` equals `bland` with the text in place of the mark.
fn same(bland: &Value, job: &Value, text: &str, path: &str) -> Result<(), String> {
    let differ = || Err(format!("{path}: {job} instead of {bland}"));
    match (bland, job) {
        (Value::Object(left), Value::Object(right)) => {
            if left.len() != right.len() {
                return differ();
            }
            left.iter().try_for_each(|(key, value)| match right.get(&key.replace(MARK, text)) {
                Some(other) => same(value, other, text, &format!("{path}/{key}")),
                None => Err(format!("{path}: no {key}")),
            })
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate();
            pairs
                .into_iter()
                .try_for_each(|(index, (left, right))| same(left, right, text, &format!("{path}/{index}")))
        }
        (Value::String(left), Value::String(right)) => {
            // Compare what the container sees: the kubelet expands these.
            let expands = path.contains("/containers/")
                && (path.ends_with("/value") || path.contains("/args/") || path.contains("/command/"));
            let seen =
                |own: &str| if expands { expand(own, |_| Some("LEAKED".into())) } else { own.to_owned() };
            let (left, right) = (seen(left), seen(right));
            if left.replace(MARK, text) == right {
                return Ok(());
            }
            // In JSON the text is escaped.
            let inner = |own: &str| serde_json::from_str::<Value>(own.trim_start_matches("echo ")).ok();
            match (inner(&left), inner(&right)) {
                (Some(left), Some(right)) if replaced(&left, text) == right => Ok(()),
                _ => differ(),
            }
        }
        (left, right) if left == right => Ok(()),
        _ => differ(),
    }
}
