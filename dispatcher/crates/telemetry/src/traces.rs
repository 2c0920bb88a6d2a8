//! Traces: the spans of every ended Job are sent to an OTLP collector, without delaying the flow.
//!
//! Workers export nothing; their result line carries their timings. One trace is one flow, from the first event to
//! the last, because the chain carries its id. Writes protobuf over HTTP to `OTEL_EXPORTER_OTLP_ENDPOINT`; without an
//! endpoint, traces are off.

mod export;
mod queue;
mod sampler;
mod settings;
mod span;
mod timeline;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;
use shared::error::Result;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::export::Exporter;
use self::queue::{Part, Queue};
use crate::metrics::{Metrics, SpansLost};
use job::JobRun;

pub use settings::Settings;

/// Takes ended Jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Traces(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    queue: Arc<Queue>,
    metrics: Metrics,
}

/// Sends spans until closed.
#[derive(Debug)]
pub struct Sending {
    traces: Traces,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Traces {
    /// Starts sending. It fails if a setting cannot be used, but not if the collector is away.
    pub fn start(settings: Settings, metrics: Metrics) -> Result<(Self, Sending)> {
        let queue = Arc::new(Queue::new(settings.queue));
        let exporter = Exporter::new(&settings, Arc::clone(&queue), metrics.clone())?;
        let traces = Self(Arc::new(Inner { settings, queue, metrics }));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(exporter.run(stopped));
        Ok((traces.clone(), Sending { traces, stop, task }))
    }

    /// Queues the spans of an ended Job. Never waits: if the queue is full, they are counted and dropped.
    pub fn record(&self, run: &JobRun) {
        let Inner { settings, queue, metrics } = &*self.0;
        let Some(spans) = span::of(run, settings.sampler) else { return };
        let count = spans.len();
        let attributes = settings.resource.iter().map(|(name, value)| span::text(name, value));
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        let scope = InstrumentationScope {
            name: "dispatcher".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans,
                ..ResourceSpans::default()
            }],
        };
        if !queue.push(Part { spans: count, bytes: request.encode_to_vec() }) {
            metrics.spans_lost(SpansLost::Full, count);
        }
        metrics.spans_waiting(queue.len());
    }
}

impl Sending {
    /// Sends what is queued, for at most this long. What is left is counted and dropped.
    pub async fn close(mut self, limit: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
        }
        let Inner { queue, metrics, .. } = &*self.traces.0;
        let left = queue.len();
        if left > 0 {
            tracing::warn!(
                spans = left,
                "the collector did not take all spans before the stop; they are lost"
            );
            metrics.spans_lost(SpansLost::Stopped, left);
        }
    }
}

#[cfg(test)]
mod tests;
