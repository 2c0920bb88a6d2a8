//! The fields of a Pod that a rendered Job may set: those that the shipped Jobs need, and those that do no harm.
//! Every other field must be allowed by name, including fields of later Kubernetes versions.

mod source;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::{Policy, refused};
use crate::manifest;
use crate::plan::PlanError;

/// The fields that may be set, below the Pod's `spec`, without list indexes. A star means everything below.
const ALLOWED: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity.*",
    "dnsConfig.*",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases.*",
    "hostname",
    "imagePullSecrets.*",
    "nodeSelector.*",
    "os.*",
    "preemptionPolicy",
    "readinessGates.*",
    "restartPolicy",
    "schedulerName",
    "schedulingGates.*",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations.*",
    "topologySpreadConstraints.*",
    "securityContext.appArmorProfile.localhostProfile",
    "securityContext.fsGroup",
    "securityContext.fsGroupChangePolicy",
    "securityContext.runAsGroup",
    "securityContext.runAsNonRoot",
    "securityContext.runAsUser",
    "securityContext.seccompProfile.localhostProfile",
    "securityContext.supplementalGroups",
    "securityContext.supplementalGroupsPolicy",
    "volumes.name",
    "volumes.configMap.*",
    "volumes.downwardAPI.*",
    "volumes.emptyDir.*",
    "volumes.image.*",
    "volumes.projected.defaultMode",
    "volumes.projected.sources.configMap.*",
    "volumes.projected.sources.downwardAPI.*",
    "volumes.projected.sources.secret.*",
    "volumes.secret.*",
    "containers.args",
    "containers.command",
    "containers.env.*",
    "containers.envFrom.*",
    "containers.image",
    "containers.imagePullPolicy",
    "containers.name",
    "containers.ports.containerPort",
    "containers.ports.name",
    "containers.ports.protocol",
    "containers.resizePolicy.*",
    "containers.resources.*",
    "containers.restartPolicy",
    "containers.restartPolicyRules.*",
    "containers.stdin",
    "containers.stdinOnce",
    "containers.terminationMessagePath",
    "containers.terminationMessagePolicy",
    "containers.tty",
    "containers.volumeMounts.mountPath",
    "containers.volumeMounts.name",
    "containers.volumeMounts.readOnly",
    "containers.volumeMounts.recursiveReadOnly",
    "containers.volumeMounts.subPath",
    "containers.volumeMounts.subPathExpr",
    "containers.workingDir",
    "containers.securityContext.appArmorProfile.localhostProfile",
    "containers.securityContext.capabilities.drop",
    "containers.securityContext.readOnlyRootFilesystem",
    "containers.securityContext.runAsGroup",
    "containers.securityContext.runAsNonRoot",
    "containers.securityContext.runAsUser",
    "containers.securityContext.seccompProfile.localhostProfile",
];

/// Probes and hooks, without a host of their own, because the node would call it.
const HANDLERS: &[&str] =
    &["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"];
const HANDLED: &[&str] = &[
    "exec.*",
    "failureThreshold",
    "grpc.*",
    "httpGet.httpHeaders.*",
    "httpGet.path",
    "httpGet.port",
    "httpGet.scheme",
    "initialDelaySeconds",
    "periodSeconds",
    "sleep.*",
    "successThreshold",
    "tcpSocket.port",
    "terminationGracePeriodSeconds",
    "timeoutSeconds",
];

/// Fields for which only some values are allowed.
const VALUES: &[(&str, &[&str])] = &[
    ("securityContext.appArmorProfile.type", &["RuntimeDefault", "Localhost"]),
    ("securityContext.seccompProfile.type", &["RuntimeDefault", "Localhost"]),
    ("containers.securityContext.appArmorProfile.type", &["RuntimeDefault", "Localhost"]),
    ("containers.securityContext.procMount", &["Default"]),
    ("containers.securityContext.seccompProfile.type", &["RuntimeDefault", "Localhost"]),
    ("containers.volumeMounts.mountPropagation", &["None"]),
];

/// What each of the older flags allows.
const PRIVILEGED: &[&str] = &[
    "securityContext.appArmorProfile.*",
    "securityContext.seLinuxChangePolicy",
    "securityContext.seLinuxOptions.*",
    "securityContext.seccompProfile.*",
    "securityContext.sysctls.*",
    "securityContext.windowsOptions.*",
    "containers.securityContext.*",
    "containers.volumeMounts.mountPropagation",
];
const HOST: &[&str] = &[
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "containers.ports.hostIP",
    "containers.ports.hostPort",
    "volumes.hostPath.*",
];
const TOKEN: &[&str] = &[
    "automountServiceAccountToken",
    "serviceAccount",
    "serviceAccountName",
    "volumes.projected.sources.serviceAccountToken.*",
];

/// Names that decide about rights, below the Job. An event can never set them.
const NEVER_OF_EVENTS: &[&str] = &[
    "/metadata/finalizers",
    "/metadata/ownerReferences",
    "/spec/template/metadata/finalizers",
    "/spec/template/metadata/ownerReferences",
    "/spec/template/spec/serviceAccountName",
    "/spec/template/spec/serviceAccount",
    "/spec/template/spec/nodeName",
    "/spec/template/spec/priorityClassName",
    "/spec/template/spec/runtimeClassName",
    "/spec/template/spec/schedulerName",
    "/spec/template/spec/nodeSelector",
    "/spec/template/spec/affinity",
    "/spec/template/spec/tolerations",
];

/// Names of Secrets, below the Pod's `spec` and with list indexes as stars. An event can never choose one.
const SECRET_NAMES: &[&str] = &[
    "containers/*/env/*/valueFrom/secretKeyRef/name",
    "containers/*/envFrom/*/secretRef/name",
    "initContainers/*/env/*/valueFrom/secretKeyRef/name",
    "initContainers/*/envFrom/*/secretRef/name",
    "volumes/*/secret/secretName",
    "volumes/*/projected/sources/*/secret/name",
];

/// Annotations of a Pod that Kubernetes reads as fields of a security context.
const SECURITY_ANNOTATIONS: &[&str] = &[
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
];

/// Refuses names that come from the event. `filled`: JSON pointers to texts of the event.
pub(super) fn check_origin(job: &Value, filled: &BTreeSet<String>) -> Result<(), PlanError> {
    let meets = |field: &str, place: &str| {
        let is_below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is_below(place, field) || is_below(field, place)
    };
    if let Some(field) = rights(job).find(|field| filled.iter().any(|place| meets(field, place))) {
        return Err(of_an_event(field));
    }
    let names_a_secret = |place: &&str| {
        let below = place.strip_prefix("/spec/template/spec/");
        below.is_some_and(|place| SECRET_NAMES.iter().any(|name| is_at(place, name)))
    };
    match filled.iter().map(String::as_str).find(names_a_secret) {
        Some(place) => Err(of_an_event(place)),
        None => Ok(()),
    }
}

/// Refuses templates in which a number or a boolean of the event becomes part of such a name: only texts of the event
/// leave a trace in the rendered Job. `text` is the template.
pub(in crate::plan) fn check_source(job: &Value, text: &str) -> Result<(), PlanError> {
    let takes_data = |field: &&str| {
        let key = field.rsplit('/').next().unwrap_or(field);
        source::values(text, key).iter().any(|value| source::takes_data(value))
    };
    rights(job).find(takes_data).map_or(Ok(()), |field| Err(of_an_event(field)))
}

/// The names that decide about rights and are set in this Job.
fn rights(job: &Value) -> impl Iterator<Item = &'static str> {
    let is_set = |field: &&str| job.pointer(field).is_some_and(|value| !is_nothing(value));
    NEVER_OF_EVENTS.iter().copied().filter(is_set)
}

/// The refusal of what an event has put at this pointer.
fn of_an_event(pointer: &str) -> PlanError {
    let field = pointer.trim_start_matches('/').replace('/', ".");
    refused(field, "may not come from an event: write it into the template")
}

fn is_at(place: &str, pattern: &str) -> bool {
    let (mut place, mut pattern) = (place.split('/'), pattern.split('/'));
    loop {
        match (place.next(), pattern.next()) {
            (None, None) => return true,
            (Some(part), Some(wanted)) if wanted == "*" || wanted == part => {}
            _ => return false,
        }
    }
}

/// Refuses annotations that would undo what the fields may not say.
pub(super) fn check_annotations(policy: &Policy, job: &Value) -> Result<(), PlanError> {
    let annotations = job.pointer("/spec/template/metadata/annotations").and_then(Value::as_object);
    let mut names = annotations.into_iter().flatten().map(|(name, _)| name);
    let steers = |name: &&String| SECURITY_ANNOTATIONS.iter().any(|start| name.starts_with(start));
    match names.find(steers) {
        // The name may come from an event, so it is not repeated.
        Some(_) if !policy.allow_privileged => Err(refused(
            "spec.template.metadata.annotations",
            "has an annotation for AppArmor or seccomp: use securityContext, or --allow-privileged (ALLOW_PRIVILEGED)",
        )),
        _ => Ok(()),
    }
}

/// Refuses fields that are set and not allowed.
pub(super) fn check(policy: &Policy, pod: &Value) -> Result<(), PlanError> {
    look(policy, pod, "", "spec.template.spec")
}

fn look(policy: &Policy, value: &Value, name: &str, place: &str) -> Result<(), PlanError> {
    match value {
        // An empty value gives no right.
        _ if is_nothing(value) => Ok(()),
        _ if !name.is_empty() && is_allowed(policy, name, value) => Ok(()),
        _ if !name.is_empty() && !is_partly_allowed(policy, name) => Err(refused(place, remedy(name))),
        Value::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            let key = if name.is_empty() && key == "initContainers" {
                ("containers", key)
            } else {
                (key.as_str(), key)
            };
            let name = if name.is_empty() { key.0.to_owned() } else { format!("{name}.{}", key.0) };
            look(policy, value, &name, &format!("{place}.{}", key.1))
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| look(policy, value, name, &format!("{place}[{index}]"))),
        _ => Err(refused(place, remedy(name))),
    }
}

/// Whether a field below this one may be set.
fn is_partly_allowed(policy: &Policy, name: &str) -> bool {
    let is_below = |field: &str| field.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    let handlers = HANDLERS.iter().any(|kind| {
        let kind = format!("containers.{kind}");
        is_below(&kind) || HANDLED.iter().any(|inner| is_below(&format!("{kind}.{inner}")))
    });
    let opened = [
        (true, ALLOWED),
        (policy.allow_privileged, PRIVILEGED),
        (policy.allow_host, HOST),
        (policy.allow_service_account_token, TOKEN),
    ];
    handlers
        || VALUES.iter().any(|(field, _)| is_below(field))
        || opened.iter().any(|(is_open, list)| *is_open && list.iter().any(|field| is_below(field)))
        || policy.allowed_fields.iter().any(|field| is_below(field))
}

/// Whether a Pod has this field, such as `nodeName` or `volumes.nfs`.
pub fn is_pod_field(name: &str) -> bool {
    /// How many names a field has at most: more would take long.
    const DEEPEST: usize = 8;
    /// Each name may be of an object or of a list of them.
    fn shapes(name: &str) -> Vec<Value> {
        let (first, below) = match name.split_once('.') {
            Some((first, rest)) => {
                let below = shapes(rest);
                let lists: Vec<_> = below.iter().map(|one| json!([one])).collect();
                (first, [below, lists].concat())
            }
            None => (name, vec![Value::Null, json!("")]),
        };
        below.into_iter().map(|below| json!({ first: below })).collect()
    }
    let is_known = |pod: &Value| {
        let (read, unknown) = manifest::read_closely::<PodSpec>(pod);
        read.is_ok() && unknown.is_empty()
    };
    name.split('.').count() <= DEEPEST && shapes(name).iter().any(is_known)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0) && number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_nothing),
        Value::Object(entries) => entries.values().all(is_nothing),
        Value::Bool(true) => false,
    }
}

fn is_in(list: &[&str], name: &str) -> bool {
    list.iter().any(|known| match known.strip_suffix(".*") {
        Some(parent) => {
            name.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
        None => *known == name,
    })
}

fn is_allowed(policy: &Policy, name: &str, value: &Value) -> bool {
    let handled = || {
        let inner = HANDLERS
            .iter()
            .find_map(|kind| name.strip_prefix("containers.")?.strip_prefix(kind)?.strip_prefix('.'));
        inner.is_some_and(|inner| is_in(HANDLED, inner))
    };
    let valued = || {
        let known = VALUES.iter().find(|(known, _)| *known == name);
        known.is_some_and(|(_, values)| value.as_str().is_some_and(|text| values.contains(&text)))
    };
    let named = |field: &String| {
        name == field || name.strip_prefix(field.as_str()).is_some_and(|rest| rest.starts_with('.'))
    };
    is_in(ALLOWED, name)
        || handled()
        || valued()
        || (policy.allow_privileged && is_in(PRIVILEGED, name))
        || (policy.allow_host && is_in(HOST, name))
        || (policy.allow_service_account_token && is_in(TOKEN, name))
        || policy.allowed_fields.iter().any(named)
}

/// The option that would allow it.
fn remedy(name: &str) -> String {
    let flag = match () {
        () if is_in(HOST, name) => "--allow-host (ALLOW_HOST)".to_owned(),
        () if is_in(TOKEN, name) => "--allow-service-account-token (ALLOW_SERVICE_ACCOUNT_TOKEN)".to_owned(),
        () if is_in(PRIVILEGED, name) => "--allow-privileged (ALLOW_PRIVILEGED)".to_owned(),
        () => format!("--allow-pod-field {name} (ALLOWED_POD_FIELDS)"),
    };
    format!("is not allowed: {flag} allows it")
}

#[cfg(test)]
mod tests;
