//! Where the manifests come from, and how changes of them take force: a folder, or the cluster itself.

pub mod cluster;
mod condition;
mod object;
mod reading;

use std::fmt;
use std::path::PathBuf;

use crate::engine::rules::{self, Rules};
use crate::engine::stop::Stop;
use crate::manifest::Problem;

pub use cluster::Cluster;

/// Where the manifests come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A folder, as `kubectl apply -R -f` would take it.
    Folder(PathBuf),
    /// Objects that are watched.
    Cluster(Cluster),
}

impl Origin {
    /// The set as it is now; a bad one is refused with everything that is wrong.
    pub async fn load(&self) -> Result<Rules, Vec<Problem>> {
        match self {
            Self::Folder(folder) => rules::load(folder.clone()).await,
            Self::Cluster(cluster) => cluster.load().await,
        }
    }

    /// Takes over every change until told to stop.
    pub async fn follow(&self, rules: &Rules, stop: &Stop) {
        match self {
            Self::Folder(folder) => rules.follow(folder, stop).await,
            Self::Cluster(cluster) => cluster.follow(rules, stop).await,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(formatter),
            Self::Cluster(_) => formatter.write_str("the cluster"),
        }
    }
}
