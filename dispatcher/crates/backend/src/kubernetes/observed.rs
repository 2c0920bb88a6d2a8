//! A Job, its Pods and their Events, as the API server reports them: only names and states. Specs, annotations and
//! managed fields are not read, because they would take most of the memory for as long as a Job runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{ContainerState, EventSeries, ObjectReference, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

use rules::plan::{DELETED_LABEL, EVENT_LABEL, IDENTITY_LABEL};

/// The fields of a Job that are read.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Observed {
    #[serde(default, deserialize_with = "metadata")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) status: JobStatus,
}

/// The fields of its metadata that are read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
}

fn metadata<'de, D: Deserializer<'de>>(source: D) -> Result<ObjectMeta, D::Error> {
    let mut read = Metadata::deserialize(source)?;
    if let Some(labels) = &mut read.labels {
        labels.retain(|name, _| [EVENT_LABEL, IDENTITY_LABEL, DELETED_LABEL].contains(&name.as_str()));
    }
    if let Some(annotations) = &mut read.annotations {
        annotations.retain(|name, _| name == DEFAULT_CONTAINER);
    }
    Ok(ObjectMeta {
        annotations: read.annotations.filter(|annotations| !annotations.is_empty()),
        name: read.name,
        uid: read.uid,
        resource_version: read.resource_version,
        labels: read.labels,
        creation_timestamp: read.creation_timestamp,
        deletion_timestamp: read.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

/// The container of a Pod that is meant if none is named; kubectl reads it as well.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The fields of a Pod that are read. Most of its spec is the Job's.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Pod {
    #[serde(default, deserialize_with = "metadata")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: PodSpec,
    pub(super) status: Option<PodStatus>,
}

/// The containers of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct PodSpec {
    #[serde(default)]
    containers: Vec<Named>,
}

#[derive(Clone, Debug, Deserialize)]
struct Named {
    name: String,
}

/// The state of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) conditions: Option<Vec<PodCondition>>,
    pub(super) init_container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) container_statuses: Option<Vec<ContainerStatus>>,
}

/// The state of one of its containers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    pub(super) state: Option<ContainerState>,
    pub(super) last_state: Option<ContainerState>,
}

/// The fields of an Event that are read: what was said about an object, and when. An Event that lacks a field must
/// not hide the others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event {
    #[serde(deserialize_with = "metadata")]
    pub(super) metadata: ObjectMeta,
    pub(super) involved_object: ObjectReference,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    #[serde(rename = "eventTime")]
    pub(super) time: Option<MicroTime>,
    pub(super) last_timestamp: Option<Time>,
    pub(super) series: Option<EventSeries>,
}

impl Pod {
    /// The container whose output is shown: the one that the Pod names, otherwise the first, as with `kubectl logs`.
    pub(super) fn speaker(&self) -> Option<&str> {
        let named = self.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_CONTAINER));
        named.or_else(|| self.spec.containers.first().map(|container| &container.name)).map(String::as_str)
    }
}

impl Observed {
    /// Which of all Jobs that ever had this name.
    pub(super) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Which of all states of this Job.
    pub(super) fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// A `Delete` event came while it ran, so it is about to be removed.
    pub(super) fn is_taken_back(&self) -> bool {
        self.label(DELETED_LABEL).is_some()
    }

    pub(super) const fn is_being_removed(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Complete or Failed. `SuccessCriteriaMet` and `FailureTarget` come earlier, while Pods still end.
    pub(super) fn has_ended(&self) -> bool {
        self.is_complete() || self.failure().is_some()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.condition("Complete").is_some()
    }

    pub(super) fn failure(&self) -> Option<&JobCondition> {
        self.condition("Failed")
    }

    /// When it ended, by the cluster's clock.
    pub(super) fn ended_at(&self) -> Option<SystemTime> {
        let condition = self.condition("Complete").or_else(|| self.failure())?;
        Some(SystemTime::from(condition.last_transition_time.as_ref()?.0))
    }

    /// The condition of this type, if it is true.
    pub(super) fn condition(&self, kind: &str) -> Option<&JobCondition> {
        let mut conditions = self.status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == kind && condition.status == "True")
    }

    /// The number of tries so far, including the running one.
    pub(super) fn tries(&self) -> u32 {
        let count = |number: Option<i32>| u32::try_from(number.unwrap_or(0)).unwrap_or(0);
        let status = &self.status;
        (count(status.active) + count(status.failed) + count(status.succeeded)).max(1)
    }

    pub(super) fn started_at(&self) -> Option<SystemTime> {
        let time = self.status.start_time.as_ref().or(self.metadata.creation_timestamp.as_ref())?;
        Some(SystemTime::from(time.0))
    }
}

impl Resource for Observed {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Job".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "batch".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "jobs".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
