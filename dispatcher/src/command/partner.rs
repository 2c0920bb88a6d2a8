//! `dispatcher partner`: stands for the swag vendor, the marketing webhook and the CRM where there are none of them.
//!
//! Takes JSON by `POST` to `/orders`, `/marketing` and `/crm`, and keeps each body in a file named by its idempotency key. Shows
//! all of them at `/`, and as JSON at `/received`.

use std::net::SocketAddr;
use std::path::{Path as FilePath, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::error::{Error, Result};
use tokio::net::TcpListener;

use super::{print, service};

const PLACES: [&str; 3] = ["orders", "marketing", "crm"];

/// Reads the page's data from `/received` and sets it as text, never as HTML.
const PAGE: &str = include_str!("partner/page.html");
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

/// Stand for vendor, webhook and CRM: keep what is posted and show it
#[derive(clap::Args)]
#[command(
    after_help = "Takes POST /orders, /marketing and /crm with an Idempotency-Key; the same key is the same order, and is kept once.\n\
    Asks for no token and has no TLS: it is for tries, not for the open network."
)]
pub(super) struct Arguments {
    /// Address of the HTTP server
    #[arg(long, env = "PARTNER_LISTEN", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Folder for what is posted; made if it is not there
    #[arg(long, env = "PARTNER_FOLDER", default_value = "partner-received")]
    folder: PathBuf,
}

#[cfg(test)]
impl Arguments {
    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let address = start(arguments.listen, &arguments.folder).await?;
    print::line(format!(
        "vendor, webhook and CRM: http://{address}/, kept in {}",
        arguments.folder.display()
    ));
    service::signalled().await?;
    Ok(ExitCode::SUCCESS)
}

/// Serves from now on; answers the address.
pub(super) async fn start(listen: SocketAddr, folder: &FilePath) -> Result<SocketAddr> {
    for place in PLACES {
        std::fs::create_dir_all(folder.join(place)).map_err(|error| {
            Error::configuration(format!("cannot write to the folder {}", folder.display())).because(error)
        })?;
    }
    let cannot =
        |error: std::io::Error| Error::configuration(format!("cannot listen on {listen}")).because(error);
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let router = Router::new()
        .route("/", get(|| async { ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(PAGE)) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/received", get(received))
        .route("/{place}", post(record))
        .with_state(folder.to_owned());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
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

async fn received(State(folder): State<PathBuf>) -> impl IntoResponse {
    match tokio::task::spawn_blocking(move || read(&folder)).await {
        Ok(Ok(all)) => Json(Value::Array(all)).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// All that is kept, newest first: place, key, seconds since 1970, body.
fn read(folder: &FilePath) -> std::io::Result<Vec<Value>> {
    let mut all = Vec::new();
    for place in PLACES {
        for entry in std::fs::read_dir(folder.join(place))? {
            let entry = entry?;
            let at = entry.metadata()?.modified()?;
            let body: Value = serde_json::from_slice(&std::fs::read(entry.path())?).unwrap_or_default();
            let name = entry.file_name().to_string_lossy().into_owned();
            let key = name.trim_end_matches(".json").to_owned();
            all.push((at, json!({ "place": place, "key": key, "at": seconds(at), "body": body })));
        }
    }
    all.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    Ok(all.into_iter().map(|(_, one)| one).collect())
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn post_order(address: SocketAddr, place: &str, key: &str, body: &Value) -> u16 {
        shared::tls::install_provider();
        let client = super::super::publish::http_client(std::time::Duration::from_secs(10)).unwrap();
        let request = client.post(format!("http://{address}/{place}")).header("Idempotency-Key", key);
        request.json(body).send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn the_same_key_twice_is_one_order_and_a_place_or_key_that_is_not_safe_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let address = start("127.0.0.1:0".parse().unwrap(), folder.path()).await.unwrap();
        let order = json!({ "customer": "<script>" });
        for _ in 0..2 {
            assert_eq!(post_order(address, "orders", "a-1", &order).await, 201);
        }
        assert_eq!(post_order(address, "crm", "a-1", &order).await, 201);
        assert_eq!(post_order(address, "orders", "../../etc/passwd", &order).await, 400);
        assert_eq!(post_order(address, "elsewhere", "a-2", &order).await, 400);
        let all = read(folder.path()).unwrap();
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all.iter().all(|one| one["key"] == "a-1" && one["body"] == order), "{all:?}");
    }
}
