//! `dispatcher partner`: replaces the swag vendor, the marketing webhook and the CRM where these do not exist.
//!
//! Accepts JSON by `POST` to `/orders`, `/marketing` and `/crm`, and stores each body in a file named by its
//! idempotency key, with the number of repeats. Shows all of them at `/`, and as JSON at `/received`.

use std::net::SocketAddr;
use std::path::{Path as FilePath, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::config::shown;
use shared::error::{Error, Result};
use shared::private;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::{print, service};

const PLACES: [&str; 3] = ["orders", "marketing", "crm"];

/// The page reads its data from `/received`, and inserts it as text, never as HTML.
const PAGE: &str = include_str!("partner/page.html");
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

/// Stand for vendor, webhook and CRM: keep what is posted and show it
#[derive(clap::Args)]
#[command(
    after_help = "Takes POST /orders, /marketing and /crm with an Idempotency-Key; the same key is the same order, and is kept once.\n\
    The same key with another body is answered with 409, as vendors do.\n\
    Asks for no token and has no TLS: use it for trials, not on an open network."
)]
pub(super) struct Arguments {
    /// Address of the HTTP server
    #[arg(long, env = "PARTNER_LISTEN", default_value = "127.0.0.1:9000", value_parser = super::address::address)]
    listen: SocketAddr,
    /// Folder for what is posted; made if it is not there
    #[arg(long, env = "PARTNER_FOLDER", default_value = "partner-received")]
    folder: PathBuf,
}

/// What is stored for one key.
#[derive(Serialize, Deserialize)]
struct Kept {
    body: Value,
    /// How often the same body came again.
    repeats: u64,
    /// How often another body came, which was refused.
    conflicts: u64,
}

/// Held during a request, because stored bodies are read and then written.
type Folder = Arc<Mutex<PathBuf>>;

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let address = start(arguments.listen, &arguments.folder).await?;
    print::line(format!("vendor, webhook and CRM: http://{address}/, kept in {}", shown(&arguments.folder)));
    service::signalled().await?;
    Ok(ExitCode::SUCCESS)
}

/// Starts serving, and returns the address.
pub(super) async fn start(listen: SocketAddr, folder: &FilePath) -> Result<SocketAddr> {
    for place in PLACES {
        private::folder(&folder.join(place)).map_err(|error| {
            Error::configuration(format!("cannot write to the folder {}", shown(folder))).because(error)
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
        .with_state(Arc::new(Mutex::new(folder.to_owned())));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn record(
    State(folder): State<Folder>,
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
    let folder = folder.lock().await;
    match keep(&folder.join(&place).join(format!("{key}.json")), body) {
        Ok(true) => (StatusCode::CREATED, Json(json!({ "id": key }))),
        Ok(false) => (StatusCode::CONFLICT, Json(json!({ "error": "this key came with another body" }))),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() }))),
    }
}

/// Stores a body, or counts that it came again. False if the stored body is another one.
fn keep(file: &FilePath, body: Value) -> std::io::Result<bool> {
    let kept = match std::fs::read(file) {
        Ok(text) => {
            let mut kept: Kept = serde_json::from_slice(&text)?;
            let is_same = kept.body == body;
            *(if is_same { &mut kept.repeats } else { &mut kept.conflicts }) += 1;
            (kept, is_same)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (Kept { body, repeats: 0, conflicts: 0 }, true)
        }
        Err(error) => return Err(error),
    };
    private::write(file, &serde_json::to_vec_pretty(&kept.0)?)?;
    Ok(kept.1)
}

async fn received(State(folder): State<Folder>) -> impl IntoResponse {
    let folder = folder.lock_owned().await;
    match tokio::task::spawn_blocking(move || read(&folder)).await {
        Ok(Ok(all)) => Json(Value::Array(all)).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Everything stored, newest first: path, key, seconds since 1970, body, how often it came again, and how often
/// another body came.
fn read(folder: &FilePath) -> std::io::Result<Vec<Value>> {
    let mut all = Vec::new();
    for place in PLACES {
        for entry in std::fs::read_dir(folder.join(place))? {
            let entry = entry?;
            let at = entry.metadata()?.modified()?;
            let Kept { body, repeats, conflicts } = serde_json::from_slice(&std::fs::read(entry.path())?)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let key = name.trim_end_matches(".json").to_owned();
            let one = json!({
                "place": place, "key": key, "at": seconds(at), "body": body, "repeats": repeats, "conflicts": conflicts,
            });
            all.push((at, one));
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
    async fn the_same_key_twice_is_one_order_and_what_is_not_the_same_or_not_safe_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let address = start("127.0.0.1:0".parse().unwrap(), folder.path()).await.unwrap();
        let order = json!({ "customer": "<script>" });
        for _ in 0..2 {
            assert_eq!(post_order(address, "orders", "a-1", &order).await, 201);
        }
        assert_eq!(post_order(address, "orders", "a-1", &json!({ "customer": "another" })).await, 409);
        assert_eq!(post_order(address, "crm", "a-1", &order).await, 201);
        assert_eq!(post_order(address, "orders", "../../etc/passwd", &order).await, 400);
        assert_eq!(post_order(address, "elsewhere", "a-2", &order).await, 400);
        let all = read(folder.path()).unwrap();
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all.iter().all(|one| one["key"] == "a-1" && one["body"] == order), "{all:?}");
        let counts = |place: &str| {
            let one = all.iter().find(|one| one["place"] == place).unwrap();
            (one["repeats"].as_u64(), one["conflicts"].as_u64())
        };
        assert_eq!((counts("orders"), counts("crm")), ((Some(1), Some(1)), (Some(0), Some(0))));
    }
}
