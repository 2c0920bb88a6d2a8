//! The steps of the flow: what their images publish, and which fields their events may lack. The list itself is
//! [`shared::event::Kind`].

use shared::event::{Kind, SOURCE, steps};

use crate::flow::{Emission, Flow};
use crate::manifest::Manifests;
use crate::plan::Cluster;
use job::short;

/// Whether this image belongs to a step, with any registry and tag.
pub fn is_step(image: &str) -> bool {
    steps().any(|step| step == short(image))
}

/// What a step's image publishes, for ConfigMaps without the annotation, or with another one.
pub fn announces(image: &str) -> Option<Emission> {
    Kind::of_step(short(image)).map(|kind| Emission {
        subject: kind.subject().to_owned(),
        event_type: Some(kind.ty().to_owned()),
        source: Some(SOURCE),
    })
}

/// The flow of these manifests.
pub fn flow(set: &Manifests, cluster: &Cluster) -> Flow {
    Flow::of(set, cluster, announces)
}

/// The fields that may be missing in the event's data.
pub fn optional_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::CustomerRegistered | Kind::SwagOrdered => &["shipping_address"],
        Kind::CustomerSaved => &["users", "shipping_address"],
        Kind::UserSaved => &["customer_id", "customer_name", "subscription_tier"],
        _ => &[],
    }
}
