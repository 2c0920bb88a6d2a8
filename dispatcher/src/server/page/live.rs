//! A page that follows changes: server-sent events with the whole page, whenever it differs from the last one.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::html;
use crate::server::{App, connection};

/// The shortest time between two looks,
const AT_LEAST: Duration = Duration::from_millis(500);
/// and the longest, because other dispatchers write as well.
const AT_MOST: Duration = Duration::from_secs(3);

/// Admits clients that follow a page while there are places.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let connection = connection::of(request.extensions()).filter(|_| wants_stream(request.headers()));
    if let Some(connection) = connection {
        let operator = app.session(request.headers()).await.is_some();
        let Some(slot) = app.0.page_slots.take(connection.from(), operator) else {
            return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
        };
        connection.keep(Some(slot));
    }
    next.run(request).await
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let kinds = headers.get(header::ACCEPT);
    kinds.is_some_and(|kinds| kinds.as_bytes().windows(17).any(|kind| kind == b"text/event-stream"))
}

/// The page once, or as a stream if the client asks for one.
pub(super) async fn answer<T, F, W>(app: &App, headers: &HeaderMap, render: W) -> Response
where
    T: Template + Send,
    F: Future<Output = Result<T, Response>> + Send,
    W: Fn(App, HeaderMap) -> F + Send + Sync + 'static,
{
    if !wants_stream(headers) {
        return render(app.clone(), headers.clone())
            .await
            .map_or_else(|refused| refused, |page| html(StatusCode::OK, &page));
    }
    let state = (app.clone(), headers.clone(), render, String::new());
    let events = stream::unfold(state, |(app, headers, render, last)| async move {
        let mut written = app.0.history.written();
        let mut first = last.is_empty();
        loop {
            if !first {
                tokio::select! {
                    () = tokio::time::sleep(AT_LEAST) => {}
                    () = app.0.stop.draining() => return None,
                }
                tokio::select! {
                    () = tokio::time::sleep(AT_MOST) => {}
                    Ok(()) = written.changed() => {}
                    () = app.0.stop.draining() => return None,
                }
            }
            first = false;
            let Ok(page) = render(app.clone(), headers.clone()).await else { return None };
            let Ok(text) = page.render() else { return None };
            if text != last {
                let event = Ok::<_, Infallible>(Event::default().data(&text));
                return Some((event, (app, headers, render, text)));
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
