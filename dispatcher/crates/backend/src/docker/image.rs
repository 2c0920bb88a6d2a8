//! Images: present, or pulled as the Job's `imagePullPolicy` says.

use std::time::Duration;

use bollard::errors::Error as Failure;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt;
use tokio::time::Instant;

use super::super::FailureClass;
use super::super::start_error::StartError;
use super::client::{Client, Trouble};
use super::credentials::Login;
use super::volumes::pod_of;
use rules::plan::PlannedJob;

/// How long a registry that cannot be reached is asked again.
const REGISTRY_MAY_BE_AWAY: Duration = Duration::from_mins(1);
/// Enough for a large image over a slow line.
const LONGEST_PULL: Duration = Duration::from_mins(10);

/// When an image is pulled. If the Job does not say, a present image is used, even with the tag `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    pub(super) fn of(job: &PlannedJob) -> Self {
        let pod = pod_of(job);
        let container = pod.as_ref().and_then(|pod| pod.containers.first());
        match container.and_then(|container| container.image_pull_policy.as_deref()) {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            _ => Self::IfNotPresent,
        }
    }
}

/// Why an image is missing.
#[derive(Debug)]
pub(super) enum PullError {
    /// The engine could not pull.
    Trouble(Trouble),
    /// The registry did not deliver.
    Start(StartError),
}

/// Pulls an image. A refusal of the registry is final. If the registry cannot answer, it is asked again: for a while
/// here, and later when the event comes again.
pub(super) async fn pull(client: &Client, image: &str, login: &Login) -> Result<(), PullError> {
    let give_up = Instant::now() + REGISTRY_MAY_BE_AWAY;
    let mut pause = Duration::from_secs(1);
    loop {
        let words = match pull_once(client, image, login).await {
            Ok(()) => return Ok(()),
            Err(Trouble::Away) => return Err(PullError::Trouble(Trouble::Away)),
            Err(Trouble::Failed(words)) if Instant::now() + pause < give_up && !is_final(&words) => words,
            Err(trouble) => return Err(PullError::Start(not_had(image, &trouble, login))),
        };
        tracing::warn!(image, reason = %words, "the image could not be pulled; it is tried again");
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// What a failed pull means. Only an answer about the image is final. A registry that is away, slow, or limits the
/// rate may work when the event comes again.
fn not_had(image: &str, trouble: &Trouble, login: &Login) -> StartError {
    let words = trouble.to_string();
    match trouble {
        _ if wants_login(&words) => locked(image, &words, login),
        Trouble::Missing(_) | Trouble::Invalid(_) => missing(image, &words),
        Trouble::Failed(_) if is_final(&words) => missing(image, &words),
        _ => StartError::Later(
            FailureClass::BackendError,
            format!("image {image} is not on the engine and cannot be pulled now: {words}"),
        ),
    }
}

/// An image that is missing and cannot be pulled.
pub(super) fn missing(image: &str, words: &str) -> StartError {
    let message = format!(
        "image {image} is not on the engine and was not pulled: {words}; build it, pull it, or correct the name in the ConfigMap, then replay the event"
    );
    StartError::Refused(FailureClass::ImageNotFound, message)
}

/// An image whose registry refuses access.
fn locked(image: &str, words: &str, login: &Login) -> StartError {
    let message = format!(
        "image {image} was not pulled: {words}; its registry wants other credentials ({}): name a Secret of the type kubernetes.io/dockerconfigjson in imagePullSecrets and its file with --secret, or use docker login, then replay the event",
        login.words
    );
    StartError::Refused(FailureClass::ImageNotFound, message)
}

async fn pull_once(client: &Client, image: &str, login: &Login) -> Result<(), Trouble> {
    let engine = client.engine().await?;
    let options = CreateImageOptionsBuilder::new().from_image(&reference(image)).build();
    let credentials = login.credentials.clone();
    let pulled =
        engine.create_image(Some(options), None, credentials).try_for_each(|_progress| async { Ok(()) });
    match tokio::time::timeout(LONGEST_PULL, pulled).await {
        Ok(Ok(())) => Ok(()),
        // The registry reported it in the middle of the answer.
        Ok(Err(Failure::DockerStreamError { error })) => Err(Trouble::Failed(error)),
        Ok(Err(failure)) => Err(client.trouble(&failure)),
        Err(_) => Err(Trouble::Failed(format!("it took longer than {} s", LONGEST_PULL.as_secs()))),
    }
}

/// Refuses an image whose own user is root, or is only a name: then it cannot be checked that `runAsNonRoot` holds.
pub(super) async fn check_user(client: &Client, image: &str) -> Result<(), PullError> {
    let engine = client.engine().await.map_err(PullError::Trouble)?;
    let found = client.settle(engine.inspect_image(image)).await.map_err(PullError::Trouble)?;
    let user = found.config.and_then(|config| config.user).unwrap_or_default();
    let number = user.split(':').next().and_then(|user| user.parse::<u32>().ok());
    if number.is_some_and(|number| number > 0) {
        return Ok(());
    }
    let message = format!(
        "securityContext.runAsNonRoot: image {image} runs as {user:?}; set runAsUser, or a number in the image"
    );
    Err(PullError::Start(StartError::Refused(FailureClass::ConfigurationError, message)))
}

/// Whether the engine means that the image is missing.
pub(super) fn is_meant(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["no such image", "image not known"].iter().any(|said| words.contains(said))
}

/// Words of a registry that gave an answer.
fn is_final(words: &str) -> bool {
    let said = ["not found", "manifest unknown", "invalid reference", "no matching manifest"];
    wants_login(words) || said.iter().any(|said| words.contains(said))
}

fn wants_login(words: &str) -> bool {
    ["denied", "unauthorized", "no basic auth credentials"].iter().any(|said| words.contains(said))
}

/// Without a tag, the engine would pull all tags.
fn reference(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_registry_says_of_the_image_is_for_good() {
        let login = Login { credentials: None, words: "none were given".to_owned() };
        let failed = |words: &str| Trouble::Failed(words.to_owned());
        for (trouble, is_final) in [
            (failed("manifest for a:1 not found: manifest unknown"), true),
            (failed("pull access denied for a, repository does not exist"), true),
            (Trouble::Missing("repository a not found".to_owned()), true),
            (Trouble::Invalid("invalid reference format".to_owned()), true),
            (failed("toomanyrequests: you have reached your pull rate limit"), false),
            (failed("Get \"https://registry.example/v2/\": dial tcp: i/o timeout"), false),
            (failed("lookup registry.example: no such host"), false),
            (failed("received unexpected HTTP status: 503 Service Unavailable"), false),
            (failed("it took longer than 600 s"), false),
        ] {
            let error = not_had("a:1", &trouble, &login);
            assert_eq!(matches!(error, StartError::Refused(..)), is_final, "{error:?}");
        }
    }

    #[test]
    fn an_image_without_a_tag_means_latest_and_a_port_is_no_tag() {
        assert_eq!(reference("knapscen/save-user"), "knapscen/save-user:latest");
        assert_eq!(reference("registry:5000/save-user"), "registry:5000/save-user:latest");
        assert_eq!(reference("registry:5000/save-user:1"), "registry:5000/save-user:1");
        assert_eq!(reference("save-user@sha256:abc"), "save-user@sha256:abc");
    }
}
