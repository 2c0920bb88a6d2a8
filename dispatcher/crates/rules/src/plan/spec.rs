//! What running a Job means, for backends without Kubernetes; read from the typed Job.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, PodFailurePolicyRule};

use super::{EnvFrom, EnvVariable, PlanError, Stage};

/// The default of `backoffLimit` in Kubernetes.
const BACKOFF_LIMIT: u32 = 6;
/// The default of `terminationGracePeriodSeconds` in Kubernetes.
const GRACE: Duration = Duration::from_secs(30);
/// The default of `terminationMessagePath` in Kubernetes.
const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";

/// What running a Job means, except for its name: its first container, and when the Job has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// The container's name, which failure rules may refer to.
    pub container: String,
    /// The image.
    pub image: String,
    /// Replaces the image's entry point; `$(NAME)` and `$$` in it are for [`super::expand`].
    pub command: Vec<String>,
    /// Replaces the image's arguments; `$(NAME)` and `$$` in it are for [`super::expand`].
    pub args: Vec<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// Whole Secrets and ConfigMaps, before `env`.
    pub env_from: Vec<EnvFrom>,
    /// Single variables, in order: a later one may refer to an earlier one.
    pub env: Vec<EnvVariable>,
    /// Where the container writes its termination message.
    pub termination_message_path: String,
    /// `activeDeadlineSeconds`: the limit for all tries together.
    pub active_deadline: Option<Duration>,
    /// How many tries may fail before the Job has failed.
    pub backoff_limit: u32,
    /// `podFailurePolicy`: the first rule that matches decides.
    pub failure_rules: Vec<FailureRule>,
    /// How long an ended Job is kept; `None` means for ever.
    pub ttl_after_finished: Option<Duration>,
    /// The time from SIGTERM to SIGKILL.
    pub grace: Duration,
}

/// One rule of `podFailurePolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRule {
    /// What to do if it matches.
    pub action: FailureAction,
    /// The exit codes that it matches. A rule about Pod conditions has none, and never matches an exit code.
    pub exit_codes: Option<ExitCodes>,
    /// Only for the container with this name.
    pub container: Option<String>,
}

/// What a failed try means for the Job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureAction {
    /// The Job has failed, at once.
    FailJob,
    /// Try again; this failure does not count.
    Ignore,
    /// Try again, up to the backoff limit.
    Count,
}

/// A set of exit codes; it never contains 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitCodes {
    /// Only these.
    In(Vec<i32>),
    /// All except these.
    NotIn(Vec<i32>),
}

impl JobSpec {
    /// What a try that ended with `code` means for the Job; `None` if no rule decides, and the failure counts.
    pub fn failure_action(&self, code: i32) -> Option<FailureAction> {
        let fits = |rule: &&FailureRule| {
            rule.exit_codes.as_ref().is_some_and(|codes| codes.contain(code))
                && rule.container.as_ref().is_none_or(|name| *name == self.container)
        };
        self.failure_rules.iter().find(fits).map(|rule| rule.action)
    }

    pub(super) fn read(job: &Job) -> Result<Self, PlanError> {
        let missing = |field: &str| PlanError::new(Stage::Check, "is not set").at_field(field);
        let spec = job.spec.as_ref().ok_or_else(|| missing("spec"))?;
        let pod = spec.template.spec.as_ref().ok_or_else(|| missing("spec.template.spec"))?;
        let container = pod.containers.first().ok_or_else(|| missing("spec.template.spec.containers"))?;
        let image = container.image.clone().filter(|image| !image.is_empty());
        let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
        let last_words = container.termination_message_path.clone();
        Ok(Self {
            container: container.name.clone(),
            image: image.ok_or_else(|| missing("spec.template.spec.containers[0].image"))?,
            command: container.command.clone().unwrap_or_default(),
            args: container.args.clone().unwrap_or_default(),
            working_dir: container.working_dir.clone(),
            env_from: container.env_from.iter().flatten().filter_map(EnvFrom::read).collect(),
            env: container.env.iter().flatten().map(EnvVariable::read).collect(),
            termination_message_path: last_words.unwrap_or_else(|| TERMINATION_MESSAGE_PATH.into()),
            active_deadline: spec.active_deadline_seconds.map(seconds),
            backoff_limit: spec
                .backoff_limit
                .map_or(BACKOFF_LIMIT, |limit| u32::try_from(limit).unwrap_or(0)),
            failure_rules: rules.map(FailureRule::read).collect::<Result<_, _>>()?,
            ttl_after_finished: spec.ttl_seconds_after_finished.map(|ttl| seconds(ttl.into())),
            grace: pod.termination_grace_period_seconds.map_or(GRACE, seconds),
        })
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

impl ExitCodes {
    fn contain(&self, code: i32) -> bool {
        match self {
            Self::In(codes) => codes.contains(&code),
            Self::NotIn(codes) => code != 0 && !codes.contains(&code),
        }
    }
}

impl FailureRule {
    fn read(rule: &PodFailurePolicyRule) -> Result<Self, PlanError> {
        let fail =
            |message: String| PlanError::new(Stage::Check, message).at_field("spec.podFailurePolicy.rules");
        let action = match rule.action.as_str() {
            // Without `completionMode: Indexed` this field has no effect. With it, only Kubernetes can run the Job.
            "FailJob" | "FailIndex" => FailureAction::FailJob,
            "Ignore" => FailureAction::Ignore,
            "Count" => FailureAction::Count,
            other => {
                return Err(fail(format!(
                    "action {other:?} is not one of FailJob, FailIndex, Ignore, Count"
                )));
            }
        };
        let exit_codes = rule.on_exit_codes.as_ref().map(|codes| match codes.operator.as_str() {
            "In" => Ok(ExitCodes::In(codes.values.clone())),
            "NotIn" => Ok(ExitCodes::NotIn(codes.values.clone())),
            other => Err(fail(format!("operator {other:?} is neither In nor NotIn"))),
        });
        let container = rule.on_exit_codes.as_ref().and_then(|codes| codes.container_name.clone());
        Ok(Self { action, exit_codes: exit_codes.transpose()?, container })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides_and_success_fits_none() {
        let rule = |action, exit_codes, container: Option<&str>| FailureRule {
            action,
            exit_codes,
            container: container.map(str::to_owned),
        };
        let mut spec = JobSpec::read(
            &serde_json::from_value(
                serde_json::json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template":
                {"spec": {"containers": [{"name": "main", "image": "x"}]}}}}),
            )
            .unwrap(),
        )
        .unwrap();
        spec.failure_rules = vec![
            rule(FailureAction::Ignore, None, None),
            rule(FailureAction::Count, Some(ExitCodes::In(vec![65])), Some("other")),
            rule(FailureAction::FailJob, Some(ExitCodes::In(vec![65, 78])), Some("main")),
            rule(FailureAction::Ignore, Some(ExitCodes::NotIn(vec![1])), None),
        ];
        assert_eq!(spec.failure_action(65), Some(FailureAction::FailJob));
        assert_eq!(spec.failure_action(2), Some(FailureAction::Ignore));
        assert_eq!(spec.failure_action(1), None);
        assert_eq!(spec.failure_action(0), None);
        assert_eq!((spec.backoff_limit, spec.grace), (6, Duration::from_secs(30)));
    }
}
