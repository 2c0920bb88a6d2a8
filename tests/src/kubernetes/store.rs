//! Objects with their versions, and their changes in order.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

/// Plural, namespace, name.
type Key = (String, String, String);

/// All objects and their history.
#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    objects: BTreeMap<Key, Value>,
    history: Vec<Change>,
    /// Changes up to this version are forgotten.
    expired: u64,
    /// Whether changes are hidden from watches.
    hiding: bool,
}

/// A change.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) kind: &'static str,
    pub(super) plural: String,
    pub(super) object: Value,
    pub(super) hidden: bool,
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(plural.to_owned(), namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn list<'a>(
        &'a self,
        plural: &'a str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Value> {
        self.objects
            .iter()
            .filter(move |((kind, of, _), _)| {
                kind == plural && namespace.is_none_or(|namespace| of == namespace)
            })
            .map(|(_, object)| object)
    }

    /// Stores a new object, or a new version. Returns the version.
    pub(super) fn put(&mut self, plural: &str, namespace: &str, name: &str, mut object: Value) -> u64 {
        self.version += 1;
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let is_new = !self.objects.contains_key(&key);
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        if is_new {
            metadata["uid"] = json!(Uuid::new_v4());
            metadata["creationTimestamp"] = json!(super::rules::now());
            metadata["generation"] = json!(1);
        }
        self.note(if is_new { "ADDED" } else { "MODIFIED" }, plural, object.clone());
        self.objects.insert(key, object);
        self.version
    }

    /// Removes an object, or marks it if it has finalizers; also removes what its controller owns.
    pub(super) fn remove(&mut self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut object = self.get(plural, namespace, name)?.clone();
        if object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()) {
            object["metadata"]["deletionTimestamp"] = json!(super::rules::now());
            self.put(plural, namespace, name, object.clone());
            return Some(object);
        }
        self.version += 1;
        self.objects.remove(&(plural.to_owned(), namespace.to_owned(), name.to_owned()));
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.note("DELETED", plural, object.clone());
        let uid = object["metadata"]["uid"].clone();
        let owned: Vec<_> = self.objects.iter().filter(|(_, other)| owner(other) == Some(&uid)).collect();
        let owned: Vec<Key> = owned.into_iter().map(|(key, _)| key.clone()).collect();
        for (plural, namespace, name) in owned {
            self.remove(&plural, &namespace, &name);
        }
        Some(object)
    }

    /// Completes an object that was just created.
    pub(super) fn amend(&mut self, plural: &str, namespace: &str, name: &str, object: &Value) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.insert(key, object.clone());
        if let Some(change) = self.history.last_mut() {
            change.object = object.clone();
        }
    }

    /// Objects that this one owns lose their owner.
    pub(super) fn orphan(&mut self, uid: &Value) {
        for object in self.objects.values_mut().filter(|object| owner(object) == Some(uid)) {
            object["metadata"]["ownerReferences"] = Value::Null;
        }
    }

    /// The changes after a version; `None` if they are forgotten.
    pub(super) fn since(&self, version: u64) -> Option<&[Change]> {
        if version < self.expired {
            return None;
        }
        let from = self.history.partition_point(|change| change.version <= version);
        Some(&self.history[from..])
    }

    pub(super) fn expire(&mut self) {
        self.version += 1;
        self.expired = self.version;
        self.history.clear();
    }

    /// Sets whether changes are hidden from now on.
    pub(super) fn hide(&mut self, hiding: bool) {
        self.hiding = hiding;
    }

    fn note(&mut self, kind: &'static str, plural: &str, object: Value) {
        self.history.push(Change {
            version: self.version,
            kind,
            plural: plural.to_owned(),
            object,
            hidden: self.hiding,
        });
    }
}

fn owner(object: &Value) -> Option<&Value> {
    object["metadata"]["ownerReferences"].get(0).map(|owner| &owner["uid"])
}
