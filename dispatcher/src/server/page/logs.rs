//! `/runs/ID/logs`: the output of a Job. Only for operators, because any worker may print personal data.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::{Frame, Section, away, html, login_first, problem};
use crate::server::App;
use history::Run;

#[derive(Template)]
#[template(path = "logs.html")]
struct Logs {
    frame: Frame,
    run: Run,
    output: Option<String>,
}

pub(super) async fn show(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if app.session(&headers).await.is_none() {
        return login_first(&format!("/runs/{id}/logs"));
    }
    let run = match app.0.history.run(&id).await {
        Ok(Some(run)) => run,
        Ok(None) => {
            let words = "The history knows no such run.";
            return problem(&app, &headers, StatusCode::NOT_FOUND, "No such run", words).await;
        }
        Err(error) => return away(&app, &headers, &error).await,
    };
    match app.0.backend.logs(&run.namespace, &run.job).await {
        Ok(output) => {
            let frame = Frame::new(&app, &headers, Section::Customers).await;
            html(StatusCode::OK, &Logs { frame, run, output })
        }
        Err(error) => away(&app, &headers, &error).await,
    }
}
