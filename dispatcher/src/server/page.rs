//! The pages for people. They are rendered on the server, work without a script, load nothing from outside, and
//! escape everything from events. With the one script, a page follows changes: the same address, requested as an
//! event stream, sends the page again whenever it changes.

mod asset;
mod customer;
mod customers;
mod form;
mod letter;
mod letters;
mod live;
mod login;
mod logs;
mod overview;
mod picture;
#[cfg(test)]
mod tests;
mod timeline;
mod triggers;

use std::borrow::Cow;

use askama::Template;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

#[cfg(test)]
pub(super) use form::encoded;

use super::App;
use crate::server::format;
use job::masked;

/// Nothing from outside, nothing inline, no frames; forms only go to us.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::VARY, "Accept, Cookie"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The routes of all pages.
pub(super) fn router(app: &App) -> Router<App> {
    Router::new()
        .route("/", get(overview::show))
        .route("/customers", get(customers::show))
        .route("/customers/{id}", get(customer::show))
        .route("/runs/{id}/logs", get(logs::show))
        .route("/dead-letters", get(letters::show).post(letters::act))
        .route("/dead-letters/{number}", get(letter::show))
        .route("/triggers", get(triggers::show).post(triggers::explain))
        .route("/login", get(login::show).post(login::enter))
        .route("/logout", post(login::leave))
        .route_layer(from_fn_with_state(app.clone(), live::guard))
        .route_layer(from_fn_with_state(app.clone(), form::guard))
        .route("/page/style.css", get(asset::style))
        .route("/page/live.js", get(asset::script))
        .route("/page/icon.svg", get(asset::icon))
}

/// What the frame around every page shows, and what every page uses.
pub(super) struct Frame {
    here: Section,
    /// The number of dead letters; `None` if the bus does not answer.
    dead_letters: Option<u64>,
    /// The operator who is logged in.
    operator: Option<String>,
    /// The token in forms; empty if nobody is logged in.
    word: String,
}

/// The entries of the navigation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `/`
    Flow,
    /// `/customers`
    Customers,
    /// `/dead-letters`
    DeadLetters,
    /// `/triggers`
    Triggers,
    /// `/login`
    Login,
}

impl Frame {
    fn is(&self, section: Section) -> bool {
        self.here == section
    }

    async fn new(app: &App, headers: &HeaderMap, here: Section) -> Self {
        let session = app.session(headers).await;
        Self {
            here,
            dead_letters: app.snapshot().await.dead(),
            word: session.as_ref().map(|session| app.0.sessions.form_word(session)).unwrap_or_default(),
            operator: session.map(|session| session.name),
        }
    }

    /// The number of dead letters, if there are any.
    fn dead(&self) -> Option<String> {
        self.dead_letters.filter(|count| *count > 0).map(format::short_number)
    }

    /// The address of a customer's page; `None` if it would show what this visitor may not see.
    fn customer(&self, id: &str) -> Option<String> {
        (!id.is_empty() && self.text(id) == id).then(|| format!("/customers/{}", form::encoded(id)))
    }

    /// Text for this visitor: addresses are masked unless somebody is logged in.
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.operator.is_some() { Cow::Borrowed(text) } else { masked(text) }
    }
}

/// The part of the address that leads a visitor back after the login.
fn login_first(path: &str) -> Response {
    let next: String = form::encoded(path);
    Redirect::to(&format!("/login?next={next}")).into_response()
}

/// A page with an error message.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    title: String,
    words: String,
}

async fn problem(app: &App, headers: &HeaderMap, status: StatusCode, title: &str, words: &str) -> Response {
    let frame = Frame::new(app, headers, Section::Login).await;
    html(status, &ProblemPage { frame, title: title.to_owned(), words: words.to_owned() })
}

/// A page that says which server is away.
async fn away(app: &App, headers: &HeaderMap, error: &(dyn std::fmt::Display + Sync)) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    problem(app, headers, status, "This cannot be shown now", &error.to_string()).await
}

/// A page as an answer. A template that fails is our bug.
fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => {
            (status, HEADERS, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::error!(error = %error, "a page cannot be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be rendered\n").into_response()
        }
    }
}
