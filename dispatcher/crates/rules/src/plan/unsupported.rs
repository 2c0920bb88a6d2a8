//! What a backend cannot do: `validate` refuses it, so that it is never silently ignored.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{EnvValue, PlannedJob};

/// Where Jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The fields of `job` that the backend cannot support. For a process, isolation settings (`securityContext`,
/// `resources`, pull policy) are not listed, and scheduling is listed for no backend, because they do not change what
/// the Job does.
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
    let Some(spec) = job.manifest.typed().spec else { return fields };
    add(spec.parallelism.is_some_and(|n| n != 1), "spec.parallelism");
    add(spec.completions.is_some_and(|n| n != 1), "spec.completions");
    add(spec.completion_mode.as_deref().is_some_and(|mode| mode != "NonIndexed"), "spec.completionMode");
    add(spec.backoff_limit_per_index.is_some(), "spec.backoffLimitPerIndex");
    add(spec.success_policy.is_some(), "spec.successPolicy");
    add(spec.suspend == Some(true), "spec.suspend");
    add(spec.managed_by.is_some(), "spec.managedBy");
    if let Some(pod) = &spec.template.spec {
        pod_fields(pod, &mut add);
        if backend == BackendKind::Docker {
            docker_fields(pod, &mut add);
        } else {
            process_fields(pod, &mut add);
        }
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
    add(pod.restart_policy.as_deref() == Some("OnFailure"), &base("restartPolicy"));
    add(pod.active_deadline_seconds.is_some(), &base("activeDeadlineSeconds"));
}

/// What only a process lacks.
fn process_fields(pod: &PodSpec, add: &mut impl FnMut(bool, &str)) {
    let base = |field: &str| format!("spec.template.spec.{field}");
    add(pod.volumes.as_ref().is_some_and(|all| !all.is_empty()), &base("volumes"));
    add(pod.host_aliases.as_ref().is_some_and(|all| !all.is_empty()), &base("hostAliases"));
}

/// What a container of an engine lacks. Isolation settings are listed here, because a container without one that was
/// asked for would be less safe than its author expects.
fn docker_fields(pod: &PodSpec, add: &mut impl FnMut(bool, &str)) {
    let base = "spec.template.spec";
    for (index, volume) in pod.volumes.iter().flatten().enumerate() {
        let is_known = volume.empty_dir.is_some() || volume.secret.is_some() || volume.config_map.is_some();
        add(!is_known, &format!("{base}.volumes[{index}]"));
    }
    add(pod.runtime_class_name.is_some(), &format!("{base}.runtimeClassName"));
    add(pod.host_users == Some(false), &format!("{base}.hostUsers"));
    if let Some(shared) = &pod.security_context {
        let base = format!("{base}.securityContext");
        add(shared.se_linux_options.is_some(), &format!("{base}.seLinuxOptions"));
        add(shared.windows_options.is_some(), &format!("{base}.windowsOptions"));
        let seccomp = shared.seccomp_profile.as_ref();
        add(seccomp.is_some_and(|one| one.type_ == "Localhost"), &format!("{base}.seccompProfile"));
        let app_armor = shared.app_armor_profile.as_ref();
        add(app_armor.is_some_and(|one| one.type_ == "Localhost"), &format!("{base}.appArmorProfile"));
    }
    let Some(container) = pod.containers.first() else { return };
    let base = format!("{base}.containers[0]");
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let is_part = mount.sub_path.is_some() || mount.sub_path_expr.is_some();
        add(is_part, &format!("{base}.volumeMounts[{index}].subPath"));
    }
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    for name in limits.into_iter().flat_map(|limits| limits.keys()) {
        let is_known = ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str());
        add(!is_known, &format!("{base}.resources.limits.{name}"));
    }
    if let Some(own) = &container.security_context {
        let base = format!("{base}.securityContext");
        add(own.se_linux_options.is_some(), &format!("{base}.seLinuxOptions"));
        add(own.windows_options.is_some(), &format!("{base}.windowsOptions"));
        add(own.proc_mount.as_deref().is_some_and(|kind| kind != "Default"), &format!("{base}.procMount"));
        let seccomp = own.seccomp_profile.as_ref();
        add(seccomp.is_some_and(|one| one.type_ == "Localhost"), &format!("{base}.seccompProfile"));
        let app_armor = own.app_armor_profile.as_ref();
        add(app_armor.is_some_and(|one| one.type_ == "Localhost"), &format!("{base}.appArmorProfile"));
    }
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
