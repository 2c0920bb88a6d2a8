//! Options of every command that plans events: the cluster the dispatcher stands for, and what Jobs may be.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use crate::plan::{Cluster, Policy};

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
        default_value = "default",
        env = "ALLOWED_NAMESPACES",
        value_delimiter = ','
    )]
    pub namespaces: Vec<String>,
    /// What an image must begin with, up to a slash, colon or @; may be given more than once [default: any image]
    #[arg(long = "image-prefix", value_name = "PREFIX", env = "IMAGE_PREFIXES", value_delimiter = ',')]
    pub image_prefixes: Vec<String>,
    /// Allow privileged containers and added capabilities
    #[arg(long, env = "ALLOW_PRIVILEGED")]
    pub allow_privileged: bool,
    /// Allow the node's own paths, ports, network and processes
    #[arg(long, env = "ALLOW_HOST")]
    pub allow_host: bool,
    /// Allow Pods a token that speaks to the Kubernetes API
    #[arg(long, env = "ALLOW_SERVICE_ACCOUNT_TOKEN")]
    pub allow_service_account_token: bool,
}

impl Planning {
    /// What no option and no variable changes.
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self {
            cluster_labels: vec![("role".into(), "deploy".into())],
            namespaces: vec!["default".into()],
            image_prefixes: Vec::new(),
            allow_privileged: false,
            allow_host: false,
            allow_service_account_token: false,
        }
    }

    /// The cluster the dispatcher stands for.
    pub fn cluster(&self) -> Cluster {
        Cluster {
            labels: self.cluster_labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..Cluster::default()
        }
    }

    /// What Jobs may be.
    pub fn policy(&self) -> Policy {
        Policy {
            namespaces: self.namespaces.iter().cloned().collect::<BTreeSet<_>>(),
            image_prefixes: self.image_prefixes.clone(),
            allow_privileged: self.allow_privileged,
            allow_host: self.allow_host,
            allow_service_account_token: self.allow_service_account_token,
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}
