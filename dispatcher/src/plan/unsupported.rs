//! What a backend cannot honour: refused by `validate`, never silently dropped.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{EnvValue, PlannedJob};

/// Where Jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendKind {
    /// Child processes.
    Process,
    /// Containers of a Docker Engine.
    Docker,
    /// Jobs of a cluster.
    Kubernetes,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
        })
    }
}

/// The fields of `job` whose meaning the backend cannot keep. Walls around the container (`securityContext`, `resources`,
/// pull policy, scheduling) are not among them: they do not change what the Job does.
pub fn unsupported(job: &PlannedJob, backend: BackendKind) -> Vec<String> {
    if backend == BackendKind::Kubernetes {
        return Vec::new();
    }
    let mut fields = Vec::new();
    let mut add = |present: bool, field: &str| {
        if present {
            fields.push(field.to_owned());
        }
    };
    let Some(spec) = &job.job.spec else { return fields };
    add(spec.parallelism.is_some_and(|n| n != 1), "spec.parallelism");
    add(spec.completions.is_some_and(|n| n != 1), "spec.completions");
    add(spec.completion_mode.as_deref().is_some_and(|mode| mode != "NonIndexed"), "spec.completionMode");
    add(spec.backoff_limit_per_index.is_some(), "spec.backoffLimitPerIndex");
    add(spec.success_policy.is_some(), "spec.successPolicy");
    add(spec.suspend == Some(true), "spec.suspend");
    add(spec.managed_by.is_some(), "spec.managedBy");
    if let Some(pod) = &spec.template.spec {
        pod_fields(pod, &mut add);
        if let Some(container) = pod.containers.first() {
            container_fields(container, &mut add);
        }
    }
    for (index, variable) in job.spec.env.iter().enumerate() {
        if let EnvValue::Unsupported(what) = variable.value {
            fields.push(format!("spec.template.spec.containers[0].env[{index}].valueFrom.{what}"));
        }
    }
    fields
}

fn pod_fields(pod: &PodSpec, add: &mut impl FnMut(bool, &str)) {
    let base = |field: &str| format!("spec.template.spec.{field}");
    add(pod.containers.len() > 1, &base("containers[1]"));
    add(pod.init_containers.as_ref().is_some_and(|all| !all.is_empty()), &base("initContainers"));
    add(pod.volumes.as_ref().is_some_and(|all| !all.is_empty()), &base("volumes"));
    add(pod.restart_policy.as_deref() == Some("OnFailure"), &base("restartPolicy"));
    add(pod.host_aliases.as_ref().is_some_and(|all| !all.is_empty()), &base("hostAliases"));
    add(pod.active_deadline_seconds.is_some(), &base("activeDeadlineSeconds"));
}

fn container_fields(container: &Container, add: &mut impl FnMut(bool, &str)) {
    let base = |field: &str| format!("spec.template.spec.containers[0].{field}");
    add(container.lifecycle.is_some(), &base("lifecycle"));
    add(container.liveness_probe.is_some(), &base("livenessProbe"));
    add(container.startup_probe.is_some(), &base("startupProbe"));
    add(container.tty == Some(true), &base("tty"));
    add(container.stdin == Some(true), &base("stdin"));
    add(container.volume_devices.as_ref().is_some_and(|all| !all.is_empty()), &base("volumeDevices"));
}
