//! `/`: what runs, what waits and what failed, on one plain page. Everything from events is escaped.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::{App, FETCHED_WITHIN};
use crate::logging::masked;
use crate::metrics::JobOutcome;

const HEADERS: [(header::HeaderName, &str); 3] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
];

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b00020}@media(prefers-color-scheme:dark){.bad{color:#ff8a80}}";

pub(super) async fn overview(State(App(app)): State<App>) -> Response {
    let rules = app.rules.current();
    let health = app.bus.check(FETCHED_WITHIN).await;
    let backlog = app.bus.backlog().await.unwrap_or_default();
    let dead = app.bus.dead_letter_count().await;
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta http-equiv=refresh content=5><title>Onboarding dispatcher</title><style>{STYLE}</style>\
         <h1>Onboarding dispatcher</h1>"
    );
    // Writing to a String cannot fail.
    let _ = match &health.problem {
        None => write!(html, "<p>The bus answers; Jobs run on the {} backend.</p>", app.backend.name()),
        Some(problem) => write!(html, "<p class=bad>The bus: {}</p>", escaped(problem)),
    };
    if let Some(refused) = app.rules.state().refused {
        let _ = write!(
            html,
            "<p class=bad>Newest manifests refused, those before in force: {}</p>",
            escaped(&refused)
        );
    }
    html.push_str("<h2>Triggers</h2><table><tr><th>Trigger<th class=n>running<th class=n>done<th class=n>to be tried again<th class=n>failed");
    for trigger in &rules.triggers {
        let name = &trigger.name;
        let ended = |outcome| app.metrics.jobs_ended(name, outcome);
        let failed = ended(JobOutcome::Failed) + ended(JobOutcome::Refused);
        let _ = write!(
            html,
            "<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{failed}",
            escaped(name),
            app.metrics.jobs_running(name),
            ended(JobOutcome::Complete),
            ended(JobOutcome::TryAgain),
        );
    }
    html.push_str("</table><h2>Bus</h2><table><tr><th>Subject<th class=n>waiting<th class=n>in flight");
    for one in &backlog {
        let _ = write!(
            html,
            "<tr><td>{}<td class=n>{}<td class=n>{}",
            escaped(&one.subject),
            one.waiting,
            one.in_flight
        );
    }
    let dead = dead.map_or_else(|error| escaped(&error.to_string()), |count| count.to_string());
    let _ = write!(html, "</table><p>Dead letters: <strong>{dead}</strong></p><h2>Last failures</h2>");
    let failures = app.metrics.recent().list();
    if failures.is_empty() {
        html.push_str("<p>None since this dispatcher started.</p>");
    } else {
        html.push_str("<table><tr><th>When<th>Subject<th>Event<th>Reason<th>Then");
        for failure in failures {
            let then = failure
                .again
                .map_or("dead letter".to_owned(), |after| format!("again in {} s", after.as_secs()));
            let _ = write!(
                html,
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{then}",
                failure.at.format("%H:%M:%S"),
                escaped(&failure.subject),
                escaped(&failure.event_id),
                escaped(&masked(&failure.reason)),
            );
        }
        html.push_str("</table>");
    }
    (HEADERS, html).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn event_text_is_never_markup() {
        assert_eq!(super::escaped("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
    }
}
