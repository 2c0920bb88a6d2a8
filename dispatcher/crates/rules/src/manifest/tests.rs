//! What the reader accepts, warns about and refuses; each test name is a sentence.

use std::fs;

use super::*;

const SOURCE: &str = "apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata:
  name: s
spec:
  messagingMatchCriteria:
  - subject: ^a$
";

const TRIGGER: &str = "apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: t
spec:
  sourceClusterSelector:
    matchLabels:
      role: deploy
  eventSourceName: s
  oneForEvent: true
  policyRefs:
  - kind: ConfigMap
    namespace: default
    name: c
";

const MAP: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: c
  annotations:
    projectsveltos.io/instantiate: ok
data:
  job.yaml: |
    kind: Job
    name: {{ .CloudEvent.subject }}
";

fn read(files: &[(&str, &str)]) -> Result<Manifests, Vec<Problem>> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    load(dir.path())
}

/// Loads source, trigger and map, one of them changed. Returns all problems as `line: severity: field: message`.
fn problems(from: &str, to: &str) -> Vec<String> {
    let change = |text: &str| text.replace(from, to);
    let all = [change(SOURCE), change(TRIGGER), change(MAP)];
    assert_ne!(all.concat(), [SOURCE, TRIGGER, MAP].concat(), "nothing changed");
    let problems = match read(&[("a.yaml", &all[0]), ("b.yml", &all[1]), ("c.yaml", &all[2])]) {
        Ok(set) => set.warnings,
        Err(problems) => problems,
    };
    problems
        .iter()
        .map(|problem| {
            let file = problem.file.file_name().unwrap().to_string_lossy();
            problem.to_string().replace(&problem.file.display().to_string(), &file)
        })
        .collect()
}

#[test]
fn files_are_found_as_kubectl_finds_them() {
    let json = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}"#;
    let both = format!("# first\n---\n{SOURCE}---\n---\n{TRIGGER}");
    let set = read(&[
        ("deep/er/both.yaml", &both),
        ("map.json", json),
        ("README.md", "kind: not YAML"),
        ("a/sample.cloudevent", "{}"),
        ("..data/copy.yaml", SOURCE),
    ])
    .unwrap();
    assert_eq!(
        (set.sources.len(), set.triggers.len(), set.config_maps.len(), set.samples.len()),
        (1, 1, 1, 1)
    );
    assert_eq!(set.samples[0].subject, "a");
    assert_eq!(set.warnings, []);
}

#[test]
fn a_list_is_unfolded_and_its_items_keep_their_lines() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: lib.projectsveltos.io/v1beta1\n  kind: EventTrigger\n  \
                metadata:\n    name: t\n  spec:\n    syncMode: Sometimes\n    oneForEvent: true\n    eventSourceName: s\n    sourceClusterSelector: {matchLabels: {a: b}}\n    policyRefs: [{kind: ConfigMap, name: c}]\n";
    let problems = read(&[("a.yaml", list)]).unwrap_err();
    assert_eq!((problems[0].line, problems[0].field.as_str()), (9, "spec.syncMode"));
}

#[test]
fn the_version_follows_the_content_and_not_the_samples() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), SOURCE).unwrap();
    let first = load(dir.path()).unwrap().version;
    assert_eq!(version(dir.path()).unwrap(), first);
    fs::write(dir.path().join("sample.cloudevent"), "{}").unwrap();
    assert_eq!(version(dir.path()).unwrap(), first);
    fs::write(dir.path().join("a.yaml"), SOURCE.replace("^a$", "^b$")).unwrap();
    assert_ne!(version(dir.path()).unwrap(), first);
}

#[test]
fn a_folder_that_is_not_there_an_empty_one_and_an_empty_file_are_errors() {
    assert!(load(Path::new("/nowhere/at/all")).is_err());
    assert_eq!(read(&[]).unwrap_err()[0].message, "there is no EventTrigger here");
    for empty in ["", " \n", "---\n---\n"] {
        let problems = read(&[("a.yaml", SOURCE), ("b.yaml", empty)]).unwrap_err();
        assert_eq!(problems[0].message, "is empty", "{empty:?}");
    }
    for cut_off in ["hello", "42", "apiVers"] {
        let problems = read(&[("a.yaml", SOURCE), ("b.yaml", cut_off)]).unwrap_err();
        assert!(problems[0].message.contains("cut off"), "{cut_off:?}: {}", problems[0].message);
    }
}

#[test]
fn a_file_of_comments_is_ignored_with_a_warning() {
    for comments in ["# nothing\n", "---\n  # nothing\n---\n# here"] {
        let set =
            read(&[("a.yaml", SOURCE), ("b.yaml", TRIGGER), ("c.yaml", comments), ("d.yaml", MAP)]).unwrap();
        let warnings: Vec<_> = set.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!((set.sources.len(), warnings), (1, vec!["holds only comments: ignored"]), "{comments:?}");
    }
}

#[test]
fn the_items_of_a_typed_list_have_its_kind() {
    let item = "- metadata: {name: s}\n  spec: {messagingMatchCriteria: [{subject: ^a$}]}\n";
    let version = "apiVersion: lib.projectsveltos.io/v1beta1\n";
    let whole = SOURCE.replace('\n', "\n  ").trim_end().to_owned();
    for list in [
        format!("{version}kind: EventSourceList\nitems:\n{item}"),
        format!("{version}kind: EventSourceList\nitems:\n- {whole}\n"),
        format!("apiVersion: v1\nkind: List\nitems:\n- {whole}\n"),
    ] {
        let set = read(&[("a.yaml", &list), ("b.yaml", TRIGGER), ("d.yaml", MAP)]);
        assert_eq!(set.map(|set| set.sources.len()), Ok(1), "{list}");
    }
    let untyped = format!("apiVersion: v1\nkind: List\nitems:\n{item}");
    let found = read(&[("a.yaml", &untyped), ("b.yaml", TRIGGER), ("d.yaml", MAP)]);
    assert!(found.is_err(), "a List has items of any kind");
}

#[test]
fn a_number_in_the_place_of_a_text_is_to_be_quoted() {
    for number in ["12300000000000000000000", "5", "1.5"] {
        assert_eq!(
            problems("  eventSourceName: s\n", &format!("  eventSourceName: {number}\n")),
            ["b.yml:9: error: spec.eventSourceName: is a number, where a text must be: quote it"]
        );
    }
}

#[test]
fn a_namespace_on_a_cluster_scoped_object_and_unknown_fields_are_accepted() {
    assert_eq!(problems("  name: s\n", "  name: s\n  namespace: x\n"), Vec::<String>::new());
    assert_eq!(
        problems("  - subject: ^a$\n", "  - subject: ^a$\n    cloudEventTyp: x\n"),
        ["a.yaml:8: warning: spec.messagingMatchCriteria[0].cloudEventTyp: unknown field"]
    );
    assert_eq!(
        problems("  oneForEvent: true\n", "  oneForEvent: true\n  tier: 50\n"),
        ["b.yml:11: warning: spec.tier: Sveltos knows this field, the dispatcher does not: no effect"]
    );
}

#[test]
fn other_kinds_are_ignored_with_a_warning() {
    let set = read(&[
        ("a.yaml", SOURCE),
        ("x.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n"),
    ])
    .unwrap();
    assert_eq!(set.warnings[0].message, "apps/v1 Deployment is not for the dispatcher: ignored");
}

#[test]
fn what_is_not_yaml_is_refused_with_its_line() {
    let all = problems("    role: deploy", "   role: deploy\n     x: [");
    assert!(
        all[0].starts_with("b.yml:") && all[0].contains("error: is not YAML as Kubernetes reads it: "),
        "{all:?}"
    );
    assert_ne!(all[0].split(':').nth(1), Some("0"), "{all:?}");
    let twice = problems("  name: t\n", "  name: t\n  name: u\n");
    assert_eq!(twice[0], "b.yml:5: error: the key name occurs twice");
}

#[test]
fn a_wrong_type_is_refused_with_line_and_field() {
    let all = problems("oneForEvent: true", "oneForEvent: \"yes\"");
    assert_eq!(all, [r#"b.yml:10: error: spec.oneForEvent: invalid type: string "yes", expected a boolean"#]);
}

#[test]
fn one_for_event_must_be_true_and_the_reason_is_said() {
    for to in ["oneForEvent: false", "tier: 1"] {
        let all = problems("oneForEvent: true", to);
        assert!(all.iter().any(|one| one.contains("spec.oneForEvent: must be true")), "{all:?}");
    }
}

#[test]
fn a_bad_sync_mode_or_action_is_refused() {
    assert_eq!(
        problems("  oneForEvent: true\n", "  oneForEvent: true\n  syncMode: Sometimes\n"),
        [
            r#"b.yml:11: error: spec.syncMode: "Sometimes" is not one of Continuous, OneTime, DryRun, ContinuousWithDriftDetection"#
        ]
    );
    assert_eq!(
        problems("  oneForEvent: true\n", "  oneForEvent: true\n  cloudEventAction: create\n"),
        [r#"b.yml:11: error: spec.cloudEventAction: "create" is neither Create nor Delete"#]
    );
}

#[test]
fn every_sync_mode_is_known_and_continuous_is_the_default() {
    for (text, mode) in [
        ("Continuous", SyncMode::Continuous),
        ("OneTime", SyncMode::OneTime),
        ("DryRun", SyncMode::DryRun),
        ("ContinuousWithDriftDetection", SyncMode::ContinuousWithDriftDetection),
        ("", SyncMode::Continuous),
    ] {
        assert_eq!(text.parse(), Ok(mode));
    }
}

#[test]
fn an_empty_selector_is_warned_of() {
    let all = problems("    matchLabels:\n      role: deploy\n", "    matchLabels: {}\n");
    assert_eq!(
        all,
        [
            "b.yml:6: warning: spec.sourceClusterSelector: an empty selector matches no cluster: this trigger never fires"
        ]
    );
}

#[test]
fn an_invalid_expression_is_reported_where_it_stands() {
    assert_eq!(
        problems("^a$", "^a("),
        [
            "a.yaml:7: warning: spec.messagingMatchCriteria[0].subject: not a regular expression, so it never matches: unclosed group"
        ]
    );
}

#[test]
fn a_bad_template_is_refused_at_its_line_in_the_file() {
    let all = problems("{{ .CloudEvent.subject }}", "{{ nope .CloudEvent.subject }}");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].starts_with("c.yaml:10: error: data.job.yaml: bad template: "), "{all:?}");
    let all = problems("eventSourceName: s", "eventSourceName: \"{{ .Cluster\"");
    assert!(all[0].starts_with("b.yml:9: error: spec.eventSourceName: bad template: "), "{all:?}");
}

#[test]
fn a_text_without_the_annotation_is_no_template() {
    let all = problems("    projectsveltos.io/instantiate: ok", "    other: ok");
    assert!(all[0].starts_with("c.yaml:8: error: data.job.yaml: holds template actions"), "{all:?}");
    assert_eq!(problems("instantiate: ok", "instantiate: \"\""), Vec::<String>::new());
}

#[test]
fn dangling_references_are_refused_unless_optional() {
    assert_eq!(
        problems("eventSourceName: s", "eventSourceName: x"),
        [
            r#"b.yml:9: error: spec.eventSourceName: EventTrigger t refers to EventSource "x", which is not here"#
        ]
    );
    assert_eq!(
        problems("    name: c\n", "    name: x\n"),
        [
            "b.yml:12: error: spec.policyRefs[0]: EventTrigger t refers to ConfigMap default/x, which is not here"
        ]
    );
    assert_eq!(
        problems("namespace: default", "namespace: other"),
        [
            "b.yml:12: error: spec.policyRefs[0]: EventTrigger t refers to ConfigMap other/c, only default/c is here"
        ]
    );
    assert_eq!(problems("    name: c\n", "    name: x\n    optional: true\n"), Vec::<String>::new());
    assert_eq!(problems("    name: c\n", "    name: 'c-{{ .CloudEvent.subject }}'\n"), Vec::<String>::new());
}

#[test]
fn names_given_twice_are_refused_and_both_places_named() {
    let problems = read(&[("a.yaml", SOURCE), ("b.yaml", SOURCE)]).unwrap_err();
    assert!(problems[0].to_string().contains("b.yaml:1"), "{problems:?}");
    assert!(problems[0].message.contains("a.yaml:1"), "{problems:?}");
}

#[test]
fn a_secret_is_read_if_it_is_of_sveltos_type_only() {
    let secret = |kind: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Secret\ntype: {kind}\nmetadata:\n  name: c\ndata:\n  a: YTogYg==\n"
        );
        read(&[("a.yaml", &text)]).unwrap()
    };
    assert_eq!(secret("addons.projectsveltos.io/cluster-profile").config_maps[0].entries[0].text, "a: b");
    assert!(secret("Opaque").config_maps.is_empty());
}

#[test]
fn our_own_annotations_are_read() {
    let with = |line: &str| MAP.replace("instantiate: ok\n", &format!("instantiate: ok\n    {line}\n"));
    let set = read(&[("c.yaml", &with("knapscen.disco/emits: a-b, c"))]).unwrap();
    assert_eq!(set.config_maps[0].emits, ["a-b", "c"]);
    let set = read(&[("c.yaml", &with("knapscen.disco/printed-yaml: allow"))]).unwrap();
    assert!(set.config_maps[0].printed_yaml);
    assert!(read(&[("c.yaml", &with("knapscen.disco/printed-yaml: \"yes\""))]).is_err());
}

#[test]
fn a_kind_belongs_to_its_group() {
    let set = read(&[
        ("a.yaml", SOURCE),
        (
            "x.yaml",
            "apiVersion: argoproj.io/v1alpha1\nkind: EventSource\nmetadata: {name: x}\nspec: {nats: 1}\n",
        ),
        ("y.yaml", "apiVersion: example.com/v1\nkind: EventTrigger\nmetadata: {name: x}\n"),
    ])
    .unwrap();
    assert_eq!((set.sources.len(), set.triggers.len()), (1, 0));
    assert_eq!(
        set.warnings[0].message,
        "argoproj.io/v1alpha1 EventSource is not for the dispatcher: ignored"
    );
    let old = TRIGGER.replace("v1beta1", "v1alpha1");
    let problems = read(&[("a.yaml", SOURCE), ("b.yaml", &old)]).unwrap_err();
    assert!(problems[0].message.contains("write sourceClusterSelector as matchLabels"), "{problems:?}");
}

#[test]
fn a_file_that_is_no_kubernetes_object_is_ignored_with_a_warning() {
    for text in ["services:\n  db: {image: mariadb}\n", "- a\n- b\n", "{\"nats\": {\"url\": 1}}"] {
        let set = read(&[("a.yaml", SOURCE), ("x.yaml", text)]).unwrap();
        assert!(set.warnings[0].message.ends_with("ignored"), "{:?}", set.warnings);
    }
    // An object with parts of both is a mistake.
    for text in ["kind: ConfigMap\n", "apiVersion: v1\ndata: {}\n", "apiVersion"] {
        assert!(read(&[("a.yaml", SOURCE), ("x.yaml", text)]).is_err(), "{text}");
    }
}

#[test]
fn merge_keys_are_read_as_kubectl_reads_them() {
    let trigger = TRIGGER
        .replace("metadata:\n", "x-all: &all {oneForEvent: true, syncMode: OneTime}\nx-more: &more {syncMode: DryRun, tier: 3}\nmetadata:\n")
        .replace("  oneForEvent: true\n", "  <<: [*all, *more]\n");
    let set = read(&[("a.yaml", SOURCE), ("b.yaml", &trigger), ("c.yaml", MAP)]).unwrap();
    assert_eq!(set.triggers[0].sync, SyncMode::OneTime);
    assert!(set.warnings.iter().any(|one| one.field == "spec.tier"), "{:?}", set.warnings);
    // The mapping's own entries win, whether they come before or after the merge key.
    for text in
        ["  syncMode: Continuous\n  <<: [*all, *more]\n", "  <<: [*all, *more]\n  syncMode: Continuous\n"]
    {
        let trigger = trigger.replace("  <<: [*all, *more]\n", text);
        let set = read(&[("a.yaml", SOURCE), ("b.yaml", &trigger), ("c.yaml", MAP)]).unwrap();
        assert_eq!(set.triggers[0].sync, SyncMode::Continuous, "{text}");
    }
}

#[test]
fn what_the_yaml_reader_says_is_no_advice_to_programmers() {
    for text in [
        "a: 1\na: 2\n",
        "<<: 3\na: 1\n",
        "a: *b\n",
        "a: !x {b: 1}\n",
        "a: [1, 2\n",
        "a: b: c\n",
        "\ta: 1\n",
        "a: \"x\n",
    ] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n{text}");
        for problem in read(&[("a.yaml", &text)]).err().into_iter().flatten() {
            for word in ["Options", "Policy", "policy", "serde", "struct", "enum", "deserialize"] {
                assert!(!problem.message.contains(word), "{text}: {problem}");
            }
        }
    }
}

#[test]
fn what_the_api_server_fills_in_is_no_news() {
    let trigger = TRIGGER
        .replace("  oneForEvent: true\n", "  oneForEvent: true\n  continueOnConflict: false\n  reloader: false\n  tier: 100\n  stopMatchingBehavior: WithdrawPolicies\n")
        .replace("    name: c\n", "    name: c\n    deploymentType: Remote\n    force: false\n    optional: false\n    skipNamespaceCreation: false\n");
    let source = SOURCE.replace("spec:\n", "spec:\n  collectResources: false\n");
    let set = read(&[("a.yaml", &source), ("b.yaml", &trigger), ("c.yaml", MAP)]).unwrap();
    assert_eq!(set.warnings, []);
    // Somebody wrote any other value on purpose.
    for (from, to, field) in [
        ("tier: 100", "tier: 50", "spec.tier"),
        ("reloader: false", "reloader: true", "spec.reloader"),
        ("force: false", "force: true", "spec.policyRefs[0].force"),
        ("WithdrawPolicies", "LeavePolicies", "spec.stopMatchingBehavior"),
    ] {
        let set =
            read(&[("a.yaml", &source), ("b.yaml", &trigger.replace(from, to)), ("c.yaml", MAP)]).unwrap();
        assert_eq!(set.warnings.len(), 1, "{to}: {:?}", set.warnings);
        assert_eq!(set.warnings[0].field, field);
        assert!(set.warnings[0].message.starts_with("Sveltos knows this field"), "{:?}", set.warnings);
    }
}

#[test]
fn a_file_that_cannot_be_read_stands_in_nobodys_way_and_keeps_what_was_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    for (name, text) in [("a.yaml", SOURCE), ("b.yaml", TRIGGER), ("c.yaml", MAP)] {
        write(name, text.as_bytes());
    }
    let before = load_part(dir.path(), None, &|_| Vec::new()).unwrap();
    let utf16: Vec<u8> = format!("\u{feff}{SOURCE}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    write("latin.yaml", b"data: {a: \"caf\xe9\"}\n");
    write("utf16.yaml", &utf16);
    std::os::unix::fs::symlink("/nowhere", dir.path().join("link.yaml")).unwrap();
    let wrong: Vec<_> = load(dir.path()).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    for (file, words) in [("latin", "is not UTF-8"), ("utf16", "is UTF-16"), ("link", "cannot be read")] {
        assert!(wrong.iter().any(|one| one.contains(file) && one.contains(words)), "{wrong:?}");
    }
    assert_eq!(found(dir.path()).triggers, 1);
    let read = load_part(dir.path(), None, &|_| Vec::new()).unwrap();
    assert_eq!((read.triggers.len(), read.faults.len()), (1, 3));
    // One of those in force.
    write("b.yaml", &utf16);
    let read = load_part(dir.path(), Some(&before), &|_| Vec::new()).unwrap();
    assert_eq!((read.triggers.len(), read.faults.len()), (1, 4));
}

#[test]
fn a_line_break_in_the_name_of_a_file_makes_no_line_of_its_own() {
    let position = Position { file: Path::new("a\nevents/b.yaml").into(), line: 7 };
    assert_eq!(position.to_string(), "a\\nevents/b.yaml:7");
}
