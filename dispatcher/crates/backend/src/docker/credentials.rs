//! Credentials for an image's registry: from the Job's `imagePullSecrets`, otherwise from what `docker login` has
//! stored. Only names of Secrets and files are ever printed.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde_json::Value;

use super::super::FailureClass;
use super::super::secret::Kind;
use super::super::start_error::StartError;
use super::Settings;
use super::volumes::pod_of;
use rules::plan::PlannedJob;

/// The key of a Secret of the type `kubernetes.io/dockerconfigjson`.
const KEY: &str = ".dockerconfigjson";

/// The login for a registry.
pub(super) struct Login {
    pub(super) credentials: Option<DockerCredentials>,
    /// Where the credentials come from, or where none were found.
    pub(super) words: String,
}

/// The login for the registry of the Job's image: the first that is found.
pub(super) fn of(job: &PlannedJob, settings: &Settings) -> Result<Login, StartError> {
    let image = Image::of(&job.spec.image);
    let secrets = pod_of(job).and_then(|pod| pod.image_pull_secrets).unwrap_or_default();
    let mut without = Vec::new();
    for name in secrets.iter().map(|reference| &reference.name) {
        // A missing Secret does not prevent the pull, as in a cluster.
        let Some(source) = settings.sources.secrets.get(name) else {
            without.push(format!("the Secret {name} is not given, name its file with --secret {name}=FILE"));
            continue;
        };
        let refused = |problem: String| {
            StartError::Refused(FailureClass::ConfigurationError, format!("the Secret {name}: {problem}"))
        };
        let content = source.read(Kind::Secret, name).map_err(refused)?;
        let config = content.get(KEY).ok_or_else(|| refused(format!("it has no key {KEY}")))?;
        match find(config, &image).map_err(|problem| refused(format!("{KEY} {problem}")))? {
            Some(credentials) => {
                let words = format!("those of the Secret {name} were given");
                return Ok(Login { credentials: Some(credentials), words });
            }
            None => without.push(format!("the Secret {name} has none for {}", image.registry)),
        }
    }
    if let Some(folder) = &settings.docker_config {
        let path = folder.join("config.json");
        match kept(&path, &image) {
            Ok(Some(credentials)) => {
                let words = format!("those of {} were given", path.display());
                return Ok(Login { credentials: Some(credentials), words });
            }
            Ok(None) => without.push(format!("{} has none for {}", path.display(), image.registry)),
            Err(problem) => without.push(format!("{} {problem}", path.display())),
        }
    }
    let words = if without.is_empty() { "none were given".to_owned() } else { without.join(", ") };
    Ok(Login { credentials: None, words })
}

fn kept(path: &Path, image: &Image) -> Result<Option<DockerCredentials>, String> {
    match std::fs::read(path) {
        Ok(config) => find(&config, image),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// The entry of `auths` that matches the image best.
fn find(config: &[u8], image: &Image) -> Result<Option<DockerCredentials>, String> {
    // The parser's message may quote the file.
    let config: Value = serde_json::from_slice(config).map_err(|_| "is not JSON".to_owned())?;
    let entries = config["auths"].as_object().into_iter().flatten();
    let fitting = entries.filter_map(|(key, entry)| Some((image.fit(key)?, entry)));
    let Some((_, entry)) = fitting.max_by_key(|(fit, _)| *fit) else { return Ok(None) };
    let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let mut credentials = DockerCredentials {
        username: text("username"),
        password: text("password"),
        identitytoken: text("identitytoken"),
        registrytoken: text("registrytoken"),
        serveraddress: Some(image.registry.to_owned()),
        ..DockerCredentials::default()
    };
    if let Some(both) = text("auth") {
        let both = STANDARD.decode(both.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let both = both.ok_or_else(|| format!("has an auth for {} that is not base64", image.registry))?;
        let (user, password) = both
            .split_once(':')
            .ok_or_else(|| format!("has an auth for {} without a colon", image.registry))?;
        credentials.username = Some(user.to_owned());
        credentials.password = Some(password.trim_end_matches('\0').to_owned());
    }
    let is_empty = credentials.username.is_none()
        && credentials.identitytoken.is_none()
        && credentials.registrytoken.is_none();
    if is_empty {
        return Err(format!(
            "leaves the password for {} to a credential helper, and those are not asked",
            image.registry
        ));
    }
    Ok(Some(credentials))
}

/// The location of an image: registry, and path in it.
struct Image<'a> {
    registry: &'a str,
    path: &'a str,
}

impl<'a> Image<'a> {
    fn of(image: &'a str) -> Self {
        let (registry, path) = match image.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => ("docker.io", image),
        };
        let path = path.split(['@', ':']).next().unwrap_or(path);
        Self { registry, path }
    }

    /// How closely a key of `auths` matches this image, such as `ghcr.io`, `https://ghcr.io/v2/` or `ghcr.io/team`;
    /// `None` if it does not match.
    fn fit(&self, key: &str) -> Option<usize> {
        let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        let is_hub = |name: &str| matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io");
        if host != self.registry && !(is_hub(host) && is_hub(self.registry)) {
            return None;
        }
        let rest = self.path.strip_prefix(path)?;
        (path.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some(path.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(auths: &Value, image: &str) -> Option<String> {
        let config = json!({"auths": auths}).to_string();
        find(config.as_bytes(), &Image::of(image)).unwrap()?.username
    }

    #[test]
    fn the_entry_that_says_most_about_the_image_counts() {
        let auths = json!({
            "https://index.docker.io/v1/": {"username": "hub", "password": "x"},
            "registry:5000": {"username": "whole", "password": "x"},
            "http://registry:5000/team/": {"username": "team", "password": "x"},
        });
        for (image, expected) in [
            ("nats:2", Some("hub")),
            ("docker.io/library/nats", Some("hub")),
            ("registry:5000/save-user:1", Some("whole")),
            ("registry:5000/team/save-user@sha256:abc", Some("team")),
            ("registry:5000/teams/save-user", Some("whole")),
            ("registry/save-user", Some("hub")),
            ("registry:5001/save-user", None),
            ("localhost/save-user", None),
        ] {
            assert_eq!(user(&auths, image).as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn user_and_password_are_one_text_or_two() {
        let auth = STANDARD.encode("puller:pass:word\0");
        let config = json!({"auths": {"r.example": {"auth": auth}}}).to_string();
        let found = find(config.as_bytes(), &Image::of("r.example/a")).unwrap().unwrap();
        assert_eq!(
            (found.username.as_deref(), found.password.as_deref()),
            (Some("puller"), Some("pass:word"))
        );
        assert_eq!(found.serveraddress.as_deref(), Some("r.example"));
    }

    #[test]
    fn what_cannot_be_used_is_said_and_not_shown() {
        for (config, expected) in [
            ("{hunter2", "is not JSON"),
            (r#"{"auths": {"r.example": {"auth": "hunter2!"}}}"#, "not base64"),
            (r#"{"auths": {"r.example": {"auth": "aHVudGVyMg=="}}}"#, "without a colon"),
            (r#"{"auths": {"r.example": {}}, "credsStore": "pass"}"#, "credential helper"),
        ] {
            let problem = find(config.as_bytes(), &Image::of("r.example/a")).unwrap_err();
            assert!(problem.contains(expected) && !problem.contains("hunter2"), "{problem}");
        }
    }
}
