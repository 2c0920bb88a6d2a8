//! Names, labels, annotations, finalizers and owners.

use super::{Faults, Node, names};

/// The most bytes of all annotations of an object.
const MOST_ANNOTATIONS: usize = 256 << 10;
/// The finalizers that Kubernetes itself knows.
const FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// The metadata of an object, or of a template.
pub(super) fn check(metadata: &Node<'_>, faults: &mut Faults) {
    metadata.get("namespace").fits(names::label, faults);
    for (key, value) in metadata.get("labels").entries() {
        if let Err(why) = names::qualified(key) {
            faults.add(&value, format!("its key {why}"));
        }
        value.fits(names::label_value, faults);
    }
    annotations(&metadata.get("annotations"), faults);
    finalizers(&metadata.get("finalizers"), faults);
    owners(&metadata.get("ownerReferences"), faults);
}

fn annotations(annotations: &Node<'_>, faults: &mut Faults) {
    let mut bytes = 0;
    for (key, value) in annotations.entries() {
        // Unlike the keys of labels, these may contain capitals.
        if let Err(why) = names::qualified(&key.to_lowercase()) {
            faults.add(&value, format!("its key {why}"));
        }
        bytes += key.len() + value.text_or_empty().len();
    }
    faults.add_unless(bytes <= MOST_ANNOTATIONS, annotations, "are more than 256 KiB");
}

fn finalizers(finalizers: &Node<'_>, faults: &mut Faults) {
    for finalizer in finalizers.items() {
        finalizer.must_fit(names::qualified, faults);
        let text = finalizer.text_or_empty();
        let is_known = text.contains('/') || FINALIZERS.contains(&text);
        faults.add_unless(is_known, &finalizer, "must have a domain name and a slash before it");
    }
    let has = |name: &str| finalizers.items().iter().any(|one| one.text() == Some(name));
    faults.add_unless(
        !(has("orphan") && has("foregroundDeletion")),
        finalizers,
        "orphan and foregroundDeletion exclude each other",
    );
}

fn owners(owners: &Node<'_>, faults: &mut Faults) {
    let mut controllers = 0;
    for owner in owners.items() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            owner.get(field).required(faults);
        }
        let version = owner.get("apiVersion");
        let is_version = version.text_or_empty().split('/').count() <= 2;
        faults.add_unless(is_version, &version, "must be a group and a version");
        let is_event = version.text() == Some("v1") && owner.get("kind").text() == Some("Event");
        faults.add_unless(!is_event, &owner, "an Event may not be an owner");
        controllers += u32::from(owner.get("controller").is_true());
    }
    faults.add_unless(controllers < 2, owners, "only one of them may be the controller");
}
