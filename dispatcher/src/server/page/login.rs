//! `/login` and `/logout`: the admin token, posted once, for a session.

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::form::own_place;
use super::{Frame, Place, form, html, refuse_foreign_name};
use crate::server::App;
use crate::server::session::{Session, end, from_here};

/// A wrong token is answered late, and few at once are asked about.
const WRONG: Duration = Duration::from_millis(700);

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    frame: Frame,
    next: String,
    name: String,
    wrong: bool,
    possible: bool,
}

#[derive(Deserialize)]
pub(super) struct Way {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    name: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Leave {
    #[serde(default)]
    word: String,
}

pub(super) async fn show(State(app): State<App>, Query(way): Query<Way>, headers: HeaderMap) -> Response {
    if let Some(refused) = refuse_foreign_name(&app, &headers) {
        return refused;
    }
    let entry = Entry { name: String::new(), token: String::new(), next: way.next };
    page(&app, &headers, StatusCode::OK, entry, false).await
}

pub(super) async fn enter(State(app): State<App>, headers: HeaderMap, Form(entry): Form<Entry>) -> Response {
    let Ok(_turn) = app.0.logins.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let admin = app.0.tokens.admin.as_ref().filter(|_| from_here(&headers));
    let session = admin.and_then(|admin| Session::begin(admin, entry.token.trim(), &entry.name));
    let cookie = session.as_ref().zip(admin).and_then(|(session, admin)| session.cookie(admin, &headers));
    if let (Some(session), Some(cookie)) = (session, cookie) {
        tracing::info!(operator = session.name, "an operator logged in");
        return ([(header::SET_COOKIE, cookie)], Redirect::to(own_place(&entry.next))).into_response();
    }
    tokio::time::sleep(WRONG).await;
    tracing::warn!("a login with a wrong admin token");
    page(&app, &headers, StatusCode::UNAUTHORIZED, entry, true).await
}

pub(super) async fn leave(State(app): State<App>, headers: HeaderMap, Form(leave): Form<Leave>) -> Response {
    if let Err(refused) = form::operator(&app, &headers, &leave.word, "/").await {
        return refused;
    }
    let gone = end(&headers).map(|cookie| [(header::SET_COOKIE, cookie)]);
    (gone.map(axum::response::AppendHeaders), Redirect::to("/")).into_response()
}

async fn page(app: &App, headers: &HeaderMap, status: StatusCode, entry: Entry, wrong: bool) -> Response {
    let frame = Frame::new(app, headers, Place::Login).await;
    let possible = app.0.tokens.admin.is_some();
    let next = own_place(&entry.next).to_owned();
    html(status, &Login { frame, next, name: entry.name, wrong, possible })
}
