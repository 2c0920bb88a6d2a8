//! Where the manifests come from, and how changes take force: a folder, or the cluster itself.

#[cfg(feature = "kubernetes")]
pub mod cluster;
#[cfg(feature = "kubernetes")]
mod condition;
pub mod rules;
#[cfg(feature = "kubernetes")]
mod selection;

use std::fmt;
use std::path::PathBuf;

use shared::config::shown;

use crate::manifest::Problem;
use crate::plan::Needs;
use job::stop::Stop;

#[cfg(feature = "kubernetes")]
pub use cluster::Cluster;
pub use rules::Rules;

/// Where the manifests come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A folder, read like `kubectl apply -R -f`.
    Folder(PathBuf),
    /// Objects of a cluster, which are watched.
    #[cfg(feature = "kubernetes")]
    Cluster(Cluster),
}

impl Origin {
    /// The present set, without triggers whose needs are not met. A bad set is refused with all its problems.
    pub async fn load(&self, needs: Needs) -> Result<Rules, Vec<Problem>> {
        match self {
            Self::Folder(folder) => rules::load(folder.clone(), needs).await,
            #[cfg(feature = "kubernetes")]
            Self::Cluster(cluster) => cluster.load(needs).await,
        }
    }

    /// Applies every change until it is told to stop.
    pub async fn follow(&self, rules: &Rules, stop: &Stop) {
        let changes = async {
            match self {
                Self::Folder(folder) => rules.follow(folder, stop).await,
                #[cfg(feature = "kubernetes")]
                Self::Cluster(cluster) => cluster.follow(rules, stop).await,
            }
        };
        tokio::join!(changes, rules.settle(stop));
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => formatter.write_str(&shown(folder)),
            #[cfg(feature = "kubernetes")]
            Self::Cluster(_) => formatter.write_str("the cluster"),
        }
    }
}
