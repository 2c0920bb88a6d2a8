//! What `validate` finds; each test name is a sentence.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::plan::{BackendKind, Cluster, Policy};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
}

/// The shipped folder with one text replaced in one file.
fn changed(file: &str, from: &str, to: &str) -> Report {
    let dir = tempfile::tempdir().unwrap();
    for event in
        fs::read_dir(shipped()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        let target = dir.path().join(event.file_name().unwrap());
        fs::create_dir(&target).unwrap();
        for path in
            fs::read_dir(event).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
        {
            fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = dir.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    look(dir.path(), None)
}

fn look(dir: &Path, backend: Option<BackendKind>) -> Report {
    check(dir, &Cluster::default(), &Policy::default(), backend)
}

fn errors(report: &Report) -> Vec<String> {
    let errors = report.problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(|problem| format!("{}: {}", problem.field, problem.message)).collect()
}

fn warned(report: &Report, field: &str) -> bool {
    report
        .problems
        .iter()
        .any(|problem| problem.severity == Severity::Warning && problem.field == field && problem.line > 1)
}

const JOB: &str = "customer-saved/configmap.yaml";
const EMITS: &str = "knapscen.disco/emits: user-saved=disco.knapscen.user.saved";

#[test]
fn the_shipped_folder_has_no_problems_on_any_backend() {
    for backend in
        [None, Some(BackendKind::Process), Some(BackendKind::Docker), Some(BackendKind::Kubernetes)]
    {
        let report = look(&shipped(), backend);
        assert_eq!(report.problems, []);
        assert_eq!(report.counts, Counts { sources: 7, triggers: 7, config_maps: 7, samples: 7, jobs: 7 });
        assert!(text(&report, Paint::none()).ends_with("no problems\n"));
    }
}

#[test]
fn a_bad_expression_is_an_error() {
    let report = changed("customer-saved/eventsource.yaml", "^customer-saved$", "^customer-(");
    assert!(errors(&report)[0].contains("not a regular expression"), "{report:?}");
    assert_eq!(report.problems.iter().filter(|one| one.message.contains("not a regular")).count(), 1);
}

#[test]
fn a_template_that_breaks_on_a_missing_optional_field_is_an_error() {
    let report = changed(
        JOB,
        "value: {{ get $data \"name\" | quote }}",
        "value: {{ .CloudEvent.data.shipping_address | quote }}",
    );
    let errors = errors(&report);
    assert!(errors.iter().any(|error| error.contains("without data.shipping_address")), "{errors:?}");
    let position =
        report.problems.iter().find(|problem| problem.message.contains("shipping_address")).unwrap();
    let text = fs::read_to_string(shipped().join(JOB)).unwrap();
    let line = text.lines().position(|line| line.contains("get $data \"name\"")).unwrap() + 1;
    assert_eq!(position.line as usize, line);
}

#[test]
fn a_template_that_breaks_on_its_sample_is_an_error_at_its_line() {
    let report =
        changed(JOB, "value: {{ get $data \"name\" | quote }}", "value: {{ .CloudEvent.data.nope | quote }}");
    assert_eq!(errors(&report).len(), 1, "{report:?}");
    assert!(
        report.problems[0].line > 20
            && report.problems[0].message.contains("(with the sample customer-saved)")
    );
}

#[test]
fn an_unknown_field_of_a_job_is_an_error_at_its_line() {
    let report = changed(JOB, "imagePullPolicy:", "imagePullPolicies:");
    assert_eq!(
        errors(&report),
        [
            "spec.template.spec.containers[0].imagePullPolicies: unknown field (with the sample customer-saved)"
        ]
    );
    let text = fs::read_to_string(shipped().join(JOB)).unwrap();
    let line = text.lines().position(|line| line.contains("imagePullPolicy")).unwrap() + 1;
    assert_eq!(report.problems[0].line as usize, line);
}

#[test]
fn what_a_job_lacks_is_a_warning_that_names_the_field() {
    for (from, to, field) in [
        ("values: [65, 70, 78]", "values: [65, 78]", "spec.podFailurePolicy"),
        ("DisruptionTarget", "Other", "spec.podFailurePolicy"),
        ("backoffLimit: 5", "", "spec.backoffLimit"),
        ("activeDeadlineSeconds: 900", "", "spec.activeDeadlineSeconds"),
        ("ttlSecondsAfterFinished: 3600", "", "spec.ttlSecondsAfterFinished"),
        (
            "readOnlyRootFilesystem: true",
            "readOnlyRootFilesystem: false",
            "spec.template.spec.containers[0].securityContext.readOnlyRootFilesystem",
        ),
        (
            "runAsNonRoot: true",
            "runAsNonRoot: false",
            "spec.template.spec.containers[0].securityContext.runAsNonRoot",
        ),
        ("drop: [ALL]", "drop: [KILL]", "spec.template.spec.containers[0].securityContext.capabilities.drop"),
        ("automountServiceAccountToken: false", "", "spec.template.spec"),
    ] {
        let report = changed(JOB, from, to);
        assert_eq!(errors(&report), Vec::<String>::new(), "{field}");
        assert!(warned(&report, field), "{field}: {:#?}", report.problems);
    }
}

#[test]
fn a_foreign_image_without_an_annotation_is_a_warning() {
    let text = fs::read_to_string(shipped().join(JOB)).unwrap();
    let foreign = text.replace("image: knapscen/save-customer:latest", "image: acme/else:1");
    let silent = text.replace(EMITS, "");
    for (text, is_warned) in
        [(&text, false), (&silent, false), (&foreign, false), (&foreign.replace(EMITS, ""), true)]
    {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("customer-saved")).unwrap();
        for file in ["eventsource.yaml", "eventtrigger.yaml", "sample.cloudevent"] {
            let file = Path::new("customer-saved").join(file);
            fs::copy(shipped().join(&file), dir.path().join(&file)).unwrap();
        }
        fs::write(dir.path().join(JOB), text).unwrap();
        let report = look(dir.path(), None);
        assert_eq!(warned(&report, "spec.template.spec.containers[0].image"), is_warned, "{report:?}");
    }
}

#[test]
fn a_job_that_runs_once_should_be_kept() {
    let report = changed("customer-saved/eventtrigger.yaml", "syncMode: Continuous", "syncMode: OneTime");
    let said = "once lasts as long as the Job is kept";
    assert!(report.problems.iter().any(|problem| problem.message.contains(said)), "{report:?}");
}

#[test]
fn quotes_escaped_by_hand_are_linted() {
    let report =
        changed(JOB, "{{ get $data \"name\" | quote }}", r#""{{ get $data "name" | replace "\"" "\\\"" }}""#);
    assert!(report.problems.iter().any(|problem| problem.message.contains("by hand")), "{report:?}");
}

#[test]
fn a_cycle_is_an_error_shown_as_a_path() {
    let report = changed(
        "user-saved/configmap.yaml",
        "image: knapscen/save-user:latest",
        "image: knapscen/save-customer:latest",
    );
    assert!(
        errors(&report).contains(&": the flow runs in a circle: user-saved → user-saved".to_owned()),
        "{report:?}"
    );
    let report = changed(
        "swag-ordered/configmap.yaml",
        "knapscen/order-swag:latest",
        "my.registry/x/save-customer:v2",
    );
    let circle = "the flow runs in a circle: swag-ordered → user-saved → welcome-email-sent → marketing-notified → swag-ordered";
    let circle = errors(&report).iter().any(|error| {
        let events: Vec<_> = error.split(": ").last().unwrap_or_default().split(" → ").collect();
        events.len() == circle.split(" → ").count() && events.first() == events.last()
    });
    assert!(circle, "{report:?}");
}

/// A folder of triggers with foreign images, each as `event → text of the annotation`, for any type unless one is
/// named.
fn foreign(steps: &[(&str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for (index, (event, emits)) in steps.iter().enumerate() {
        let (subject, event_type) = event.split_once('=').unwrap_or((event, ""));
        let text = format!(
            "{{apiVersion: lib.projectsveltos.io/v1beta1, kind: EventSource, metadata: {{name: s{index}}}, \
             spec: {{messagingMatchCriteria: [{{subject: '^{subject}$', cloudEventType: '{event_type}'}}]}}}}\n---\n\
             {{apiVersion: lib.projectsveltos.io/v1beta1, kind: EventTrigger, metadata: {{name: t{index}}}, \
             spec: {{eventSourceName: s{index}, oneForEvent: true, sourceClusterSelector: {{matchLabels: {{role: deploy}}}}, \
             policyRefs: [{{kind: ConfigMap, namespace: default, name: c{index}}}]}}}}\n---\n\
             {{apiVersion: v1, kind: ConfigMap, metadata: {{name: c{index}, annotations: {{knapscen.disco/emits: '{emits}'}}}}, \
             data: {{job.yaml: 'kind: Job'}}}}\n"
        );
        fs::write(dir.path().join(format!("{index}.yaml")), text).unwrap();
    }
    errors(&look(dir.path(), None))
        .iter()
        .map(|error| error.rsplit(": ").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_annotation_tells_where_a_foreign_image_publishes() {
    assert_eq!(foreign(&[("a", "a")]), ["a → a"]);
    assert_eq!(foreign(&[("a", "elsewhere")]), Vec::<String>::new());
    assert_eq!(foreign(&[("a", "")]), Vec::<String>::new());
    assert_eq!(foreign(&[("a", "x, b c"), ("b", ""), ("c", "a")]), ["c → a → c"]);
}

#[test]
fn a_type_in_the_annotation_tells_events_of_one_subject_apart() {
    assert_eq!(foreign(&[("a=made", "a")]), ["a → a"]);
    assert_eq!(foreign(&[("a=made", "a=made")]), ["a → a"]);
    assert_eq!(foreign(&[("a=made", "a=gone")]), Vec::<String>::new());
}

#[test]
fn every_circle_is_shown_once_and_all_of_them() {
    let circles = foreign(&[("a", "b"), ("b", "a,c"), ("c", "d"), ("d", "b"), ("x", "x"), ("in", "a")]);
    assert_eq!(circles, ["b → a → b", "b → c → d → b", "x → x"]);
}

#[test]
fn a_trigger_that_makes_nothing_closes_no_circle() {
    let emits_itself = "knapscen.disco/emits: customer-saved";
    for (from, to) in [
        ("syncMode: Continuous", "syncMode: DryRun"),
        ("cloudEventAction: Create", "cloudEventAction: Delete"),
    ] {
        for (from, to, circles) in [(from, to, 0), (from, from, 1)] {
            let dir = tempfile::tempdir().unwrap();
            for file in ["eventsource.yaml", "configmap.yaml", "eventtrigger.yaml"] {
                let text = fs::read_to_string(shipped().join("customer-saved").join(file)).unwrap();
                let text = text.replace(EMITS, emits_itself).replace(from, to);
                fs::write(dir.path().join(file), text).unwrap();
            }
            let found = errors(&look(dir.path(), None));
            assert_eq!(found.iter().filter(|error| error.contains("circle")).count(), circles, "{found:?}");
        }
    }
}

#[test]
fn a_circle_through_a_text_whose_name_is_a_template_is_seen_or_said_to_be_unseen() {
    let with_name = |name: &str| {
        let dir = tempfile::tempdir().unwrap();
        let emits = "knapscen.disco/emits: customer-saved";
        for file in ["eventsource.yaml", "configmap.yaml", "eventtrigger.yaml"] {
            let text = fs::read_to_string(shipped().join("customer-saved").join(file)).unwrap();
            let text = if file == "eventtrigger.yaml" {
                text.replace("name: customer-saved-job", &format!("name: '{name}'"))
            } else {
                text.replace(EMITS, emits)
            };
            fs::write(dir.path().join(file), text).unwrap();
        }
        let report = look(dir.path(), None);
        let circles = errors(&report).iter().filter(|error| error.contains("circle")).count();
        (circles, report.problems.iter().any(|problem| problem.message.contains("not seen")))
    };
    assert_eq!(with_name("customer-saved-job"), (1, false));
    assert_eq!(with_name("customer-{{ .CloudEvent.data.kind }}-job"), (1, false));
    assert_eq!(with_name("{{ .CloudEvent.data.kind }}-job"), (1, false));
    assert_eq!(with_name("other-{{ .CloudEvent.data.kind }}-job"), (0, false));
    assert_eq!(with_name("{{ .CloudEvent.data.kind }}"), (0, true));
}

#[test]
fn an_image_in_a_text_that_no_sample_renders_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["eventsource.yaml", "configmap.yaml", "eventtrigger.yaml"] {
        let text = fs::read_to_string(shipped().join("user-saved").join(file)).unwrap();
        let text = text.replace(
            "image: knapscen/save-user:latest",
            "image: \"knapscen/save-customer:v1\" # not this one",
        );
        fs::write(dir.path().join(file), text).unwrap();
    }
    assert_eq!(errors(&look(dir.path(), None)), [": the flow runs in a circle: user-saved → user-saved"]);
}

#[test]
fn what_the_chosen_backend_cannot_honour_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["eventsource.yaml", "eventtrigger.yaml"] {
        fs::copy(shipped().join("user-saved").join(file), dir.path().join(file)).unwrap();
    }
    fs::create_dir(dir.path().join("user-saved")).unwrap();
    fs::copy(shipped().join("user-saved/sample.cloudevent"), dir.path().join("user-saved/sample.cloudevent"))
        .unwrap();
    let text = fs::read_to_string(shipped().join("user-saved/configmap.yaml")).unwrap();
    let text = text.replace("      backoffLimit: 5", "      parallelism: 3\n      backoffLimit: 5");
    fs::write(dir.path().join("configmap.yaml"), text).unwrap();
    let of = |backend| errors(&look(dir.path(), backend));
    assert_eq!(of(Some(BackendKind::Process)), ["spec.parallelism: the process backend cannot honour this"]);
    assert_eq!(of(Some(BackendKind::Kubernetes)), Vec::<String>::new());
    assert!(warned(&look(dir.path(), None), "spec.parallelism"));
}

#[test]
fn the_machine_form_holds_every_problem() {
    let report = changed(JOB, "imagePullPolicy:", "imagePullPolicies:");
    let value: serde_json::Value = serde_json::from_str(&machine(&report)).unwrap();
    assert_eq!((&value["valid"], &value["errors"]), (&json!(false), &json!(1)));
    assert_eq!(value["problems"][0]["severity"], "error");
}

/// A folder with one rule whose text is this Job, and a sample.
fn with_job(job: &serde_json::Value, backend: Option<BackendKind>) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let event = dir.path().join("thing-made");
    fs::create_dir(&event).unwrap();
    let api = "lib.projectsveltos.io/v1beta1";
    let objects = [
        json!({"apiVersion": api, "kind": "EventSource", "metadata": {"name": "s"},
            "spec": {"messagingMatchCriteria": [{"subject": "^thing-made$"}]}}),
        json!({"apiVersion": api, "kind": "EventTrigger", "metadata": {"name": "t"},
            "spec": {"eventSourceName": "s", "oneForEvent": true, "sourceClusterSelector": {"matchLabels": {"role": "deploy"}},
            "policyRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "c"}]}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"job.yaml": job.to_string()}}),
    ];
    for (index, object) in objects.iter().enumerate() {
        fs::write(event.join(format!("{index}.json")), object.to_string()).unwrap();
    }
    let sample = json!({"specversion": "1.0", "id": "i", "source": "s", "type": "t", "subject": "x"});
    fs::write(event.join("sample.cloudevent"), sample.to_string()).unwrap();
    look(dir.path(), backend)
}

/// Jobs with one mistake each, and unusual Jobs without a mistake, with the verdict of an API server.
fn verdicts() -> Vec<serde_json::Value> {
    let text = include_str!("../../../crates/rules/src/job_rules/verdicts.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_kubernetes_refuses_is_refused_and_what_it_takes_is_not() {
    let mut wrong = Vec::new();
    let rows = verdicts();
    assert!(rows.iter().filter(|row| row["verdict"] == "refused").count() >= 100);
    for row in rows {
        let errors = errors(&with_job(&row["job"], Some(BackendKind::Kubernetes)));
        // What only our policy refuses does not concern Kubernetes.
        let is_right = match row["verdict"].as_str() {
            Some("taken") => errors.iter().all(|error| error.contains("--allow-")),
            _ => !errors.is_empty(),
        };
        if !is_right {
            wrong.push(format!("{}: {errors:?}", row["what"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_job_without_a_restart_policy_is_an_error_unless_it_is_for_another_backend() {
    let row = verdicts().remove(0);
    assert_eq!(row["what"], "restartPolicy missing");
    for backend in [None, Some(BackendKind::Kubernetes)] {
        let report = with_job(&row["job"], backend);
        assert!(errors(&report)[0].contains("restartPolicy: must be Never or OnFailure"), "{report:?}");
        assert_eq!(report.problems.iter().filter(|one| one.field.ends_with("restartPolicy")).count(), 1);
    }
    let report = with_job(&row["job"], Some(BackendKind::Process));
    assert!(report.problems.iter().any(|one| one.message.contains("Kubernetes would refuse")), "{report:?}");
    assert!(errors(&report).iter().all(|error| !error.contains("restartPolicy")), "{report:?}");
}

#[test]
fn what_is_there_is_counted_also_where_it_is_refused() {
    for (good, bad) in [
        ("oneForEvent: true", "oneForEvent: false"),
        ("  syncMode: Continuous\n", "  syncMode: Continuous\n  syncMode: Continuous\n"),
        ("lib.projectsveltos.io/v1beta1", "lib.projectsveltos.io/v1alpha1"),
    ] {
        let report = changed("customer-saved/eventtrigger.yaml", good, bad);
        assert_eq!(
            report.counts,
            Counts { sources: 7, triggers: 7, config_maps: 7, samples: 7, jobs: 0 },
            "{bad}"
        );
        assert!(report.errors() > 0);
    }
}

#[test]
fn a_file_alone_has_no_sample_beside_it() {
    let report = look(&shipped().join("customer-saved/eventsource.yaml"), None);
    assert_eq!(report.problems, []);
}

#[test]
fn a_reference_without_a_namespace_is_looked_up_in_that_of_the_cluster() {
    let report = changed("customer-saved/eventtrigger.yaml", "      namespace: default\n", "");
    assert!(
        errors(&report)[0]
            .contains("it is that of the cluster, mgmt, and there is no ConfigMap mgmt/customer-saved-job"),
        "{report:?}"
    );
}

#[test]
fn a_text_in_single_quotes_has_a_remedy() {
    let report = changed(
        "customer-saved/eventtrigger.yaml",
        "  cloudEventAction: Create\n",
        "  cloudEventAction: \"{{ if eq .CloudEvent.type 'a.type' }}Create{{ end }}\"\n",
    );
    assert!(
        errors(&report)[0].contains("in double quotes or in backquotes, not in single quotes"),
        "{report:?}"
    );
}
