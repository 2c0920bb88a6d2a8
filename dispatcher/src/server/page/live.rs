//! A page that follows what happens: server-sent events with the whole page anew, whenever it differs from the last.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::html;
use crate::server::App;

/// Streams at once; whoever comes later sees a page that does not change by itself.
pub(in crate::server) const STREAMS: usize = 64;

/// Between two looks at least so long,
const AT_LEAST: Duration = Duration::from_millis(500);
/// and at most so long: other dispatchers write as well.
const AT_MOST: Duration = Duration::from_secs(3);

/// The page once, or as a stream where the client asks for one.
pub(super) async fn answer<T, F, W>(app: &App, headers: &HeaderMap, render: W) -> Response
where
    T: Template + Send,
    F: Future<Output = Result<T, Response>> + Send,
    W: Fn(App, HeaderMap) -> F + Send + Sync + 'static,
{
    let wants_stream = headers
        .get(header::ACCEPT)
        .is_some_and(|kinds| kinds.as_bytes().windows(17).any(|kind| kind == b"text/event-stream"));
    if !wants_stream {
        return render(app.clone(), headers.clone())
            .await
            .map_or_else(|refused| refused, |page| html(StatusCode::OK, &page));
    }
    let Ok(permit) = Arc::clone(&app.0.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let state = (app.clone(), headers.clone(), render, String::new(), permit);
    let events = stream::unfold(state, |(app, headers, render, last, permit)| async move {
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
                return Some((event, (app, headers, render, text, permit)));
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
