//! `/dead-letters`: dead letters with their reasons; to replay or drop one, or all that match.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Frame, Section, away, form, html, live, problem};
use crate::dead_letter_action::Verb;
use crate::server::App;
use crate::server::format;
use crate::server::operator::{AT_ONCE, Tally, act as act_on_one, act_on_all, operator};
use crate::server::snapshot::Snapshot;
use bus::{DeadLetter, Filter, Page};
use history::Act;

/// Dead letters on one page.
const PAGE: usize = 25;
/// How many past actions are shown.
const ACTS: u32 = 10;

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    subject: String,
    #[serde(default)]
    customer: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    after: u64,
    #[serde(default)]
    said: String,
}

#[derive(Template)]
#[template(path = "letters.html")]
struct LettersPage {
    frame: Frame,
    asked: Asked,
    subjects: Vec<String>,
    letters: Vec<DeadLetter>,
    next: Option<String>,
    acts: Vec<Act>,
    said: String,
    now: DateTime<Utc>,
}

impl Asked {
    /// `masked` for visitors who are not logged in.
    fn filter(&self, masked: bool) -> Filter {
        let wanted = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Filter {
            subject: wanted(&self.subject),
            flow: wanted(&self.customer),
            reason: wanted(&self.reason),
            masked,
            payloads: false,
            after: self.after,
            limit: PAGE,
        }
    }

    fn is_filtered(&self) -> bool {
        let Filter { subject, .. } = self.filter(true);
        subject.is_some() || self.is_searched()
    }

    /// Whether the filter needs to look at each letter.
    fn is_searched(&self) -> bool {
        let Filter { flow, reason, .. } = self.filter(true);
        flow.is_some() || reason.is_some()
    }

    fn address(&self, after: u64, said: &str) -> String {
        let after = if after == 0 { String::new() } else { after.to_string() };
        let pairs = [
            ("subject", self.subject.as_str()),
            ("customer", &self.customer),
            ("reason", &self.reason),
            ("after", &after),
            ("said", said),
        ];
        format!("/dead-letters{}", form::query(&pairs))
    }
}

pub(super) async fn show(State(app): State<App>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let found = Arc::default();
    live::answer(&app, &headers, move |app, headers| {
        let (asked, found) = (asked.clone(), Arc::clone(&found));
        async move { letters(&app, &headers, asked, &found).await }
    })
    .await
}

/// The result of a search, and how many letters of each subject there were then.
type Found = Mutex<Option<(Arc<Snapshot>, Page)>>;

async fn letters(
    app: &App,
    headers: &HeaderMap,
    asked: Asked,
    found: &Found,
) -> Result<LettersPage, Response> {
    let snapshot = app.snapshot().await;
    let masked = app.session(headers).await.is_none();
    let mut found = found.lock().await;
    // A followed page asks every other second, so the search is only repeated when a letter has come or gone.
    let kept = found.as_ref().filter(|(then, _)| {
        asked.is_searched() && then.dead_letters.is_some() && then.dead_letters == snapshot.dead_letters
    });
    let page = match kept {
        Some((_, page)) => page.clone(),
        None => match app.0.bus.dead_letters(&asked.filter(masked)).await {
            Ok(page) => page,
            Err(error) => return Err(away(app, headers, &error).await),
        },
    };
    *found = Some((snapshot, page.clone()));
    drop(found);
    Ok(LettersPage {
        frame: Frame::new(app, headers, Section::DeadLetters).await,
        subjects: app.0.rules.subjects().into_iter().collect(),
        letters: page.letters,
        next: page.next.map(|after| asked.address(after, "")),
        acts: app.0.history.acts(ACTS).await.unwrap_or_default(),
        said: said(&asked.said),
        now: Utc::now(),
        asked,
    })
}

/// The result of an action, chosen by a word in the address. Nothing of the address itself is shown.
fn said(word: &str) -> String {
    let mut parts = word.split('-');
    let (verb, mut number) =
        (parts.next().unwrap_or_default(), || parts.next().and_then(|n| n.parse::<u64>().ok()));
    let done = match verb {
        "replay" => "replayed",
        "drop" => "dropped",
        _ => return String::new(),
    };
    let (count, failed, more) = (number().unwrap_or(0), number().unwrap_or(0), number().unwrap_or(0));
    let mut text = match count {
        1 => format!("1 dead letter {done}."),
        count => format!("{} dead letters {done}.", format::number(count)),
    };
    if failed > 0 {
        text.extend([" ", &format::number(failed), " could not be: the log says why."]);
    }
    if more > 0 {
        text.extend([" More match: repeat it for the next ", &format::number(AT_ONCE as u64), "."]);
    }
    text
}

#[derive(Debug, Deserialize)]
pub(super) struct Wish {
    word: String,
    action: Verb,
    /// The number of one letter; without it, the form means all that match.
    number: Option<u64>,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    customer: String,
    #[serde(default)]
    reason: String,
    /// Ticked by the operator to change many.
    #[serde(default)]
    sure: String,
}

pub(super) async fn act(State(app): State<App>, request: Request) -> Response {
    let headers = request.headers().clone();
    let extensions = request.extensions().clone();
    let wish = match Form::<Wish>::from_request(request, &()).await {
        Ok(Form(wish)) => wish,
        Err(refused) => return refused.into_response(),
    };
    let asked =
        Asked { subject: wish.subject, customer: wish.customer, reason: wish.reason, ..Asked::default() };
    let session = match form::operator(&app, &headers, &wish.word, &asked.address(0, "")).await {
        Ok(session) => session,
        Err(refused) => return refused,
    };
    let operator = operator(&session.name, &extensions);
    if wish.sure.is_empty()
        && wish.action == Verb::Drop
        && let Some(number) = wish.number
    {
        return confirm(&app, &headers, number, asked).await;
    }
    let tally = match wish.number {
        Some(number) => act_on_one(&app, operator, wish.action, number)
            .await
            .map(|done| Tally { done: done.iter().count(), ..Tally::default() }),
        None if wish.sure.is_empty() => {
            let words = "Tick the box that says so before many are replayed or dropped. Nothing was done.";
            return problem(&app, &headers, StatusCode::BAD_REQUEST, "Are you sure?", words).await;
        }
        None => act_on_all(&app, operator, wish.action, asked.filter(false)).await,
    };
    app.forget_snapshot().await;
    match tally {
        Ok(Tally { done, failed, more }) => {
            let said = format!("{}-{done}-{failed}-{}", wish.action.as_str(), u8::from(more));
            Redirect::to(&asked.address(0, &said)).into_response()
        }
        Err(error) => away(&app, &headers, &error).await,
    }
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm {
    frame: Frame,
    asked: Asked,
    letter: DeadLetter,
    back: String,
}

/// Dropping is final, so a page without a script asks once more.
async fn confirm(app: &App, headers: &HeaderMap, number: u64, asked: Asked) -> Response {
    match app.0.bus.dead_letter_by_number(number).await {
        Ok(Some(letter)) => {
            let frame = Frame::new(app, headers, Section::DeadLetters).await;
            let back = asked.address(0, "");
            html(StatusCode::OK, &Confirm { frame, asked, letter, back })
        }
        Ok(None) => {
            let words = "There is no dead letter of this number: it was replayed or dropped.";
            problem(app, headers, StatusCode::NOT_FOUND, "No such dead letter", words).await
        }
        Err(error) => away(app, headers, &error).await,
    }
}
