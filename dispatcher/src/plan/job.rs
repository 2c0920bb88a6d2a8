//! A rendered Job, checked and read: what a backend needs to run it.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, PodFailurePolicyRule};
use k8s_openapi::api::core::v1 as core;
use serde_json::Value;

use super::render::Rendered;
use super::{Identity, IncomingEvent, PlanError, Policy, Stage, environment, name, stamp, typed};

/// What Kubernetes takes where `backoffLimit` is not set.
const BACKOFF_LIMIT: u32 = 6;
/// What Kubernetes takes where `terminationGracePeriodSeconds` is not set.
const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// A Job to run: allowed, typed, named and stamped with its identity.
#[derive(Debug, Clone)]
pub struct PlannedJob {
    /// The Job's namespace.
    pub namespace: String,
    /// The Job's name: a DNS-1123 name of at most 63 characters.
    pub name: String,
    /// The whole Job as it goes to the Kubernetes API.
    pub manifest: Value,
    /// The same, typed.
    pub job: Box<Job>,
    /// What the process and docker backends need of it.
    pub spec: JobSpec,
    /// What it is about and which event started it.
    pub identity: Identity,
}

/// What running a Job means, apart from its name.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    /// The first container.
    pub container: Container,
    /// `activeDeadlineSeconds`: all attempts together.
    pub active_deadline: Option<Duration>,
    /// How many failures are borne before the Job has failed.
    pub backoff_limit: u32,
    /// `podFailurePolicy`: the first rule that fits decides.
    pub failure_rules: Vec<FailureRule>,
    /// How long an ended Job is kept; `None` means for ever.
    pub ttl_after_finished: Option<Duration>,
    /// From SIGTERM to SIGKILL.
    pub grace_period: Duration,
}

/// A container.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its name, which failure rules may refer to.
    pub name: String,
    /// The image.
    pub image: String,
    /// Instead of the image's entry point; `$(NAME)` in it is for [`super::expand`].
    pub command: Vec<String>,
    /// Instead of the image's arguments; `$(NAME)` in it is for [`super::expand`].
    pub args: Vec<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// Whole Secrets and ConfigMaps, before `env`.
    pub env_from: Vec<EnvFrom>,
    /// Single variables, in order: a later one may refer to an earlier one.
    pub env: Vec<EnvVariable>,
    /// Where the container writes its last words.
    pub termination_message_path: String,
}

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVariable {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub value: EnvValue,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// Text; `$(NAME)` and `$$` in it are for [`super::expand`].
    Literal(String),
    /// One key of a Secret or ConfigMap.
    Key {
        /// The Secret or ConfigMap.
        source: EnvSource,
        /// The key.
        key: String,
        /// A missing one leaves the variable unset.
        optional: bool,
    },
    /// A field of the Pod, or something else that only Kubernetes knows.
    Platform(&'static str),
}

/// A Secret or ConfigMap in the Job's namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EnvSource {
    /// A Secret of this name.
    Secret(String),
    /// A ConfigMap of this name.
    ConfigMap(String),
}

/// All keys of a Secret or ConfigMap as variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFrom {
    /// The Secret or ConfigMap.
    pub source: EnvSource,
    /// Put before every key.
    pub prefix: String,
    /// A missing one is no error.
    pub optional: bool,
}

/// One rule of `podFailurePolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRule {
    /// What to do when it fits.
    pub action: FailureAction,
    /// The exit codes it fits; a rule over Pod conditions has none and never fits an exit code.
    pub exit_codes: Option<ExitCodes>,
    /// Only for this container.
    pub container: Option<String>,
}

/// What a failed attempt means for the Job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureAction {
    /// The Job has failed, at once.
    FailJob,
    /// Another attempt that does not count.
    Ignore,
    /// Another attempt, up to the backoff limit.
    Count,
}

/// A set of exit codes; 0 is in none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitCodes {
    /// These.
    In(Vec<i32>),
    /// All but these.
    NotIn(Vec<i32>),
}

/// Checks a rendered object and makes it a Job of this event.
pub(super) fn plan(
    rendered: Rendered,
    event: &IncomingEvent,
    identity: &Identity,
    policy: &Policy,
) -> Result<PlannedJob, PlanError> {
    let Rendered { mut value, place } = rendered;
    plan_value(&mut value, event, identity, policy).map_err(|error| error.in_place(place)).map(
        |(namespace, name, job, spec)| PlannedJob {
            namespace,
            name,
            manifest: value,
            job: Box::new(job),
            spec,
            identity: identity.clone(),
        },
    )
}

fn plan_value(
    value: &mut Value,
    event: &IncomingEvent,
    identity: &Identity,
    policy: &Policy,
) -> Result<(String, String, Job, JobSpec), PlanError> {
    policy.check_kind(value)?;
    let requested = name::read(value)?;
    let name = name::fit(&requested.name);
    stamp::names(value, &requested.namespace, &name);
    policy.check_namespace(&requested.namespace)?;
    typed::read(value)?;
    policy.harden(value);
    stamp::identity(value, identity, event, &requested.name);
    let job = typed::read(value)?;
    policy.check_pod(&job)?;
    let spec = JobSpec::read(&job)?;
    environment::check(&spec.container)?;
    Ok((requested.namespace, name, job, spec))
}

impl JobSpec {
    /// What an attempt that ended with `code` means for the Job.
    pub fn on_exit(&self, code: i32) -> FailureAction {
        let container = &self.container.name;
        let fits = |rule: &&FailureRule| {
            rule.exit_codes.as_ref().is_some_and(|codes| codes.contain(code))
                && rule.container.as_ref().is_none_or(|name| name == container)
        };
        self.failure_rules.iter().find(fits).map_or(FailureAction::Count, |rule| rule.action)
    }

    fn read(job: &Job) -> Result<Self, PlanError> {
        let missing = |field: &str| PlanError::new(Stage::Check, "is not set").at_field(field);
        let spec = job.spec.as_ref().ok_or_else(|| missing("spec"))?;
        let pod = spec.template.spec.as_ref().ok_or_else(|| missing("spec.template.spec"))?;
        let container = pod.containers.first().ok_or_else(|| missing("spec.template.spec.containers"))?;
        let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
        Ok(Self {
            container: Container::read(container)?,
            active_deadline: spec.active_deadline_seconds.map(seconds),
            backoff_limit: spec.backoff_limit.map_or(BACKOFF_LIMIT, |limit| u32::try_from(limit).unwrap_or(0)),
            failure_rules: rules.map(FailureRule::read).collect::<Result<_, _>>()?,
            ttl_after_finished: spec.ttl_seconds_after_finished.map(|ttl| seconds(ttl.into())),
            grace_period: pod.termination_grace_period_seconds.map_or(GRACE_PERIOD, seconds),
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
        let fail = |message: String| PlanError::new(Stage::Check, message).at_field("spec.podFailurePolicy.rules");
        let action = match rule.action.as_str() {
            "FailJob" => FailureAction::FailJob,
            "Ignore" => FailureAction::Ignore,
            "Count" => FailureAction::Count,
            other => return Err(fail(format!("action {other:?} is none of FailJob, Ignore, Count"))),
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

impl Container {
    fn read(container: &core::Container) -> Result<Self, PlanError> {
        let image = container.image.clone().filter(|image| !image.is_empty()).ok_or_else(|| {
            PlanError::new(Stage::Check, "is not set").at_field("spec.template.spec.containers[0].image")
        })?;
        Ok(Self {
            name: container.name.clone(),
            image,
            command: container.command.clone().unwrap_or_default(),
            args: container.args.clone().unwrap_or_default(),
            working_dir: container.working_dir.clone(),
            env_from: container.env_from.iter().flatten().filter_map(EnvFrom::read).collect(),
            env: container.env.iter().flatten().map(EnvVariable::read).collect(),
            termination_message_path: container
                .termination_message_path
                .clone()
                .unwrap_or_else(|| "/dev/termination-log".into()),
        })
    }
}

impl EnvFrom {
    fn read(from: &core::EnvFromSource) -> Option<Self> {
        let prefix = from.prefix.clone().unwrap_or_default();
        let (source, optional) = match (&from.secret_ref, &from.config_map_ref) {
            (Some(secret), _) => (EnvSource::Secret(secret.name.clone()), secret.optional),
            (None, Some(map)) => (EnvSource::ConfigMap(map.name.clone()), map.optional),
            (None, None) => return None,
        };
        Some(Self { source, prefix, optional: optional.unwrap_or(false) })
    }
}

impl EnvVariable {
    fn read(variable: &core::EnvVar) -> Self {
        let value = match (&variable.value, &variable.value_from) {
            (None, Some(from)) => EnvValue::read(from),
            (text, _) => EnvValue::Literal(text.clone().unwrap_or_default()),
        };
        Self { name: variable.name.clone(), value }
    }
}

impl EnvValue {
    fn read(from: &core::EnvVarSource) -> Self {
        let key = |source, key: &str, optional: Option<bool>| Self::Key {
            source,
            key: key.to_owned(),
            optional: optional.unwrap_or(false),
        };
        if let Some(secret) = &from.secret_key_ref {
            key(EnvSource::Secret(secret.name.clone()), &secret.key, secret.optional)
        } else if let Some(map) = &from.config_map_key_ref {
            key(EnvSource::ConfigMap(map.name.clone()), &map.key, map.optional)
        } else if from.resource_field_ref.is_some() {
            Self::Platform("resourceFieldRef")
        } else if from.file_key_ref.is_some() {
            Self::Platform("fileKeyRef")
        } else {
            Self::Platform("fieldRef")
        }
    }
}
