//! Sends the queued spans in batches. It repeats while the collector is away, and never sends a batch twice that was
//! accepted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use shared::config::FilePath;
use shared::error::{Error, Result};
use shared::tls::File;
use tokio::sync::watch;

use super::queue::{Batch, Queue};
use super::settings::Settings;
use crate::metrics::{Metrics, SpansLost};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The time limit of a request while the dispatcher stops.
const LAST_PAUSE: Duration = Duration::from_millis(200);
const MOST_ANSWER_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Exporter {
    client: Client,
    settings: Settings,
    queue: Arc<Queue>,
    metrics: Metrics,
}

/// The collector's answer to a batch.
enum Answer {
    /// It accepted the batch, except this many spans that it refused, with its message.
    Taken(usize, String),
    /// It refuses the batch for good.
    Refused(String),
    /// It cannot accept the batch now, and may say when it can.
    Later(Option<Duration>, String),
}

impl Exporter {
    pub(super) fn new(settings: &Settings, queue: Arc<Queue>, metrics: Metrics) -> Result<Self> {
        let path = settings.certificate.clone().map(FilePath::from);
        let file = path.as_ref().map(|path| File { variable: "OTEL_EXPORTER_OTLP_CERTIFICATE", path });
        let tls = shared::tls::client_config(file, None)?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .timeout(settings.timeout)
            .no_proxy()
            .user_agent(concat!("knapscen-dispatcher/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::configuration("cannot build the client for OTLP").because(error))?;
        Ok(Self { client, settings: settings.clone(), queue, metrics })
    }

    /// Sends until it is told to stop, and then until the queue is empty.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.queue.until(self.settings.batch) => {}
                () = self.due() => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            self.send_all(&mut stop).await;
            if *stop.borrow() {
                return;
            }
        }
    }

    /// Waits a little after the first span, to collect more.
    async fn due(&self) {
        self.queue.until(1).await;
        tokio::time::sleep(self.settings.delay).await;
    }

    async fn send_all(&self, stop: &mut watch::Receiver<bool>) {
        let mut failures = 0_u32;
        while let Some(batch) = self.queue.front(self.settings.batch) {
            match self.post(&batch).await {
                Answer::Taken(unwanted, words) => {
                    if unwanted > 0 {
                        tracing::warn!(
                            spans = unwanted,
                            reason = words,
                            "the collector did not want some spans"
                        );
                    } else if failures > 0 {
                        tracing::info!("the collector takes spans again");
                    }
                    failures = 0;
                    self.metrics.spans_sent(batch.spans.saturating_sub(unwanted));
                    self.metrics.spans_lost(SpansLost::Refused, unwanted);
                    self.queue.remove(&batch);
                }
                Answer::Refused(reason) => {
                    tracing::error!(
                        spans = batch.spans,
                        reason,
                        "the collector refuses spans; they are lost"
                    );
                    self.metrics.spans_lost(SpansLost::Refused, batch.spans);
                    self.queue.remove(&batch);
                }
                Answer::Later(after, reason) => {
                    if failures == 0 {
                        tracing::warn!(
                            waiting = self.queue.len(),
                            reason,
                            "the collector takes no spans now; they wait"
                        );
                    }
                    self.pause(failures, after, stop).await;
                    failures = failures.saturating_add(1);
                }
            }
            self.metrics.spans_waiting(self.queue.len());
        }
    }

    async fn pause(&self, failures: u32, asked: Option<Duration>, stop: &mut watch::Receiver<bool>) {
        if *stop.borrow() {
            tokio::time::sleep(LAST_PAUSE).await;
            return;
        }
        let own = FIRST_PAUSE.saturating_mul(1 << failures.min(8));
        let pause = asked.unwrap_or_default().max(own).min(LONGEST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn post(&self, batch: &Batch) -> Answer {
        let request = self
            .client
            .post(self.settings.endpoint.clone())
            .headers(self.settings.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Bytes::copy_from_slice(&batch.bytes));
        // An error of reqwest shows the whole address, which may contain a secret.
        let later = |error: reqwest::Error| Answer::Later(None, chain(&error.without_url()));
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return later(error),
        };
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        if !status.is_success() {
            let reason = format!("it answered {status}");
            return if may_pass(status) {
                Answer::Later(after.map(Duration::from_secs), reason)
            } else {
                Answer::Refused(reason)
            };
        }
        let mut body = Vec::new();
        // The collector has accepted the spans, so an answer that is cut or not protobuf must not send them again.
        while let Ok(Some(chunk)) = response.chunk().await
            && body.len() <= MOST_ANSWER_BYTES
        {
            body.extend_from_slice(&chunk);
        }
        let partial =
            ExportTraceServiceResponse::decode(body.as_slice()).ok().and_then(|said| said.partial_success);
        let unwanted =
            partial.as_ref().map_or(0, |partial| usize::try_from(partial.rejected_spans).unwrap_or(0));
        let words =
            partial.map(|partial| partial.error_message.chars().take(200).collect()).unwrap_or_default();
        Answer::Taken(unwanted.min(batch.spans), words)
    }
}

/// The statuses for "send it again" in OTLP, and those of proxies whose collector is away.
fn may_pass(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
