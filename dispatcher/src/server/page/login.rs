//! `/login` and `/logout`: the admin token, posted once, for a session.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::form::own_place;
use super::{Frame, Section, form, html};
use crate::server::App;
use crate::server::access::same;
use crate::server::session::{Sessions, end, from_here};

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
    let entry = Entry { name: String::new(), token: String::new(), next: way.next };
    page(&app, &headers, StatusCode::OK, entry, false).await
}

pub(super) async fn enter(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    Form(entry): Form<Entry>,
) -> Response {
    let right = app.0.tokens.admin.as_ref().is_some_and(|admin| same(admin.expose(), entry.token.trim()));
    if right && from_here(&headers) {
        let session = Sessions::begin(&entry.name);
        if let Some(cookie) = app.0.sessions.cookie(&session, &headers) {
            tracing::info!(operator = session.name, "an operator logged in");
            return ([(header::SET_COOKIE, cookie)], Redirect::to(own_place(&entry.next))).into_response();
        }
    }
    app.wrong_token(&extensions, "/login").await;
    page(&app, &headers, StatusCode::UNAUTHORIZED, entry, true).await
}

pub(super) async fn leave(State(app): State<App>, headers: HeaderMap, Form(leave): Form<Leave>) -> Response {
    match form::operator(&app, &headers, &leave.word, "/").await {
        Ok(session) => app.end_session(&session).await,
        Err(refused) => return refused,
    }
    let gone = end(&headers).map(|cookie| [(header::SET_COOKIE, cookie)]);
    (gone.map(axum::response::AppendHeaders), Redirect::to("/")).into_response()
}

async fn page(app: &App, headers: &HeaderMap, status: StatusCode, entry: Entry, wrong: bool) -> Response {
    let frame = Frame::new(app, headers, Section::Login).await;
    let possible = app.0.tokens.admin.is_some();
    let next = own_place(&entry.next).to_owned();
    html(status, &Login { frame, next, name: entry.name, wrong, possible })
}
