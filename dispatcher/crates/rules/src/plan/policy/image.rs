//! References to images: registry, path, tag and digest, and the allowed beginnings.

use std::fmt;
use std::str::FromStr;

/// The registry of an image that names no registry.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The path of its own images.
const DEFAULT_PATH: &str = "library";

/// An image reference, split into its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference<'a> {
    registry: &'a str,
    path: Vec<&'a str>,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Splits a reference as container engines do; `None` if it is not valid.
    fn parse(text: &'a str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, rest),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let path: Vec<&str> = path.split('/').collect();
        let is_right =
            path.iter().all(|part| is_part(part)) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        is_right.then(|| Self { registry: canonical(registry), path, tag, digest })
    }

    /// Its path, including the part that the default registry leaves out.
    fn full_path(&self) -> Vec<&'a str> {
        match self.path.as_slice() {
            [only] if self.registry == DEFAULT_REGISTRY => vec![DEFAULT_PATH, only],
            path => path.to_vec(),
        }
    }
}

/// Only these tell a registry from the first part of a path.
fn is_registry(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn canonical(registry: &str) -> &str {
    if matches!(registry, "index.docker.io" | "registry-1.docker.io") { DEFAULT_REGISTRY } else { registry }
}

fn is_part(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().last())
}

fn is_tag(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hash)| {
        !algorithm.is_empty() && hash.len() >= 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// An allowed beginning: a registry, a path in it, an image, or one tag or digest of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePrefix(String);

impl FromStr for ImagePrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let prefix = Self(text.to_owned());
        if prefix
            .registry()
            .is_some_and(|registry| !registry.is_empty() && !registry.contains(['/', '@', ' ']))
            || prefix.reference().is_some()
        {
            return Ok(prefix);
        }
        Err(format!(
            "{text:?} is neither a registry, such as ghcr.io or localhost:5000/, nor the beginning of an image, such as ghcr.io/acme/ or knapscen"
        ))
    }
}

impl fmt::Display for ImagePrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl ImagePrefix {
    /// Only a registry: it has a dot, or ends with a slash.
    fn registry(&self) -> Option<&str> {
        let text = self.0.strip_suffix('/').unwrap_or(&self.0);
        let is_alone = !text.contains('/') && is_registry(text);
        let is_plain = text.contains('.') && !text.contains('@');
        (is_alone && (is_plain || text.len() < self.0.len())).then(|| canonical(text))
    }

    fn reference(&self) -> Option<Reference<'_>> {
        Reference::parse(self.0.strip_suffix('/').unwrap_or(&self.0))
    }

    pub(super) fn matches(&self, image: &str) -> bool {
        let Some(image) = Reference::parse(image) else { return false };
        if let Some(registry) = self.registry() {
            return image.registry == registry;
        }
        let Some(prefix) = self.reference() else { return false };
        if image.registry != prefix.registry {
            return false;
        }
        let fits = |part: Option<&str>, wanted: Option<&str>| wanted.is_none() || part == wanted;
        let is_one = image.full_path() == prefix.full_path()
            && fits(image.tag, prefix.tag)
            && fits(image.digest, prefix.digest);
        let is_folder = prefix.tag.is_none() && prefix.digest.is_none();
        let is_below = image.path.len() > prefix.path.len() && image.path.starts_with(&prefix.path);
        (is_one && !self.0.ends_with('/')) || (is_folder && is_below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn allows(prefix: &str, image: &str) -> bool {
        prefix.parse::<ImagePrefix>().unwrap().matches(image)
    }

    #[test]
    fn images_are_compared_part_by_part() {
        let digested = format!("knapscen/save-user@{DIGEST}");
        for (prefix, taken, refused) in [
            (
                "knapscen",
                ["knapscen/save-user:1", "docker.io/knapscen/save-user", "knapscen:5", digested.as_str()],
                ["knapscen:5000/evil/x", "knapscenevil/x", "ghcr.io/knapscen/x", "evil/knapscen/x"],
            ),
            (
                "knapscen/",
                ["knapscen/save-user:1", "index.docker.io/knapscen/a", "knapscen/a/b", "knapscen/a-b_c"],
                ["knapscen", "knapscen:1", "knapscen:5000/x", "knapscen.evil/x"],
            ),
            (
                "ghcr.io/acme/",
                ["ghcr.io/acme/x", "ghcr.io/acme/x/y:1", "ghcr.io/acme/x:latest", "ghcr.io/acme/x.y"],
                ["ghcr.io/acme-evil/x", "ghcr.io/x/acme/y", "ghcr.io:443/acme/x", "ghcr.io.evil/acme/x"],
            ),
            (
                "registry.example.com",
                [
                    "registry.example.com/x",
                    "registry.example.com/a/b:1",
                    "registry.example.com/x:1",
                    "registry.example.com/x-y",
                ],
                [
                    "registry.example.com:5000/x",
                    "registry.example.com.evil/x",
                    "registry.example.com",
                    "x/registry.example.com/y",
                ],
            ),
            (
                "localhost:5000/",
                ["localhost:5000/x", "localhost:5000/a/b", "localhost:5000/x:1", "localhost:5000/a"],
                ["localhost/x", "localhost:5001/x", "localhost:5000", "localhost:50000/x"],
            ),
            (
                "acme/work:1",
                ["acme/work:1", "docker.io/acme/work:1", "acme/work:1", "acme/work:1"],
                ["acme/work:10", "acme/work", "acme/work:latest", "acme/work/x:1"],
            ),
            (
                "save-user",
                ["save-user", "save-user:2", "library/save-user", "docker.io/library/save-user"],
                ["save-user-evil", "evil/save-user", "save-user.evil/x", "save-user:5000/x"],
            ),
        ] {
            for image in taken {
                assert!(allows(prefix, image), "{prefix}: {image}");
            }
            for image in refused {
                assert!(!allows(prefix, image), "{prefix}: {image}");
            }
        }
        let pinned = format!("acme/work@{DIGEST}");
        assert!(allows(&pinned, &pinned));
        assert!(allows(&pinned, &format!("acme/work:1@{DIGEST}")));
        assert!(!allows(&pinned, "acme/work:1"));
        assert!(!allows(&pinned, &pinned.replace("cdef", "cdee")));
    }

    #[test]
    fn what_is_no_reference_is_never_allowed_and_no_prefix() {
        for text in [
            "",
            "Acme/Work",
            "acme//work",
            "acme/work:",
            "acme/work:a b",
            " acme/work",
            "acme/work\n",
            "../x",
            "a@b",
        ] {
            assert!(!allows("acme", text), "{text:?}");
            assert!(!allows("docker.io/", text), "{text:?}");
        }
        for text in ["", "/", "Acme/Work", "acme//work", "acme work", "acme/work:a:b", "ghcr.io//"] {
            assert!(text.parse::<ImagePrefix>().is_err(), "{text:?}");
        }
    }
}
