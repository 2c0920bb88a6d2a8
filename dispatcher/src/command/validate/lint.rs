//! What a Job should have, and what a template should not do. These are warnings, except for what the chosen backend
//! cannot do.

use std::sync::LazyLock;

use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use regex::Regex;

use super::locate;
use crate::onboarding::step;
use rules::job_rules;

use crate::manifest::{EventTrigger, Manifests, Problem, SyncMode};
use crate::plan::{BackendKind, FailureAction, PlannedJob, unsupported};

const RESTART: &str = "spec.template.spec.restartPolicy";

/// Exit codes after which a retry cannot help: bad input, a bug, bad configuration.
const HOPELESS: [i32; 3] = [65, 70, 78];

#[expect(clippy::unwrap_used, reason = "a constant expression, tried by a test")]
static HAND_ESCAPED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"\{\{[^}]*\breplace\s+(?:"\\""|`"`)\s"#).unwrap());

/// Quotes that are escaped by hand.
pub(super) fn templates(set: &Manifests, problems: &mut Vec<Problem>) {
    for map in set.config_maps.iter().filter(|map| !map.printed_yaml) {
        for entry in map.entries.iter().filter(|entry| entry.template.is_some()) {
            for (index, _) in entry.text.lines().enumerate().filter(|(_, line)| HAND_ESCAPED.is_match(line)) {
                let position = entry.position.line(u32::try_from(index).unwrap_or(0) + 1);
                let message = "escapes quotes by hand: rendering is safe without it, and the value arrives with the escapes; use quote or toJson";
                problems.push(Problem::warning(&position, format!("data.{}", entry.key), message));
            }
        }
    }
}

/// What a rendered Job lacks.
pub(super) fn job(
    set: &Manifests,
    job: &PlannedJob,
    backend: Option<BackendKind>,
    problems: &mut Vec<Problem>,
) {
    let mut warn = |field: &str, message: &str| {
        problems.push(Problem::warning(&locate::field(set, &job.template, field), field, message));
    };
    let spec = job.manifest.typed().spec;
    let is_of = |trigger: &&EventTrigger| trigger.name == job.identity.trigger;
    let is_once = set.triggers.iter().find(is_of).is_some_and(|trigger| trigger.sync == SyncMode::OneTime);
    let faults = job_rules::check(&job.manifest.value());
    let is_said = |field: &str| faults.iter().any(|fault| fault.field == field);
    ends(job, spec.as_ref(), is_once, is_said(RESTART), &mut warn);
    if let Some(pod) = spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) {
        walls(pod, &mut warn);
    }
    let entry = |entry: &crate::manifest::Entry| entry.position.first == job.template;
    let map = set.config_maps.iter().find(|map| map.entries.iter().any(entry));
    if let Some(map) = map {
        if !map
            .entries
            .iter()
            .filter(|one| entry(one))
            .any(|one| one.text.contains("automountServiceAccountToken"))
        {
            let message =
                "automountServiceAccountToken is not set: the dispatcher mounts no token, but Sveltos would";
            warn("spec.template.spec", message);
        }
        if !step::is_step(&job.spec.image) && !map.says_emits {
            let message = format!(
                "{} is not an image of the flow: say where it publishes with the annotation knapscen.disco/emits (or leave it empty)",
                job.spec.image
            );
            warn("spec.template.spec.containers[0].image", &message);
        }
    }
    for fault in faults {
        let position = locate::field(set, &job.template, &fault.field);
        problems.push(match backend {
            Some(BackendKind::Process | BackendKind::Docker) => Problem::warning(
                &position,
                fault.field,
                format!("{} (Kubernetes would refuse the Job)", fault.message),
            ),
            Some(BackendKind::Kubernetes) | None => Problem::error(&position, fault.field, fault.message),
        });
    }
    for field in unsupported(job, backend.unwrap_or(BackendKind::Process)) {
        let position = locate::field(set, &job.template, &field);
        problems.push(match backend {
            Some(backend) => {
                Problem::error(&position, field, format!("the {backend} backend cannot honour this"))
            }
            None => Problem::warning(&position, field, "the process and docker backends cannot honour this"),
        });
    }
}

/// How the Job can end.
fn ends(
    job: &PlannedJob,
    spec: Option<&JobSpec>,
    is_once: bool,
    is_refused: bool,
    warn: &mut impl FnMut(&str, &str),
) {
    let missing: Vec<String> = HOPELESS
        .into_iter()
        .filter(|code| job.spec.failure_action(*code) != Some(FailureAction::FailJob))
        .map(|code| code.to_string())
        .collect();
    if !missing.is_empty() {
        let message = format!(
            "exit code {} should fail the Job at once (action FailJob): no retry can help",
            missing.join(", ")
        );
        warn("spec.podFailurePolicy", &message);
    }
    let Some(spec) = spec else { return };
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    let ignores_disruption = rules.clone().any(|rule| {
        let conditions = rule.on_pod_conditions.iter().flatten();
        rule.action == "Ignore"
            && conditions.into_iter().any(|condition| condition.type_ == "DisruptionTarget")
    });
    if !ignores_disruption {
        warn(
            "spec.podFailurePolicy",
            "a drained node counts as the Job's failure: ignore the condition DisruptionTarget",
        );
    }
    for (field, is_set) in [
        ("backoffLimit", spec.backoff_limit.is_some()),
        ("activeDeadlineSeconds", spec.active_deadline_seconds.is_some()),
        ("ttlSecondsAfterFinished", is_once || spec.ttl_seconds_after_finished.is_some()),
    ] {
        if !is_set {
            warn(&format!("spec.{field}"), "is not set");
        }
    }
    if is_once && spec.ttl_seconds_after_finished.is_some() {
        warn(
            "spec.ttlSecondsAfterFinished",
            "should not be set with syncMode OneTime: once lasts as long as the Job is kept",
        );
    }
    let pod = spec.template.spec.as_ref();
    if !is_refused && pod.and_then(|pod| pod.restart_policy.as_deref()) != Some("Never") {
        warn(
            RESTART,
            "should be Never: otherwise the Pod goes with the Job's failure, its exit code and words are lost, and there can be no podFailurePolicy",
        );
    }
}

/// The isolation of the container.
fn walls(pod: &PodSpec, warn: &mut impl FnMut(&str, &str)) {
    let shared = pod.security_context.as_ref();
    for (index, container) in pod.containers.iter().enumerate() {
        let base = format!("spec.template.spec.containers[{index}]");
        for field in unlimited(container) {
            warn(&format!("{base}.resources.{field}"), "is not set");
        }
        let own = container.security_context.as_ref();
        let dropped = own.and_then(|own| own.capabilities.as_ref()).and_then(|all| all.drop.as_ref());
        let non_root =
            own.and_then(|own| own.run_as_non_root).or(shared.and_then(|shared| shared.run_as_non_root));
        let seccomp = own
            .and_then(|own| own.seccomp_profile.as_ref())
            .or(shared.and_then(|shared| shared.seccomp_profile.as_ref()));
        for (field, is_right, wanted) in [
            ("runAsNonRoot", non_root == Some(true), "should be true"),
            (
                "readOnlyRootFilesystem",
                own.and_then(|own| own.read_only_root_filesystem) == Some(true),
                "should be true",
            ),
            (
                "allowPrivilegeEscalation",
                own.and_then(|own| own.allow_privilege_escalation) == Some(false),
                "should be false",
            ),
            (
                "capabilities.drop",
                dropped.is_some_and(|all| all.iter().any(|one| one == "ALL")),
                "should be [ALL]",
            ),
            (
                "seccompProfile",
                seccomp.is_some_and(|profile| profile.type_ != "Unconfined"),
                "should be RuntimeDefault",
            ),
        ] {
            if !is_right {
                warn(&format!("{base}.securityContext.{field}"), wanted);
            }
        }
    }
}

fn unlimited(container: &Container) -> Vec<String> {
    let resources = container.resources.as_ref();
    let mut missing = Vec::new();
    for (list, values) in [
        ("limits", resources.and_then(|all| all.limits.as_ref())),
        ("requests", resources.and_then(|all| all.requests.as_ref())),
    ] {
        let lacking =
            ["cpu", "memory"].into_iter().filter(|name| !values.is_some_and(|all| all.contains_key(*name)));
        missing.extend(lacking.map(|name| format!("{list}.{name}")));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_escaped_quotes_are_found_and_other_replacements_are_not() {
        assert!(HAND_ESCAPED.is_match(r#"value: "{{ .CloudEvent.data.name | replace "\"" "\\\"" }}""#));
        assert!(HAND_ESCAPED.is_match(r#"value: "{{ replace `"` `'` .CloudEvent.data.name }}""#));
        assert!(!HAND_ESCAPED.is_match(r#"{{ .CloudEvent | toJson | replace "$" "$$" }}"#));
    }
}
