//! What a rendered object may be: allow-lists that no event and no manifest can widen.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec, SecurityContext};
use serde_json::Value;

use super::{PlanError, Stage};

/// What rendered objects may be.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Namespaces that Jobs may be in.
    pub namespaces: BTreeSet<String>,
    /// What images may begin with, up to a `/`, `:` or `@`; empty means any image.
    pub image_prefixes: Vec<String>,
    /// Privileged containers, added capabilities, unmasked `/proc`.
    pub allow_privileged: bool,
    /// The node's own paths, ports, network and processes.
    pub allow_host: bool,
    /// A token that speaks to the Kubernetes API.
    pub allow_service_account_token: bool,
}

impl Default for Policy {
    /// Jobs in the namespace `default`, of any image, with no special rights.
    fn default() -> Self {
        Self {
            namespaces: BTreeSet::from(["default".into()]),
            image_prefixes: Vec::new(),
            allow_privileged: false,
            allow_host: false,
            allow_service_account_token: false,
        }
    }
}

impl Policy {
    /// Only `batch/v1` Jobs, whatever else is allowed.
    pub(super) fn check_kind(value: &Value) -> Result<(), PlanError> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        match (text("apiVersion"), text("kind")) {
            ("batch/v1", "Job") => Ok(()),
            ("" | "batch/v1", "") => Err(refused("kind", "is not set, only a batch/v1 Job is allowed")),
            (_, "Job") => Err(refused("apiVersion", "of a Job must be batch/v1")),
            (_, _) => Err(refused("kind", "is not allowed, only a batch/v1 Job is")),
        }
    }

    pub(super) fn check_namespace(&self, namespace: &str) -> Result<(), PlanError> {
        if self.namespaces.contains(namespace) {
            return Ok(());
        }
        let allowed: Vec<_> = self.namespaces.iter().map(String::as_str).collect();
        Err(refused("metadata.namespace", format!("is not allowed, only {} is", allowed.join(", "))))
    }

    /// Where the manifest says nothing, no token is mounted: Kubernetes' own default would mount one.
    pub(super) fn harden(&self, value: &mut Value) {
        if self.allow_service_account_token {
            return;
        }
        if let Some(pod) = value.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) {
            let token = pod.entry("automountServiceAccountToken").or_insert(Value::Null);
            if token.is_null() {
                *token = Value::Bool(false);
            }
        }
    }

    /// Images and rights of the Pod.
    pub(super) fn check_pod(&self, job: &Job) -> Result<(), PlanError> {
        let Some(pod) = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else { return Ok(()) };
        self.check_host(pod)?;
        if !self.allow_service_account_token {
            check_tokens(pod)?;
        }
        let options = pod.security_context.as_ref().and_then(|context| context.windows_options.as_ref());
        if !self.allow_privileged && options.is_some_and(|options| options.host_process == Some(true)) {
            return Err(refused(
                "spec.template.spec.securityContext.windowsOptions.hostProcess",
                NOT_ALLOWED,
            ));
        }
        let lists = [
            ("initContainers", pod.init_containers.as_deref()),
            ("containers", Some(pod.containers.as_slice())),
        ];
        for (list, containers) in lists {
            for (index, container) in containers.unwrap_or_default().iter().enumerate() {
                self.check_container(container, &format!("spec.template.spec.{list}[{index}]"))?;
            }
        }
        Ok(())
    }

    fn check_host(&self, pod: &PodSpec) -> Result<(), PlanError> {
        if self.allow_host {
            return Ok(());
        }
        for (field, value) in
            [("hostNetwork", pod.host_network), ("hostPID", pod.host_pid), ("hostIPC", pod.host_ipc)]
        {
            if value == Some(true) {
                return Err(refused(format!("spec.template.spec.{field}"), NOT_ALLOWED));
            }
        }
        let paths = pod.volumes.iter().flatten().position(|volume| volume.host_path.is_some());
        paths.map_or(Ok(()), |index| {
            Err(refused(format!("spec.template.spec.volumes[{index}].hostPath"), NOT_ALLOWED))
        })
    }

    fn check_container(&self, container: &Container, base: &str) -> Result<(), PlanError> {
        let image = container.image.as_deref().unwrap_or_default();
        if !self.allows_image(image) {
            let message = format!("is not allowed, it must begin with {}", self.image_prefixes.join(" or "));
            return Err(refused(format!("{base}.image"), message));
        }
        if !self.allow_host && container.ports.iter().flatten().any(|port| port.host_port.is_some()) {
            return Err(refused(format!("{base}.ports"), "hostPort is not allowed"));
        }
        match container.security_context.as_ref().filter(|_| !self.allow_privileged).and_then(privilege) {
            Some(field) => Err(refused(format!("{base}.securityContext.{field}"), NOT_ALLOWED)),
            None => Ok(()),
        }
    }

    fn allows_image(&self, image: &str) -> bool {
        let begins = |prefix: &String| {
            image.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                rest.is_empty() || prefix.ends_with(['/', ':', '@']) || rest.starts_with(['/', ':', '@'])
            })
        };
        self.image_prefixes.is_empty() || self.image_prefixes.iter().any(begins)
    }
}

const NOT_ALLOWED: &str = "is not allowed";

fn refused(field: impl Into<String>, message: impl Into<String>) -> PlanError {
    PlanError::new(Stage::Policy, message).at_field(field)
}

fn check_tokens(pod: &PodSpec) -> Result<(), PlanError> {
    if pod.automount_service_account_token == Some(true) {
        return Err(refused("spec.template.spec.automountServiceAccountToken", NOT_ALLOWED));
    }
    let projects_token = |volume: &k8s_openapi::api::core::v1::Volume| {
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        sources.into_iter().any(|source| source.service_account_token.is_some())
    };
    match pod.volumes.iter().flatten().position(projects_token) {
        Some(index) => Err(refused(
            format!("spec.template.spec.volumes[{index}].projected"),
            "a service-account token is not allowed",
        )),
        None => Ok(()),
    }
}

/// The first field that gives a container special rights.
fn privilege(context: &SecurityContext) -> Option<&'static str> {
    let adds = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_ref());
    let windows = context.windows_options.as_ref();
    [
        ("privileged", context.privileged == Some(true)),
        ("allowPrivilegeEscalation", context.allow_privilege_escalation == Some(true)),
        ("capabilities.add", adds.is_some_and(|added| !added.is_empty())),
        ("procMount", context.proc_mount.as_deref().is_some_and(|mount| mount != "Default")),
        ("windowsOptions.hostProcess", windows.is_some_and(|options| options.host_process == Some(true))),
    ]
    .into_iter()
    .find_map(|(field, special)| special.then_some(field))
}
