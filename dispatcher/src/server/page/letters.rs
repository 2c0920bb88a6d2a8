//! `/dead-letters`: what could not be handled, with the reason; replayed or dropped, one or all that match.

use askama::Template;
use axum::Form;
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Frame, Place, away, form, format, live, problem, refuse_foreign_name};
use crate::bus::{DeadLetter, Filter};
use crate::history::Act;
use crate::server::App;
use crate::server::operator::{AT_ONCE, Operator, Tally, Verb, act as act_on_one, act_on_all};

/// Dead letters on one page.
const PAGE: usize = 25;
/// Past actions shown.
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
    fn filter(&self) -> Filter {
        let wanted = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Filter {
            subject: wanted(&self.subject),
            customer: wanted(&self.customer),
            reason: wanted(&self.reason),
            after: self.after,
            limit: PAGE,
        }
    }

    fn is_filtered(&self) -> bool {
        let Filter { subject, customer, reason, .. } = self.filter();
        subject.is_some() || customer.is_some() || reason.is_some()
    }

    fn place(&self, after: u64, said: &str) -> String {
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
    if let Some(refused) = refuse_foreign_name(&app, &headers) {
        return refused;
    }
    live::answer(&app, &headers, move |app, headers| {
        let asked = asked.clone();
        async move { letters(&app, &headers, asked).await }
    })
    .await
}

async fn letters(app: &App, headers: &HeaderMap, asked: Asked) -> Result<LettersPage, Response> {
    let page = match app.0.bus.dead_letters(&asked.filter()).await {
        Ok(page) => page,
        Err(error) => return Err(away(app, headers, &error).await),
    };
    Ok(LettersPage {
        frame: Frame::new(app, headers, Place::DeadLetters).await,
        subjects: app.0.rules.subjects().into_iter().collect(),
        letters: page.letters,
        next: page.next.map(|after| asked.place(after, "")),
        acts: app.0.history.acts(ACTS).await.unwrap_or_default(),
        said: said(&asked.said),
        now: Utc::now(),
        asked,
    })
}

/// What was done, from the word in the address: nothing of the address itself is shown.
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
    /// One; without it, all that match.
    number: Option<u64>,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    customer: String,
    #[serde(default)]
    reason: String,
    /// Ticked where many are to be changed.
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
    let session = match form::operator(&app, &headers, &wish.word, &asked.place(0, "")).await {
        Ok(session) => session,
        Err(refused) => return refused,
    };
    let operator = Operator::new(&session.name, &extensions);
    let tally = match wish.number {
        Some(number) => act_on_one(&app, &operator, wish.action, number)
            .await
            .map(|done| Tally { done: done.iter().count(), ..Tally::default() }),
        None if wish.sure.is_empty() => {
            let words = "Tick the box that says so before many are replayed or dropped. Nothing was done.";
            return problem(&app, &headers, StatusCode::BAD_REQUEST, "Are you sure?", words).await;
        }
        None => act_on_all(&app, &operator, wish.action, asked.filter()).await,
    };
    app.forget_snapshot().await;
    match tally {
        Ok(Tally { done, failed, more }) => {
            let said = format!("{}-{done}-{failed}-{}", wish.action.as_str(), u8::from(more));
            Redirect::to(&asked.place(0, &said)).into_response()
        }
        Err(error) => away(&app, &headers, &error).await,
    }
}
