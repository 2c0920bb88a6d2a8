//! `/triggers`: the manifests, what each trigger last matched, and what a pasted event would do.

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shared::event::Kind;

use super::{Frame, Section, format, html, live, problem};
use crate::explanation;
use crate::manifest::EventTrigger;
use crate::paint::Paint;
use crate::plan::{self, IncomingEvent};
use crate::server::App;
use crate::server::session::from_here;
use history::Run;

/// How long explaining a pasted event may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Template)]
#[template(path = "triggers.html")]
struct TriggersPage {
    frame: Frame,
    triggers: Vec<View>,
    refused: Option<String>,
    pasted: Pasted,
    explained: Option<String>,
    now: DateTime<Utc>,
}

struct View {
    name: String,
    position: String,
    source: String,
    criteria: Vec<Vec<(&'static str, String)>>,
    action: String,
    sync: String,
    images: String,
    emits: String,
    templates: Vec<(String, String)>,
    last: Option<Run>,
}

#[derive(Default, Deserialize)]
pub(super) struct Pasted {
    #[serde(default)]
    event: String,
    #[serde(default)]
    subject: String,
}

pub(super) async fn show(State(app): State<App>, headers: HeaderMap) -> Response {
    live::answer(&app, &headers, |app, headers| async move {
        Ok::<_, Response>(page(&app, &headers, Pasted::default(), None).await)
    })
    .await
}

/// This changes nothing, but rendering costs time, so the guard of forms only admits visitors of this machine and
/// operators.
pub(super) async fn explain(
    State(app): State<App>,
    headers: HeaderMap,
    Form(pasted): Form<Pasted>,
) -> Response {
    if !from_here(&headers) {
        return problem(&app, &headers, StatusCode::FORBIDDEN, "Refused", "Another site sent this form.")
            .await;
    }
    let inner = app.clone();
    let (event, subject) = (pasted.event.clone(), pasted.subject.trim().to_owned());
    let work = tokio::task::spawn_blocking(move || said(&inner, &event, &subject));
    let words = match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(words)) => words,
        Ok(Err(error)) => format!("the event could not be explained: {error}"),
        Err(_) => "explaining took too long".to_owned(),
    };
    html(StatusCode::OK, &page(&app, &headers, pasted, Some(words)).await)
}

fn said(app: &App, event: &str, subject: &str) -> String {
    let mut event = match IncomingEvent::parse("", &[], event.trim().as_bytes()) {
        Ok(event) => event,
        Err(error) => return format!("this is no event: {error}"),
    };
    let usual = Kind::from_type(event.event_type()).map(Kind::subject);
    event.nats_subject = match (subject, usual) {
        ("", Some(usual)) => usual.to_owned(),
        ("", None) => return "its type is not of the flow: name the NATS subject it comes on".to_owned(),
        (named, _) => named.to_owned(),
    };
    let inner = &app.0;
    let explained = plan::explain(&event, &inner.rules.current(), &inner.cluster, &inner.policy);
    explanation::text(&event, &explained, Paint::none())
}

async fn page(app: &App, headers: &HeaderMap, pasted: Pasted, explained: Option<String>) -> TriggersPage {
    let rules = app.0.rules.current();
    let snapshot = app.snapshot().await;
    let mut triggers = Vec::with_capacity(rules.triggers.len());
    for trigger in &rules.triggers {
        let last = app.0.history.runs_by(&trigger.name, 1).await.ok().and_then(|mut runs| runs.pop());
        triggers.push(view(app, trigger, &snapshot.flow, last));
    }
    TriggersPage {
        frame: Frame::new(app, headers, Section::Triggers).await,
        triggers,
        refused: app.0.rules.state().refused,
        pasted,
        explained,
        now: Utc::now(),
    }
}

fn view(app: &App, trigger: &EventTrigger, flow: &crate::flow::Flow, last: Option<Run>) -> View {
    let rules = app.0.rules.current();
    let cluster = &app.0.cluster;
    let source = cluster.source_name(trigger).unwrap_or_else(|error| format!("cannot be rendered: {error}"));
    let named = rules.sources.iter().filter(|one| one.name == source);
    let criteria = named.flat_map(|one| &one.criteria).map(|one| {
        let fields = [
            ("subject", &one.subject),
            ("source", &one.source),
            ("type", &one.event_type),
            ("event subject", &one.event_subject),
        ];
        let filled = fields.into_iter().filter(|(_, pattern)| !pattern.source().is_empty());
        filled.map(|(name, pattern)| (name, pattern.source().to_owned())).collect()
    });
    let templates = trigger.policy_refs.iter().filter_map(|reference| {
        let namespace = reference.namespace.literal()?;
        let namespace = if namespace.is_empty() { &cluster.namespace } else { namespace };
        let map = rules.config_map(reference.kind, namespace, reference.name.literal()?)?;
        let entries = map.entries.iter();
        Some(
            entries
                .map(|one| (format!("{} {}: {}", map.kind, map.name, one.key), one.text.clone()))
                .collect::<Vec<_>>(),
        )
    });
    let step = flow.steps.iter().find(|step| step.trigger == trigger.name);
    View {
        name: trigger.name.clone(),
        position: trigger.position.to_string(),
        criteria: criteria.collect(),
        source,
        action: trigger.action.source().to_owned(),
        sync: format!("{:?}", trigger.sync),
        images: step.map(|step| step.images.join(", ")).unwrap_or_default(),
        emits: step.map(|step| step.emits.join(", ")).unwrap_or_default(),
        templates: templates.flatten().collect(),
        last,
    }
}
