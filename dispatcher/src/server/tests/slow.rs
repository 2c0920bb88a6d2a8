//! Clients that are slow, many, or unknown.

use std::io::ErrorKind;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// Longer than anything takes here, and shorter than any limit of the server.
const SOON: Duration = Duration::from_secs(5);

async fn connected(ground: &Ground, sent: &str) -> TcpStream {
    let address = ground.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(sent.replace("HOST", address).as_bytes()).await.unwrap();
    connection
}

/// The status of the answer to these bytes, although nothing follows them.
async fn status(ground: &Ground, sent: &str) -> u16 {
    let mut connection = connected(ground, sent).await;
    let mut answer = [0; 64];
    let length = tokio::time::timeout(SOON, connection.read(&mut answer)).await.expect(sent).unwrap();
    String::from_utf8_lossy(&answer[..length]).split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_stranger_is_answered_before_the_body_has_come() {
    let ground = Ground::start(remote(Some("events"), Some("admin"))).await;
    let form = "Content-Type: application/x-www-form-urlencoded";
    for (path, headers, length, expected) in [
        ("/events", "", 100, 401),
        ("/events", "Authorization: Bearer wrong", 100, 401),
        ("/events", "Authorization: Bearer events", 1 << 24, 413),
        ("/api/dead-letters/1/replay", "", 100, 401),
        ("/login", form, 1 << 20, 413),
        ("/logout", form, 100, 303),
        ("/dead-letters", form, 100, 303),
        ("/triggers", form, 100, 303),
        ("/nowhere", "", 100, 404),
        ("/healthz", "", 100, 405),
    ] {
        let sent =
            format!("POST {path} HTTP/1.1\r\nHost: HOST\r\n{headers}\r\nContent-Length: {length}\r\n\r\n");
        let sent = sent.replace("\r\n\r\nContent", "\r\nContent");
        assert_eq!(status(&ground, &sent).await, expected, "{path} {headers}");
    }
    let closed = Ground::start(remote(None, None)).await;
    let sent = "POST /events HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100\r\n\r\n";
    assert_eq!(status(&closed, sent).await, 403);
}

#[tokio::test]
async fn a_body_without_a_length_ends_at_the_limit() {
    let ground = Ground::start(local()).await;
    let sent = "POST /events HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut connection = connected(&ground, sent).await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let (mut from, mut to) = connection.split();
    let sending = async { while to.write_all(chunk.as_bytes()).await.is_ok() {} };
    let mut answer = [0; 64];
    let length = tokio::select! {
        biased; // the answer is there even if the connection is cut behind it
        read = from.read(&mut answer) => read.unwrap(),
        () = sending => panic!("it was cut without an answer"),
        () = tokio::time::sleep(SOON) => panic!("no answer"),
    };
    assert!(answer[..length].starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer[..length]));
}

#[tokio::test]
async fn slow_clients_of_every_kind_give_way() {
    let ground = Ground::start_at_most(8, remote(Some("events"), Some("admin"))).await;
    let kinds = [
        "",
        "GET / HTTP/1.1\r\nHost: HOST\r\n",
        "GET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "POST /events HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer events\r\nContent-Length: 100\r\n\r\nx",
        "POST /events HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer wrong\r\nContent-Length: 100\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n",
    ];
    for kind in kinds {
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(connected(&ground, kind).await);
        }
        let answered = tokio::time::timeout(SOON, ground.fresh("/healthz")).await;
        assert_eq!(answered.expect(kind), 200, "{kind}");
        // The first connection was ended.
        let mut first = held.swap_remove(0);
        let ended = async {
            let mut bytes = Vec::new();
            match first.read_to_end(&mut bytes).await {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{kind}"),
            }
        };
        tokio::time::timeout(SOON, ended).await.expect(kind);
    }
}

#[tokio::test]
async fn clients_that_want_many_answers_give_way_after_one() {
    let ground = Ground::start_at_most(8, remote(Some("events"), Some("admin"))).await;
    let many = "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n".repeat(1_000);
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(connected(&ground, &many).await);
        let answered = tokio::time::timeout(SOON, ground.fresh("/healthz")).await;
        assert_eq!(answered.expect("an answer"), 200);
    }
}

#[tokio::test]
async fn wrong_tokens_wait_and_the_right_one_does_not() {
    let ground = Arc::new(Ground::start(remote(Some("events"), Some("admin"))).await);
    let mut wrong = tokio::task::JoinSet::new();
    for number in 0..40 {
        let ground = Arc::clone(&ground);
        wrong.spawn(async move {
            if number % 2 == 0 {
                ground.send("/login", None, &[("token", "guess")]).await.status()
            } else {
                let request = ground.client.get(format!("{}/api/dead-letters", ground.url));
                request.bearer_auth("guess").send().await.unwrap().status()
            }
        });
    }
    assert_eq!(wrong.join_next().await.unwrap().unwrap(), StatusCode::UNAUTHORIZED);
    let right = ground.send("/login", None, &[("token", "admin")]).await;
    assert_eq!(right.status(), StatusCode::SEE_OTHER);
    let listed = ground.client.get(format!("{}/api/dead-letters", ground.url)).bearer_auth("admin");
    assert_eq!(listed.send().await.unwrap().status(), StatusCode::OK);
    let mut waiting = 0;
    while let Some(status) = wrong.join_next().now_or_never().flatten() {
        assert_eq!(status.unwrap(), StatusCode::UNAUTHORIZED);
        waiting += 1;
    }
    assert!(waiting < 39, "nothing waited");
}

#[tokio::test]
async fn a_logout_ends_the_session_and_no_other() {
    let ground = Ground::start(remote(None, Some("admin"))).await;
    let [mine, other] = [ground.logged_in("admin").await, ground.logged_in("admin").await];
    let (_, page) = ground.with_cookie("/dead-letters", &mine).await;
    let word = page.split("name=\"word\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(ground.send("/logout", Some(&mine), &[("word", &word)]).await.status(), 303);
    let knows = async |cookie: &str| ground.with_cookie("/", cookie).await.1.contains("/logout");
    assert!(!knows(&mine).await);
    assert!(knows(&other).await);
    assert_eq!(
        ground.send("/logout", Some(&mine), &[("word", &word)]).await.headers()["location"],
        "/login?next=%2F"
    );
}

#[tokio::test]
async fn no_page_answers_to_a_foreign_name_on_loopback() {
    let ground = Ground::start(Tokens { admin: Some("admin".to_owned().into()), ..local() }).await;
    for path in [
        "/",
        "/customers",
        "/customers/1",
        "/runs/1/logs",
        "/dead-letters",
        "/dead-letters/1",
        "/triggers",
        "/login",
        "/page/style.css",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/dead-letters",
        "/nowhere",
    ] {
        assert_eq!(ground.get_as(path, "evil.example").await.status(), 421, "{path}");
        assert_ne!(ground.get_as(path, "localhost").await.status(), 421, "{path}");
    }
    let cookie = ground.logged_in("admin").await;
    let request = ground.client.get(format!("{}/", ground.url)).header("Host", "evil.example");
    assert_eq!(request.header("Cookie", cookie).send().await.unwrap().status(), 200);
    let address = "GET http://evil.example/ HTTP/1.1\r\nHost: HOST\r\n\r\n";
    assert_eq!(status(&ground, address).await, 421);
}

#[tokio::test]
async fn one_address_follows_some_pages_and_an_operator_one_more() {
    let ground = Ground::start(remote(None, Some("admin"))).await;
    let mut followed = Vec::new();
    loop {
        let answer = ground.stream("/").await;
        if answer.status() != 200 {
            assert_eq!(answer.status(), 503);
            break;
        }
        followed.push(answer);
        assert!(followed.len() < 64, "nothing is left for others");
    }
    let cookie = ground.logged_in("admin").await;
    let request = ground.client.get(format!("{}/", ground.url)).header("Accept", "text/event-stream");
    assert_eq!(request.header("Cookie", cookie).send().await.unwrap().status(), 200);
    drop(followed);
    let free = async {
        while ground.stream("/").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, free).await.expect("no place is free again");
}
