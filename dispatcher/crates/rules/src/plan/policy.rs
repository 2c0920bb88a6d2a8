//! What rendered objects may contain: allow-lists that no event and no manifest can extend.

mod fields;
mod image;

use std::collections::BTreeSet;

use serde_json::Value;

use super::{PlanError, Stage};

pub(super) use fields::check_source;
pub use fields::is_pod_field;
pub use image::ImagePrefix;

/// What rendered objects may contain.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The namespaces that Jobs may be in.
    pub namespaces: BTreeSet<String>,
    /// The allowed beginnings of images, compared by whole parts; empty allows any image.
    pub image_prefixes: Vec<ImagePrefix>,
    /// Allows privileged containers, added capabilities, unmasked `/proc` and no seccomp.
    pub allow_privileged: bool,
    /// Allows the node's own paths, ports, network and processes.
    pub allow_host: bool,
    /// Allows a token for the Kubernetes API, and choosing its account.
    pub allow_service_account_token: bool,
    /// Further allowed fields of a Pod by name, such as `nodeName` or `volumes.nfs`.
    pub allowed_fields: BTreeSet<String>,
}

impl Default for Policy {
    /// Jobs in the namespace `default`, with any image, and with no special rights.
    fn default() -> Self {
        Self {
            namespaces: BTreeSet::from(["default".into()]),
            image_prefixes: Vec::new(),
            allow_privileged: false,
            allow_host: false,
            allow_service_account_token: false,
            allowed_fields: BTreeSet::new(),
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

    pub(super) fn check_namespace(&self, namespace: &str, is_of_event: bool) -> Result<(), PlanError> {
        if self.namespaces.contains(namespace) {
            return Ok(());
        }
        let allowed: Vec<_> = self.namespaces.iter().map(String::as_str).collect();
        let allowed = allowed.join(", ");
        // The message does not repeat what the event sent.
        let message = if is_of_event {
            format!("the one that the event gives is not allowed, only {allowed}")
        } else {
            format!(
                "{namespace} is not allowed, only {allowed}: --namespace {namespace} (ALLOWED_NAMESPACES) allows it"
            )
        };
        Err(refused("metadata.namespace", message))
    }

    /// If the manifest says nothing, no token is mounted. Kubernetes' own default would mount one.
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

    /// Checks images and fields of the Pod. `filled`: JSON pointers to texts of the event.
    pub(super) fn check_pod(&self, job: &Value, filled: &BTreeSet<String>) -> Result<(), PlanError> {
        fields::check_origin(job, filled)?;
        fields::check_annotations(self, job)?;
        let Some(pod) = job.pointer("/spec/template/spec") else { return Ok(()) };
        fields::check(self, pod)?;
        self.check_images(pod)
    }

    fn check_images(&self, pod: &Value) -> Result<(), PlanError> {
        if self.image_prefixes.is_empty() {
            return Ok(());
        }
        let lists = [("initContainers", "/image"), ("containers", "/image"), ("volumes", "/image/reference")];
        for (list, pointer) in lists {
            for (index, item) in pod[list].as_array().into_iter().flatten().enumerate() {
                let image = item.pointer(pointer).and_then(Value::as_str);
                // A container without an image is refused elsewhere, because then it is not a valid Job.
                if image.is_some_and(|image| !self.allows_image(image)) {
                    let prefixes: Vec<_> = self.image_prefixes.iter().map(ToString::to_string).collect();
                    let message = format!(
                        "is not allowed, it must begin with {}: --image-prefix (IMAGE_PREFIXES) allows others",
                        prefixes.join(" or ")
                    );
                    let field = pointer.trim_start_matches('/').replace('/', ".");
                    return Err(refused(format!("spec.template.spec.{list}[{index}].{field}"), message));
                }
            }
        }
        Ok(())
    }

    fn allows_image(&self, image: &str) -> bool {
        self.image_prefixes.iter().any(|prefix| prefix.matches(image))
    }
}

fn refused(field: impl Into<String>, message: impl Into<String>) -> PlanError {
    PlanError::new(Stage::Policy, message).at_field(field)
}
