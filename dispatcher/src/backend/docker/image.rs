//! Images: there already, or pulled as the Job's `imagePullPolicy` says.

use std::time::Duration;

use bollard::errors::Error as Failure;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt;
use tokio::time::Instant;

use super::super::Cause;
use super::super::outcome::StartError;
use super::client::{Client, Trouble};
use super::container::pod_of;
use super::credentials::Login;
use crate::plan::PlannedJob;

/// A registry that cannot be reached is asked again for this long.
const REGISTRY_MAY_BE_AWAY: Duration = Duration::from_mins(1);
/// A pull of a large image over a slow line.
const LONGEST_PULL: Duration = Duration::from_mins(10);

/// When an image is pulled. Where a Job does not say, an image that is there is taken, its tag `latest` or not.
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

/// Why there is no image.
#[derive(Debug)]
pub(super) enum PullError {
    /// The engine's trouble.
    Trouble(Trouble),
    /// The registry's.
    Start(StartError),
}

/// Pulls an image; what the registry refuses is refused, what it cannot do is asked again: for a while here, and then when the event
/// comes again.
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

/// What it means that an image was not pulled. Only an answer about the image is for good: a registry that is away, is asked too often
/// or is slow may be better when the event comes again.
fn not_had(image: &str, trouble: &Trouble, login: &Login) -> StartError {
    let words = trouble.to_string();
    match trouble {
        _ if wants_login(&words) => locked(image, &words, login),
        Trouble::Missing(_) | Trouble::Invalid(_) => missing(image, &words),
        Trouble::Failed(_) if is_final(&words) => missing(image, &words),
        _ => {
            StartError::Later(format!("image {image} is not on the engine and cannot be pulled now: {words}"))
        }
    }
}

/// An image that is not there and cannot be had.
pub(super) fn missing(image: &str, words: &str) -> StartError {
    let message = format!(
        "image {image} is not on the engine and was not pulled: {words}; build it, pull it, or correct the name in the ConfigMap, then replay the event"
    );
    StartError::Refused(Cause::ImageNotFound, message)
}

/// An image that its registry keeps from us.
fn locked(image: &str, words: &str, login: &Login) -> StartError {
    let message = format!(
        "image {image} was not pulled: {words}; its registry wants other credentials ({}): name a Secret of the type kubernetes.io/dockerconfigjson in imagePullSecrets and its file with --secret, or use docker login, then replay the event",
        login.words
    );
    StartError::Refused(Cause::ImageNotFound, message)
}

async fn pull_once(client: &Client, image: &str, login: &Login) -> Result<(), Trouble> {
    let engine = client.engine().await?;
    let options = CreateImageOptionsBuilder::new().from_image(&reference(image)).build();
    let credentials = login.credentials.clone();
    let pulled =
        engine.create_image(Some(options), None, credentials).try_for_each(|_progress| async { Ok(()) });
    match tokio::time::timeout(LONGEST_PULL, pulled).await {
        Ok(Ok(())) => Ok(()),
        // Said in the middle of the answer, by the registry.
        Ok(Err(Failure::DockerStreamError { error })) => Err(Trouble::Failed(error)),
        Ok(Err(failure)) => Err(client.trouble(&failure)),
        Err(_) => Err(Trouble::Failed(format!("it took longer than {} s", LONGEST_PULL.as_secs()))),
    }
}

/// Refuses an image whose own user is root, or has only a name: what `runAsNonRoot` promises cannot be seen then.
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
    Err(PullError::Start(StartError::Refused(Cause::ConfigurationError, message)))
}

/// Whether it is the image that the engine misses.
pub(super) fn is_meant(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["no such image", "image not known"].iter().any(|said| words.contains(said))
}

/// Words of a registry that answered.
fn is_final(words: &str) -> bool {
    let said = ["not found", "manifest unknown", "invalid reference", "no matching manifest"];
    wants_login(words) || said.iter().any(|said| words.contains(said))
}

fn wants_login(words: &str) -> bool {
    ["denied", "unauthorized", "no basic auth credentials"].iter().any(|said| words.contains(said))
}

/// Without a tag the engine would pull all of them.
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
