//! The variables of a container, as the Job names them.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, EnvVarSource};

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVariable {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub value: EnvValue,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// Text; `$(NAME)` and `$$` in it are for [`super::expand`].
    Literal(String),
    /// One key of a Secret.
    SecretKey(KeyRef),
    /// One key of a ConfigMap.
    ConfigMapKey(KeyRef),
    /// Something that only Kubernetes knows, such as `fieldRef`.
    Unsupported(&'static str),
}

/// One key of a Secret or ConfigMap in the Job's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRef {
    /// The Secret or ConfigMap.
    pub name: String,
    /// The key.
    pub key: String,
    /// Whether the variable stays unset if the key is missing.
    pub optional: bool,
}

/// All keys of a Secret or ConfigMap as variables, each with the prefix before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvFrom {
    /// A Secret.
    Secret {
        /// Its name.
        name: String,
        /// Whether it may be missing.
        optional: bool,
        /// The prefix of each variable; may be empty.
        prefix: String,
    },
    /// A ConfigMap.
    ConfigMap {
        /// Its name.
        name: String,
        /// Whether it may be missing.
        optional: bool,
        /// The prefix of each variable; may be empty.
        prefix: String,
    },
}

impl EnvFrom {
    pub(super) fn read(from: &EnvFromSource) -> Option<Self> {
        let prefix = from.prefix.clone().unwrap_or_default();
        if let Some(secret) = &from.secret_ref {
            let optional = secret.optional.unwrap_or(false);
            return Some(Self::Secret { name: secret.name.clone(), optional, prefix });
        }
        let map = from.config_map_ref.as_ref()?;
        Some(Self::ConfigMap { name: map.name.clone(), optional: map.optional.unwrap_or(false), prefix })
    }
}

impl EnvVariable {
    pub(super) fn read(variable: &EnvVar) -> Self {
        let value = match (&variable.value, &variable.value_from) {
            (None, Some(from)) => EnvValue::read(from),
            (text, _) => EnvValue::Literal(text.clone().unwrap_or_default()),
        };
        Self { name: variable.name.clone(), value }
    }
}

impl EnvValue {
    fn read(from: &EnvVarSource) -> Self {
        let key = |name: &str, key: &str, optional: Option<bool>| KeyRef {
            name: name.to_owned(),
            key: key.to_owned(),
            optional: optional.unwrap_or(false),
        };
        if let Some(secret) = &from.secret_key_ref {
            Self::SecretKey(key(&secret.name, &secret.key, secret.optional))
        } else if let Some(map) = &from.config_map_key_ref {
            Self::ConfigMapKey(key(&map.name, &map.key, map.optional))
        } else if from.resource_field_ref.is_some() {
            Self::Unsupported("resourceFieldRef")
        } else if from.file_key_ref.is_some() {
            Self::Unsupported("fileKeyRef")
        } else {
            Self::Unsupported("fieldRef")
        }
    }
}
