//! The pages for people: rendered on the server, whole without a script, nothing from outside, everything from events
//! escaped. With the one script a page follows what happens: the same address, asked for as an event stream, sends the
//! page anew whenever it changes.

mod asset;
mod customer;
mod customers;
mod form;
mod format;
mod letter;
mod letters;
mod live;
mod login;
mod logs;
mod overview;
mod picture;
mod step;
#[cfg(test)]
mod tests;
mod timeline;
mod triggers;

use std::borrow::Cow;

use askama::Template;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

#[cfg(test)]
pub(super) use form::encoded;
pub(super) use live::STREAMS;
pub(super) use step::StepView;

use super::App;
use super::access::asked_for_this_machine;
use super::session::Session;
use crate::logging::masked;

/// Nothing from outside, nothing inline, no frames; forms go to us.
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

/// Every page.
pub(super) fn router() -> Router<App> {
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
        .route("/page/style.css", get(asset::style))
        .route("/page/live.js", get(asset::script))
        .route("/page/icon.svg", get(asset::icon))
}

/// What the frame around every page shows, and what every page may show.
pub(super) struct Frame {
    here: Place,
    /// Dead letters; `None` where the bus does not say.
    dead_letters: Option<u64>,
    /// Who is logged in.
    operator: Option<String>,
    /// What forms carry; empty where nobody is logged in.
    word: String,
}

/// The entries of the navigation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
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
    fn is(&self, place: Place) -> bool {
        self.here == place
    }

    async fn new(app: &App, headers: &HeaderMap, here: Place) -> Self {
        let admin = app.0.tokens.admin.as_ref();
        let session = Session::of(headers, admin);
        Self {
            here,
            dead_letters: app.snapshot().await.dead(),
            word: session.as_ref().map(|session| session.form_word(admin)).unwrap_or_default(),
            operator: session.map(|session| session.name),
        }
    }

    /// How many dead letters there are, where there are some.
    fn dead(&self) -> Option<String> {
        self.dead_letters.filter(|count| *count > 0).map(format::short_number)
    }

    /// The page of a customer; none where its address would tell what this visitor may not see.
    fn customer(&self, id: &str) -> Option<String> {
        (!id.is_empty() && self.text(id) == id).then(|| format!("/customers/{}", form::encoded(id)))
    }

    /// Text as this visitor may see it: addresses masked for those who are not logged in.
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.operator.is_some() { Cow::Borrowed(text) } else { masked(text) }
    }
}

/// The part of an address that brings a visitor back after the login.
fn login_first(path: &str) -> Response {
    let next: String = form::encoded(path);
    Redirect::to(&format!("/login?next={next}")).into_response()
}

/// A page that says what is wrong.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    title: String,
    words: String,
}

async fn problem(app: &App, headers: &HeaderMap, status: StatusCode, title: &str, words: &str) -> Response {
    let frame = Frame::new(app, headers, Place::Login).await;
    html(status, &ProblemPage { frame, title: title.to_owned(), words: words.to_owned() })
}

/// What cannot be shown because a server is away.
async fn away(app: &App, headers: &HeaderMap, error: &(dyn std::fmt::Display + Sync)) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    problem(app, headers, status, "This cannot be shown now", &error.to_string()).await
}

/// A page as an answer; a failing template is a bug of ours.
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

/// Refuses a browser that was led here by a name that is not this machine's, where nobody has to log in.
fn refuse_foreign_name(app: &App, headers: &HeaderMap) -> Option<Response> {
    let known = || Session::of(headers, app.0.tokens.admin.as_ref()).is_some();
    if !app.0.tokens.loopback || asked_for_this_machine(headers) || known() {
        return None;
    }
    let text = "this page is for this machine alone: ask for it at 127.0.0.1 or localhost\n";
    Some((StatusCode::MISDIRECTED_REQUEST, text).into_response())
}
