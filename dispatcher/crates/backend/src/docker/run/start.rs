//! Starts a try: provides the image, then creates, fills and starts the container.

use std::collections::HashMap;

use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::super::client::Trouble;
use super::super::image::{self, PullPolicy};
use super::super::record::Record;
use super::super::{container, credentials, output, volumes};
use super::{Problem, Run, Turn};
use crate::start_error::StartError;
use crate::{FailureClass, environment};
use job::stop::Stop;

impl Run<'_> {
    /// Creates and starts the container of a try. If its name is taken, another dispatcher was first, and the next
    /// look sees its container.
    pub(super) async fn start(&mut self, record: Record, stop: &Stop) -> std::result::Result<Turn, Problem> {
        let (inner, client, job) = (self.inner, &self.inner.client, self.job);
        let variables = environment::of(&job.spec, &inner.settings.sources)?;
        environment::check(&variables)?;
        let labels = self.labels(&record);
        let body = container::plan(job, variables, labels, &inner.settings)?;
        let image = &job.spec.image;
        if PullPolicy::of(job) == PullPolicy::Always && !self.was_pulled {
            self.pull(stop).await?;
        }
        let options = CreateContainerOptionsBuilder::new().name(&self.name).build();
        let made = async {
            if container::trusts_image_user(job) {
                image::check_user(client, image).await?;
            }
            let engine = client.engine().await?;
            Ok(client.settle(engine.create_container(Some(options), body)).await?)
        };
        let made = match made.await {
            Ok(made) => made,
            Err(Problem::Trouble(Trouble::Missing(words))) if !image::is_meant(&words) => {
                return Err(Problem::Start(not_now(image, &words)));
            }
            Err(Problem::Trouble(Trouble::Missing(words))) if self.was_pulled => {
                return Err(Problem::Start(image::missing(image, &words)));
            }
            Err(Problem::Trouble(Trouble::Missing(_))) if PullPolicy::of(job) == PullPolicy::Never => {
                return Err(Problem::Start(image::missing(image, "imagePullPolicy is Never")));
            }
            Err(Problem::Trouble(Trouble::Missing(_))) => {
                self.pull(stop).await?;
                return Ok(Turn::Look);
            }
            Err(Problem::Trouble(Trouble::Conflict(_))) => {
                self.next = None;
                return Ok(Turn::Look);
            }
            Err(Problem::Trouble(Trouble::Invalid(words))) => {
                let message = format!("the engine does not take the Job {}: {words}", job.name);
                return Err(Problem::Start(StartError::Refused(FailureClass::ConfigurationError, message)));
            }
            Err(problem) => return Err(problem),
        };
        self.next = None;
        self.was_pulled = false;
        self.followed = Some(record);
        self.begin(&made.id).await?;
        Ok(Turn::Look)
    }

    async fn pull(&mut self, stop: &Stop) -> std::result::Result<(), Problem> {
        let login = credentials::of(self.job, &self.inner.settings)?;
        tokio::select! {
            pulled = image::pull(&self.inner.client, &self.job.spec.image, &login) => pulled?,
            () = stop.draining() => return Err(Problem::Stopped),
        }
        self.was_pulled = true;
        Ok(())
    }

    /// Starts a created container. If it cannot be started, it is removed.
    pub(super) async fn begin(&self, id: &str) -> std::result::Result<(), Problem> {
        let error = match self.try_begin(id).await {
            Err(Problem::Start(error)) => error,
            begun => return begun,
        };
        self.inner.remove(id).await?;
        Err(Problem::Start(error))
    }

    async fn try_begin(&self, id: &str) -> std::result::Result<(), Problem> {
        let (client, image) = (&self.inner.client, &self.job.spec.image);
        let files = volumes::of(self.job, &self.inner.settings.sources)?;
        match volumes::fill(client, id, files).await {
            Ok(()) => {}
            Err(trouble @ (Trouble::Away | Trouble::Conflict(_))) => return Err(trouble.into()),
            Err(trouble) => {
                return Err(StartError::Later(
                    FailureClass::BackendError,
                    format!("the files of image {image} were not put into its container: {trouble}"),
                )
                .into());
            }
        }
        output::prepare(client, id, &self.message).await?;
        let started = client.settle(client.engine().await?.start_container(id, None)).await;
        Err(Problem::Start(match started {
            Err(trouble @ (Trouble::Away | Trouble::Conflict(_))) => return Err(trouble.into()),
            Err(Trouble::Missing(words)) if words.contains("network") => not_now(image, &words),
            // Or somebody has removed it between the two calls.
            Ok(()) | Err(Trouble::Missing(_)) => return Ok(()),
            Err(Trouble::Invalid(words)) => StartError::Refused(
                FailureClass::ConfigurationError,
                format!("image {image} cannot be started: {words}"),
            ),
            Err(Trouble::Failed(words)) => StartError::Later(
                FailureClass::BackendError,
                format!("the engine could not start image {image}: {words}"),
            ),
        }))
    }

    fn labels(&self, record: &Record) -> HashMap<String, String> {
        let template = self.job.manifest.typed().spec.and_then(|spec| spec.template.metadata);
        let own = template.and_then(|metadata| metadata.labels).unwrap_or_default();
        let scope = &self.inner.settings.scope;
        own.into_iter()
            .chain(self.inner.settings.labels.clone())
            .chain(record.labels(self.job, self.if_ended, scope))
            .collect()
    }
}

/// Something other than the image is missing. If it is the network, name the remedy.
fn not_now(image: &str, words: &str) -> StartError {
    let remedy =
        if words.contains("network") { "; name the containers' network with --docker-network" } else { "" };
    StartError::Later(FailureClass::BackendError, format!("image {image} was not started: {words}{remedy}"))
}
