//! Volumes: each has one source, and this file checks what the source needs.

use std::collections::BTreeSet;

use super::container::{Volumes, field_of_pod, quantity, resource_field};
use super::{Faults, Node, names};

/// The largest permission bits of a file.
const MODE: i64 = 0o777;

/// The fields of a Pod that a file can contain.
const POD_FIELDS: [&str; 5] =
    ["metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations"];

/// The allowed types of a path on the node.
const KINDS: [&str; 8] =
    ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];

/// The required fields of each source.
const NEEDS: [(&str, &[&str]); 21] = [
    ("hostPath", &["path"]),
    ("secret", &["secretName"]),
    ("configMap", &["name"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("nfs", &["server", "path"]),
    ("csi", &["driver"]),
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cinder", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("rbd", &["image"]),
    ("flexVolume", &["driver"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["registry", "volume"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
];

/// The volumes that containers may mount.
pub(super) fn check<'a>(pod: &Node<'a>, faults: &mut Faults) -> Volumes<'a> {
    let mut known = Volumes::new();
    for volume in pod.get("volumes").items() {
        let name = volume.get("name");
        name.must_fit(names::label, faults);
        let is_claim = volume.get("persistentVolumeClaim").is_set() || volume.get("ephemeral").is_set();
        let is_new = known.insert(name.text_or_empty(), is_claim).is_none();
        faults.add_unless(is_new, &name, "occurs twice");
        source(&volume, faults);
    }
    known
}

fn source(volume: &Node<'_>, faults: &mut Faults) {
    // Without a source it is an `emptyDir`.
    let sources: Vec<_> =
        volume.entries().into_iter().filter(|(field, node)| *field != "name" && node.is_set()).collect();
    if let [_, (_, second), ..] = sources.as_slice() {
        faults.add(second, "must not be set together with another one");
    }
    for (kind, source) in &sources {
        let needs = NEEDS.iter().find(|(known, _)| known == kind);
        for field in needs.iter().flat_map(|(_, fields)| fields.iter()) {
            source.get(field).required(faults);
        }
        match *kind {
            "secret" | "configMap" => files(source, faults),
            "downwardAPI" => fields(source, faults),
            "projected" => projected(source, faults),
            "hostPath" => {
                let path = source.get("path");
                let goes_up = path.text_or_empty().split('/').any(|part| part == "..");
                faults.add_unless(!goes_up, &path, "may not contain ..");
                source.get("type").one_of(&KINDS, faults);
            }
            "emptyDir" => {
                quantity(&source.get("sizeLimit"), faults);
            }
            "nfs" => {
                let path = source.get("path");
                let is_whole = path.text_or_empty().is_empty() || path.text_or_empty().starts_with('/');
                faults.add_unless(is_whole, &path, "must be an absolute path");
            }
            "image" => source.get("pullPolicy").one_of(&["Always", "IfNotPresent", "Never"], faults),
            "ephemeral" => claim(&source.get("volumeClaimTemplate"), faults),
            _ => {}
        }
    }
}

fn claim(template: &Node<'_>, faults: &mut Faults) {
    if !template.is_set() {
        return faults.add(template, super::REQUIRED);
    }
    let spec = template.get("spec");
    let modes = spec.get("accessModes");
    faults.add_unless(!modes.items().is_empty(), &modes, super::REQUIRED);
    for mode in modes.items() {
        mode.one_of(&["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"], faults);
    }
    let storage = spec.get("resources").get("requests").get("storage");
    faults.add_unless(storage.is_set(), &storage, super::REQUIRED);
    quantity(&storage, faults);
}

/// Keys as files.
fn files(source: &Node<'_>, faults: &mut Faults) {
    source.get("defaultMode").within(0, MODE, faults);
    for item in source.get("items").items() {
        item.get("key").required(faults);
        item.get("path").must_fit(names::path_below, faults);
        item.get("mode").within(0, MODE, faults);
    }
}

/// Fields of the Pod as files.
fn fields(source: &Node<'_>, faults: &mut Faults) {
    source.get("defaultMode").within(0, MODE, faults);
    for item in source.get("items").items() {
        item.get("path").must_fit(names::path_below, faults);
        item.get("mode").within(0, MODE, faults);
        let (field, resource) = (item.get("fieldRef"), item.get("resourceFieldRef"));
        item.exactly_one(&["fieldRef", "resourceFieldRef"], faults);
        if field.is_set() {
            field_of_pod(&field, &POD_FIELDS, faults);
        }
        if resource.is_set() {
            resource.get("containerName").required(faults);
            resource_field(&resource, faults);
        }
    }
}

fn projected(source: &Node<'_>, faults: &mut Faults) {
    source.get("defaultMode").within(0, MODE, faults);
    let mut paths = BTreeSet::new();
    for part in source.get("sources").items() {
        let set = part.entries().into_iter().filter(|(_, node)| node.is_set()).count();
        faults.add_unless(set <= 1, &part, "may have only one source");
        for kind in ["secret", "configMap"] {
            let kind = part.get(kind);
            if kind.is_set() {
                kind.get("name").required(faults);
                files(&kind, faults);
                for item in kind.get("items").items() {
                    let path = item.get("path");
                    faults.add_unless(paths.insert(path.text_or_empty().to_owned()), &path, "occurs twice");
                }
            }
        }
        fields(&part.get("downwardAPI"), faults);
        let token = part.get("serviceAccountToken");
        if token.is_set() {
            token.get("path").must_fit(names::path_below, faults);
            token.get("expirationSeconds").within(600, 1 << 32, faults);
        }
    }
}
