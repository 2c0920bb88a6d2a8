//! The demo's vendor, webhook and CRM: a small HTTP server that writes each request to a file named by its key.

use std::path::PathBuf;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::error::{Error, Result};

const PLACES: [&str; 3] = ["orders", "marketing", "crm"];

/// Starts it; answers its address.
pub(super) async fn start(folder: &std::path::Path) -> Result<String> {
    let cannot =
        |error: std::io::Error| Error::configuration("cannot start the demo's vendor").because(error);
    for place in PLACES {
        std::fs::create_dir_all(folder.join(place)).map_err(cannot)?;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let router = Router::new().route("/{place}", post(record)).with_state(folder.to_owned());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}

async fn record(
    State(folder): State<PathBuf>,
    Path(place): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let key = headers.get("Idempotency-Key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let safe =
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'@' | b'.'));
    if !PLACES.contains(&place.as_str()) || !safe {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "unknown place or no Idempotency-Key" })));
    }
    let text = serde_json::to_vec_pretty(&body).unwrap_or_default();
    // The same key is the same order: it is written once more, not twice.
    match tokio::fs::write(folder.join(&place).join(format!("{key}.json")), text).await {
        Ok(()) => (StatusCode::CREATED, Json(json!({ "id": key }))),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() }))),
    }
}
