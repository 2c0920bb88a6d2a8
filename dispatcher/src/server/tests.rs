//! The server over real HTTP, on the embedded bus.

mod slow;

use std::path::Path;

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::page::encoded;
use super::*;
use crate::manifest;
use backend::Recording;
use bus::{Access, DeadLetterInfo, Delivery, Filter, Message, Settings};
use history::Keep;
use job::stop::{Stopper, channel};
use job::{Failure, FailureClass};

const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

/// A running server.
pub(super) struct Ground {
    _folder: TempDir,
    pub(super) bus: Bus,
    pub(super) history: History,
    url: String,
    client: Client,
    _stopper: Stopper,
}

impl Ground {
    pub(super) async fn start(tokens: Tokens) -> Self {
        Self::start_at_most(usize::MAX, tokens).await
    }

    /// With this many connections at the same time.
    async fn start_at_most(connections: usize, tokens: Tokens) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus =
            Bus::open(&Settings::embedded(folder.path().join("queue.db")), Access::Consume).await.unwrap();
        let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
        let rules = Rules::new(manifest::load(&events).unwrap());
        bus.ensure_subjects(&rules.subjects()).await.unwrap();
        let metrics = Metrics::default();
        let backend = Backend::Recording(Recording::default());
        let history = History::in_memory(Keep::days(1)).await.unwrap();
        let (stopper, stop) = channel();
        tokio::spawn(write(history.clone(), stop.clone()));
        let app = App::new(AppParts {
            bus: bus.clone(),
            backend,
            rules,
            metrics,
            parked: Parked::new(Duration::from_mins(1)),
            history: history.clone(),
            cluster: Cluster::default(),
            policy: crate::plan::Policy::default(),
            tokens,
            stop: stop.clone(),
        });
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(connection::serve_at_most(connections, listener, app.router(), stop));
        shared::tls::install_provider();
        Self { _folder: folder, bus, history, url, client: Client::new(), _stopper: stopper }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        answer(self.client.get(format!("{}{path}", self.url))).await
    }

    /// The status of an answer over a connection of its own.
    async fn fresh(&self, path: &str) -> u16 {
        Client::new().get(format!("{}{path}", self.url)).send().await.unwrap().status().as_u16()
    }

    /// The cookie of a new session.
    async fn logged_in(&self, token: &str) -> String {
        let answer = self.send("/login", None, &[("token", token), ("name", "Ann")]).await;
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    pub(super) async fn head(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub(super) async fn get_as(&self, path: &str, host: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.url)).header("Host", host).send().await.unwrap()
    }

    pub(super) async fn with_cookie(&self, path: &str, cookie: &str) -> (u16, String) {
        answer(self.client.get(format!("{}{path}", self.url)).header("Cookie", cookie)).await
    }

    /// Posts a form like a browser, and does not follow the redirect.
    pub(super) async fn send(
        &self,
        path: &str,
        cookie: Option<&str>,
        form: &[(&str, &str)],
    ) -> reqwest::Response {
        self.form(path, form).header("Cookie", cookie.unwrap_or_default()).send().await.unwrap()
    }

    /// The same, from a browser that says which kind of site sent the form.
    pub(super) async fn send_from(
        &self,
        site: &str,
        path: &str,
        cookie: &str,
        form: &[(&str, &str)],
    ) -> reqwest::Response {
        self.form(path, form).header("Cookie", cookie).header("Sec-Fetch-Site", site).send().await.unwrap()
    }

    fn form(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let pairs: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        client
            .post(format!("{}{path}", self.url))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(pairs.join("&"))
    }

    pub(super) async fn stream(&self, path: &str) -> reqwest::Response {
        let request = self.client.get(format!("{}{path}", self.url)).header("Accept", "text/event-stream");
        request.send().await.unwrap()
    }

    async fn taken(&self, subject: &str) -> Delivery {
        self.bus.fetch(subject, 1).await.unwrap().remove(0)
    }

    /// The number of admin requests that a connection was answered before it was closed.
    pub(super) fn ask_and_go(&self, method: &str, path: &str, token: &str) {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut connection = std::net::TcpStream::connect(address).unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
        std::io::Write::write_all(&mut connection, request.as_bytes()).unwrap();
    }

    pub(super) async fn dead_letter(&self, reason: &str) -> u64 {
        let info =
            DeadLetterInfo { failure: Failure::new(FailureClass::Bug, reason), ..DeadLetterInfo::default() };
        self.dead_letter_of(&info, "x").await
    }

    pub(super) async fn dead_letter_of(&self, info: &DeadLetterInfo, payload: &str) -> u64 {
        let payload = payload.to_owned().into();
        let message = Message { subject: "customer-saved".to_owned(), payload, ..Message::default() };
        self.bus.publish(message).await.unwrap();
        let delivery = self.taken("customer-saved").await;
        self.bus.dead_letter(&delivery, info).await.unwrap();
        delivery.term().await.unwrap();
        self.bus.dead_letters(&Filter::default()).await.unwrap().letters[0].number
    }
}

async fn write(history: History, stop: Stop) {
    history.write(stop).await;
}

async fn answer(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

pub(super) fn local() -> Tokens {
    Tokens { loopback: true, ..Tokens::default() }
}

fn remote(events: Option<&str>, admin: Option<&str>) -> Tokens {
    let token = |text: &str| shared::config::Secret::from(text.to_owned());
    Tokens { events: events.map(token), admin: admin.map(token), ..Tokens::default() }
}

fn event() -> Value {
    json!({"specversion": "1.0", "id": "e-1", "source": "knapscen.disco", "type": "disco.knapscen.customer.saved",
        "subject": "c-1", "datacontenttype": "application/json", "data": {"name": "Acme"}})
}

#[tokio::test]
async fn a_structured_event_is_on_the_bus_when_it_is_accepted() {
    let ground = Ground::start(local()).await;
    let request = ground.post("/events").header("Content-Type", STRUCTURED).body(event().to_string());
    assert_eq!(answer(request).await.0, 202);
    let delivery = ground.taken("customer-saved").await;
    assert_eq!(serde_json::from_slice::<Value>(&delivery.payload).unwrap(), event());
}

#[tokio::test]
async fn a_binary_event_is_on_the_bus_as_a_structured_one() {
    let ground = Ground::start(local()).await;
    let mut request = ground.post("/events").header("Content-Type", "application/json");
    for name in ["specversion", "id", "source", "type", "subject"] {
        request = request.header(format!("ce-{name}"), event()[name].as_str().unwrap());
    }
    assert_eq!(answer(request.body(r#"{"name":"Acme"}"#)).await.0, 202);
    let delivery = ground.taken("customer-saved").await;
    assert_eq!(serde_json::from_slice::<Value>(&delivery.payload).unwrap(), event());
}

#[tokio::test]
async fn an_attribute_beyond_ascii_is_kept_and_one_that_cannot_be_read_is_named() {
    let ground = Ground::start(local()).await;
    let post = |extra: &[(&'static str, &[u8])]| {
        let mut request = ground.post("/events").header("X-Other", &b"caf\xe9"[..]);
        for name in ["specversion", "id", "source", "type"] {
            if !extra.iter().any(|(given, _)| *given == format!("ce-{name}")) {
                request = request.header(format!("ce-{name}"), event()[name].as_str().unwrap());
            }
        }
        answer(extra.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    };
    for (extra, said) in [
        (&[("ce-subject", &b"M\xfcller"[..])][..], "ce-subject is not UTF-8"),
        (&[("ce-id", b"b\xe9")], "ce-id is not UTF-8"),
        (&[("content-type", b"text/\xe9")], "content-type is not UTF-8"),
        (&[("ce-subject", b"a"), ("ce-subject", b"b")], "its subject is given twice"),
    ] {
        let (status, text) = post(extra).await;
        assert!(status == 400 && text.contains(said), "{status} {text}");
    }
    let utf8 = [("ce-id", "bé"), ("ce-subject", "Müller"), ("ce-comment", "grün")];
    assert_eq!(post(&utf8.map(|(name, value)| (name, value.as_bytes()))).await.0, 202);
    let delivery = ground.taken("customer-saved").await;
    let stored: Value = serde_json::from_slice(&delivery.payload).unwrap();
    for (name, value) in utf8 {
        assert_eq!(stored[name.trim_start_matches("ce-")], value);
    }
}

#[tokio::test]
async fn the_same_event_twice_is_on_the_bus_once() {
    let ground = Ground::start(local()).await;
    for _ in 0..2 {
        let request = ground.post("/events").header("Content-Type", STRUCTURED).body(event().to_string());
        assert_eq!(answer(request).await.0, 202);
    }
    assert_eq!(ground.bus.fetch("customer-saved", 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_an_event_is_refused_with_a_reason() {
    let ground = Ground::start(local()).await;
    let post = |path: &str, body: String| ground.post(path).header("Content-Type", STRUCTURED).body(body);
    for body in ["not json".to_owned(), "{}".to_owned(), "[]".to_owned(), String::new()] {
        let (status, text) = answer(post("/events", body.clone())).await;
        assert_eq!((status, text.trim().is_empty()), (400, false), "{body}");
    }
    let mut other = event();
    other["type"] = json!("some.other.type");
    let (status, text) = answer(post("/events", other.to_string())).await;
    assert!(status == 400 && text.contains("?subject=NAME"), "{status} {text}");
    let (status, text) = answer(post("/events?subject=nobody-takes-this", other.to_string())).await;
    assert!(status == 400 && text.contains("nobody-takes-this"), "{status} {text}");
    let (status, _) = answer(post("/events?subject=a.*", other.to_string())).await;
    assert_eq!(status, 400);
    assert_eq!(answer(post("/events?subject=customer-saved", other.to_string())).await.0, 202);
}

#[tokio::test]
async fn an_event_that_no_job_can_be_given_is_refused_with_the_limit() {
    let ground = Ground::start(local()).await;
    for (bytes, status) in [(130 << 10, 413), (200 << 10, 413), (2 << 20, 413), (127 << 10, 202)] {
        let mut large = event();
        large["data"]["name"] = json!("x".repeat(bytes));
        let request = ground.post("/events").header("Content-Type", STRUCTURED).body(large.to_string());
        let (answered, text) = answer(request).await;
        assert_eq!(answered, status, "{bytes}: {text}");
        assert!(status == 202 || text.contains("128 KiB (131072 bytes)"), "{bytes}: {text}");
    }
}

#[tokio::test]
async fn beyond_loopback_events_need_a_token() {
    for (tokens, sent, expected) in [
        (remote(None, None), None, 403),
        (remote(Some("s3cret"), None), None, 401),
        (remote(Some("s3cret"), None), Some("wrong"), 401),
        (remote(Some("s3cret"), None), Some("s3cret"), 202),
    ] {
        let ground = Ground::start(tokens).await;
        let mut request = ground.post("/events").header("Content-Type", STRUCTURED).body(event().to_string());
        if let Some(token) = sent {
            request = request.bearer_auth(token);
        }
        assert_eq!(answer(request).await.0, expected, "{sent:?}");
    }
}

#[tokio::test]
async fn the_handshake_of_a_webhook_sender_is_answered_where_events_are_taken() {
    let sender = "eventemitter.example.com";
    for (tokens, asked, allowed) in [
        (local(), Some(sender), Some(sender)),
        (remote(Some("s3cret"), None), Some(sender), Some(sender)),
        (remote(Some("s3cret"), None), None, None),
        (remote(None, None), Some(sender), None),
    ] {
        let ground = Ground::start(tokens).await;
        let mut request = ground.client.request(reqwest::Method::OPTIONS, format!("{}/events", ground.url));
        if let Some(sender) = asked {
            request = request.header("WebHook-Request-Origin", sender).header("WebHook-Request-Rate", "120");
        }
        let response = request.send().await.unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(response.status(), 200);
        assert_eq!(header("allow").as_deref(), Some("POST, OPTIONS"));
        assert_eq!(header("webhook-allowed-origin").as_deref(), allowed);
        assert_eq!(header("webhook-allowed-rate").as_deref(), allowed.map(|_| "*"));
        assert_eq!(header("access-control-allow-origin"), None);
    }
    // Whoever has our consent says who it is with each event.
    let ground = Ground::start(local()).await;
    let post = ground.post("/events").header("Content-Type", STRUCTURED).header("Origin", sender);
    assert_eq!(answer(post.body(event().to_string())).await.0, 202);
}

#[tokio::test]
async fn dead_letters_need_the_admin_token() {
    let ground = Ground::start(remote(Some("events"), Some("admin"))).await;
    let number = ground.dead_letter("bad").await;
    let replay = || ground.post(&format!("/api/dead-letters/{number}/replay"));
    assert_eq!(answer(replay()).await.0, 401);
    assert_eq!(answer(replay().bearer_auth("events")).await.0, 401);
    assert_eq!(ground.get("/api/dead-letters").await.0, 401);
    assert_eq!(ground.bus.dead_letter_count().await.unwrap(), 1);
    assert_eq!(answer(replay().bearer_auth("admin")).await.0, 200);
    assert_eq!(answer(replay().bearer_auth("admin")).await.0, 404);
    assert_eq!(ground.bus.dead_letter_count().await.unwrap(), 0);
    assert_eq!(ground.taken("customer-saved").await.replay, 1);
}

#[tokio::test]
async fn a_dead_letter_over_http_steers_no_terminal_and_is_whole() {
    let ground = Ground::start(remote(None, Some("the-admin-token"))).await;
    let payload = "a\u{9b}31m\u{7f}\u{202e}\u{2028}z";
    let number = ground.dead_letter_of(&DeadLetterInfo::default(), payload).await;
    for path in ["/api/dead-letters".to_owned(), format!("/api/dead-letters/{number}")] {
        let request = ground.client.get(format!("{}{path}", ground.url)).bearer_auth("the-admin-token");
        let (status, body) = answer(request).await;
        assert_eq!(status, 200);
        assert!(!body.contains(['\u{9b}', '\u{7f}', '\u{202e}', '\u{2028}']), "{body}");
        let value: Value = serde_json::from_str(&body).unwrap();
        let letter = value.pointer("/dead_letters/0").unwrap_or(&value);
        assert_eq!(letter["payload"], payload);
    }
}

#[tokio::test]
async fn on_loopback_too_dead_letters_are_for_the_admin_token() {
    let open = Ground::start(local()).await;
    open.dead_letter("bad").await;
    assert_eq!(open.get("/api/dead-letters").await.0, 403);
    assert_eq!(answer(open.post("/api/dead-letters/1/replay")).await.0, 403);
    assert_eq!(answer(open.client.delete(format!("{}/api/dead-letters/1", open.url))).await.0, 403);
    assert_eq!(open.bus.dead_letter_count().await.unwrap(), 1);

    let ground = Ground::start(Tokens { admin: Some("admin".to_owned().into()), ..local() }).await;
    let number = ground.dead_letter("bad").await;
    let path = format!("{}/api/dead-letters", ground.url);
    let one = format!("{path}/{number}");
    assert_eq!(answer(ground.client.get(&path)).await.0, 401);
    let (status, text) = answer(ground.client.get(&path).bearer_auth("admin")).await;
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &listed["dead_letters"][0]["reason"]), (200, &json!("bad")));
    let shown: Value =
        serde_json::from_str(&answer(ground.client.get(&one).bearer_auth("admin")).await.1).unwrap();
    assert_eq!((&shown["payload"], &shown["subject"]), (&json!("x"), &json!("customer-saved")));
    let drop = || ground.client.delete(&one).bearer_auth("admin");
    assert_eq!((answer(drop()).await.0, answer(drop()).await.0), (204, 404));
}

#[tokio::test]
async fn what_an_operator_asked_for_is_done_and_written_down_though_nobody_waits_for_it() {
    let ground = Ground::start(remote(None, Some("admin"))).await;
    for _ in 0..5 {
        let number = ground.dead_letter("bad").await;
        ground.ask_and_go("DELETE", &format!("/api/dead-letters/{number}"), "admin");
        let limit = std::time::Instant::now() + Duration::from_secs(20);
        while ground.bus.dead_letter_count().await.unwrap() > 0 {
            assert!(std::time::Instant::now() < limit, "it was not dropped");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while !ground.history.acts(10).await.unwrap().iter().any(|act| act.dead_letter == number) {
            assert!(std::time::Instant::now() < limit, "it was not written down");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_name_that_was_made_to_resolve_to_loopback_is_not_loopback() {
    let ground = Ground::start(local()).await;
    let publish = |host: &str| {
        let request = ground.post("/events").header("Content-Type", STRUCTURED).header("Host", host);
        request.body(event().to_string())
    };
    assert_eq!(answer(publish("evil.example:8080")).await.0, 421);
    for host in ["localhost:8080", "127.0.0.1", "[::1]:8080"] {
        assert_eq!(answer(publish(host)).await.0, 202, "{host}");
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_answer() {
    let ground = Ground::start(remote(None, None)).await;
    assert_eq!(ground.get("/healthz").await, (200, "alive\n".to_owned()));
    drop(ground.bus.fetch("customer-saved", 1).await);
    assert_eq!(ground.get("/readyz").await, (200, "ready\n".to_owned()));
    let (status, text) = ground.get("/metrics").await;
    assert!(status == 200 && text.ends_with("# EOF\n") && text.contains("dispatcher_"), "{text}");
}
