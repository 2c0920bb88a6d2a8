//! Options of every command that plans events: the cluster that the dispatcher serves, and what Jobs may contain.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use crate::plan::{Cluster, ImagePrefix, Policy, is_pod_field};

/// The cluster and the allow-lists.
#[derive(Debug, Clone, Args)]
pub struct Planning {
    /// A label of the cluster that triggers select by, KEY=VALUE; may be given more than once
    #[arg(
        long = "cluster-label",
        value_name = "KEY=VALUE",
        value_parser = key_value,
        default_value = "role=deploy",
        env = "CLUSTER_LABELS",
        value_delimiter = ','
    )]
    pub cluster_labels: Vec<(String, String)>,
    /// A namespace that Jobs may be in; may be given more than once
    #[arg(
        long = "namespace",
        value_name = "NAME",
        value_parser = namespace,
        default_value = "default",
        env = "ALLOWED_NAMESPACES",
        value_delimiter = ','
    )]
    pub namespaces: Vec<String>,
    /// Allowed images: a registry, a path in it, or one image; may be given more than once [default: any image]
    #[arg(
        long = "image-prefix",
        value_name = "PREFIX",
        env = "IMAGE_PREFIXES",
        value_delimiter = ',',
        value_parser = image_prefix
    )]
    pub image_prefixes: Vec<OptionalPrefix>,
    /// A further field of Pods that Jobs may set, such as nodeName or volumes.nfs; may be given more than once
    #[arg(
        long = "allow-pod-field",
        value_name = "FIELD",
        env = "ALLOWED_POD_FIELDS",
        value_delimiter = ',',
        value_parser = pod_field
    )]
    pub allowed_fields: Vec<String>,
    /// Allow privileged containers, added capabilities, and Pods without seccomp
    #[arg(long, env = "ALLOW_PRIVILEGED")]
    pub allow_privileged: bool,
    /// Allow the node's own paths, ports, network and processes
    #[arg(long, env = "ALLOW_HOST")]
    pub allow_host: bool,
    /// Allow Pods a token that speaks to the Kubernetes API, and to name its account
    #[arg(long, env = "ALLOW_SERVICE_ACCOUNT_TOKEN")]
    pub allow_service_account_token: bool,
}

impl Planning {
    /// The settings that no option and no variable changes.
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self {
            cluster_labels: vec![("role".into(), "deploy".into())],
            namespaces: vec!["default".into()],
            image_prefixes: Vec::new(),
            allowed_fields: Vec::new(),
            allow_privileged: false,
            allow_host: false,
            allow_service_account_token: false,
        }
    }

    /// The cluster that the dispatcher serves.
    pub fn cluster(&self) -> Cluster {
        Cluster {
            labels: self.cluster_labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..Cluster::default()
        }
    }

    /// What Jobs may contain.
    pub fn policy(&self) -> Policy {
        Policy {
            namespaces: self.namespaces.iter().cloned().collect::<BTreeSet<_>>(),
            image_prefixes: self.image_prefixes.iter().filter_map(|one| one.0.clone()).collect(),
            allowed_fields: self.allowed_fields.iter().filter(|field| !field.is_empty()).cloned().collect(),
            allow_privileged: self.allow_privileged,
            allow_host: self.allow_host,
            allow_service_account_token: self.allow_service_account_token,
        }
    }
}

/// A prefix; `None` if the variable is empty.
#[derive(Debug, Clone)]
pub struct OptionalPrefix(Option<ImagePrefix>);

fn image_prefix(text: &str) -> Result<OptionalPrefix, String> {
    let text = text.trim();
    if text.is_empty() {
        Ok(OptionalPrefix(None))
    } else {
        let neither = "it is neither a registry, such as ghcr.io or localhost:5000/, nor the beginning of an image, such as \
                       ghcr.io/acme/ or knapscen";
        // The message does not quote the text: it may be a secret in the wrong place.
        text.parse().map(|prefix| OptionalPrefix(Some(prefix))).map_err(|_: String| neither.to_owned())
    }
}

/// The name of a namespace.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (1..=63).contains(&text.len())
        && text.bytes().all(is_usual)
        && !text.starts_with('-')
        && !text.ends_with('-');
    is_name.then(|| text.to_owned()).ok_or_else(|| {
        "it must be the name of a namespace: 1 to 63 lower-case letters, digits and hyphens, no hyphen at its ends"
            .to_owned()
    })
}

/// A field of a Pod, with or without the path of the Pod in a Job; empty if a list has nothing between two commas.
fn pod_field(text: &str) -> Result<String, String> {
    let field = text.trim().trim_start_matches("spec.template.spec.");
    if field.is_empty() || is_pod_field(field) {
        Ok(field.to_owned())
    } else {
        Err("it is no field of a Pod: it must be one below its spec, such as nodeName or volumes.nfs"
            .to_owned())
    }
}

/// Only letters that labels consist of, because labels are shown.
fn is_label(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.trim().split_once('=') {
        Some((key, value)) if !key.is_empty() && [key, value].iter().all(|text| is_label(text)) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("it is not KEY=VALUE, as labels are written".to_owned()),
    }
}
