//! The bodies of requests. A body is read after the head was accepted, within a time limit and a size limit, and all
//! bodies together have a limited number of bytes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection;

/// How many bytes all bodies in memory may have.
const IN_FLIGHT: usize = 8 << 20;
/// How long a body waits for room.
const ROOM_WITHIN: Duration = Duration::from_secs(2);
/// How long a whole body may take.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The room for the bodies of all requests.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(IN_FLIGHT)))
    }
}

impl Room {
    /// The request with its body in memory and the room that it takes; or the answer that refuses it.
    pub(super) async fn read(
        &self,
        request: Request,
        most: usize,
    ) -> Result<(Request, OwnedSemaphorePermit), Response> {
        let size = request.body().size_hint();
        let announced = size.exact().or(Some(size.lower()).filter(|lower| *lower > most as u64));
        if announced.is_some_and(|bytes| bytes > most as u64) {
            return Err(too_large(most));
        }
        let wanted = announced.map_or(most, |bytes| usize::try_from(bytes).unwrap_or(most));
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let room = tokio::time::timeout(ROOM_WITHIN, Arc::clone(&self.0).acquire_many_owned(wanted)).await;
        let Ok(Ok(room)) = room else { return Err(no_room()) };
        let connection = connection::of(request.extensions());
        let (head, body) = request.into_parts();
        if let Some(connection) = &connection {
            connection.waits();
        }
        let read = tokio::time::timeout(READ_WITHIN, to_bytes(body, most)).await;
        if let Some(connection) = &connection {
            connection.works();
        }
        match read {
            Ok(Ok(bytes)) => Ok((Request::from_parts(head, Body::from(bytes)), room)),
            Ok(Err(_)) if announced.is_none() => Err(too_large(most)),
            Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body breaks off\n").into_response()),
            Err(_) => {
                let text = format!("the body did not come within {} s\n", READ_WITHIN.as_secs());
                Err((StatusCode::REQUEST_TIMEOUT, text).into_response())
            }
        }
    }
}

fn too_large(most: usize) -> Response {
    (StatusCode::PAYLOAD_TOO_LARGE, format!("the body may have {most} bytes at most\n")).into_response()
}

fn no_room() -> Response {
    let text = "too many requests are being read, try again\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], text).into_response()
}
