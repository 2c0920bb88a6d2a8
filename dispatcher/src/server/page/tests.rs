//! The pages over real HTTP, on a history in memory.

use std::sync::Arc;
use std::time::Duration;

use crate::onboarding::{Customers, Stage};
use crate::server::Tokens;
use crate::server::tests::{Ground, local};
use bus::DeadLetterInfo;
use chrono::Utc;
use history::Run;
use job::{EventFacts, Failure, FailureClass, JobRun, Outcome, Report, State};

/// A run of a step that ended like this.
fn run(trigger: &str, customer: &str, name: &str, outcome: Outcome) -> JobRun {
    let now = Utc::now();
    let event = EventFacts {
        id: format!("event-of-{customer}"),
        event_type: String::new(),
        source: "knapscen.disco".to_owned(),
        subject: customer.to_owned(),
        nats_subject: trigger.trim_end_matches("-trigger").to_owned(),
        correlation_id: None,
        traceparent: None,
        flow_key: customer.to_owned(),
        flow_name: name.to_owned(),
        replay: 0,
        published_at: now,
        taken_at: now,
        attempt: 1,
        delivery: 1,
    };
    JobRun {
        trigger: trigger.to_owned(),
        namespace: "default".to_owned(),
        name: format!("{trigger}-{customer}"),
        image: "knapscen/save-customer:latest".to_owned(),
        event_hash: "0".to_owned(),
        event: Arc::new(event),
        handed_at: now,
        state: State::Ended {
            started_at: Some(now),
            ended_at: now,
            tries: 1,
            adopted: false,
            earlier: Vec::new(),
            outcome,
        },
    }
}

fn failed(message: &str) -> Outcome {
    let (message, report) = (message.to_owned(), Report::default());
    Outcome::Failed(Failure { class: FailureClass::PodFailurePolicy, exit_code: Some(65), message, report })
}

/// Returns when it is in the history, so that all parts of a page show it.
async fn written(ground: &Ground, run: JobRun) {
    ground.history.write_now(&[Run::of(&run)]).await.unwrap();
}

/// Waits until the page shows it.
async fn until(ground: &Ground, path: &str, text: &str) -> String {
    for _ in 0..400 {
        let page = ground.get(path).await.1;
        if page.contains(text) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{path} never shows {text}:\n{}", ground.get(path).await.1)
}

#[tokio::test]
async fn event_text_is_text_and_addresses_are_masked() {
    let ground = Ground::start(local()).await;
    let why = failed("<script>alert(1)</script> & \"more\" of ann@example.com");
    written(&ground, run("customer-saved-trigger", "c-1", "<script>alert(2)</script>", why)).await;
    let page = until(&ground, "/", "alert(2)").await;
    assert!(!page.contains("<script>") && !page.contains("ann@example.com"), "{page}");
    assert!(page.contains("a***@example.com"), "{page}");
}

#[tokio::test]
async fn the_flow_shows_every_step_of_the_manifests_with_its_numbers() {
    let ground = Ground::start(local()).await;
    let done = Outcome::Complete { report: Report::default() };
    for customer in ["c-1", "c-2"] {
        written(&ground, run("customer-saved-trigger", customer, "Acme", done.clone())).await;
    }
    let page =
        until(&ground, "/", "save-customer on customer-saved: 0 waiting, 0 running, 2 done, 0 failed").await;
    for step in ["register-corporate-customer", "save-user", "create-touchpoints", "customer-onboarded"] {
        assert!(page.contains(step), "{step}");
    }
}

#[tokio::test]
async fn every_answer_forbids_what_comes_from_outside() {
    let ground = Ground::start(local()).await;
    let answer = ground.head("/").await;
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let page = answer.text().await.unwrap();
    assert!(!page.contains("style=") && !page.contains("http://") && !page.contains("https://"), "{page}");
    for asset in ["/page/style.css", "/page/live.js", "/page/icon.svg"] {
        assert!(page.contains(asset) && ground.get(asset).await.0 == 200, "{asset}");
    }
}

#[tokio::test]
async fn a_name_that_was_made_to_resolve_to_loopback_sees_no_page() {
    let ground = Ground::start(local()).await;
    assert_eq!(ground.get_as("/", "evil.example:8080").await.status(), 421);
    assert_eq!(ground.get_as("/", "localhost:8080").await.status(), 200);
}

#[tokio::test]
async fn a_page_that_is_followed_comes_again_when_something_happens() {
    let ground = Ground::start(local()).await;
    let mut stream = ground.stream("/").await;
    let mut text = String::new();
    let mut recorded = false;
    while !text.contains("Newcomer") {
        let chunk = tokio::time::timeout(Duration::from_secs(30), stream.chunk()).await.unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
        if !recorded && text.contains("</html>") {
            assert!(!text.contains("Newcomer"));
            ground.history.record(&run("customer-saved-trigger", "c-1", "Newcomer", failed("no")));
            recorded = true;
        }
    }
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with("data:") || line.starts_with(':')));
}

const TOKEN: &str = "the-admin-token";

fn guarded() -> Tokens {
    Tokens { admin: Some(TOKEN.to_owned().into()), ..local() }
}

/// Logs in, and returns the cookie as a browser would send it.
async fn log_in(ground: &Ground, token: &str) -> Option<String> {
    let form = [("name", "Ann"), ("token", token), ("next", "/dead-letters")];
    let answer = ground.send("/login", None, &form).await;
    let cookie = answer.headers().get("set-cookie")?.to_str().unwrap().to_owned();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (303, &"/dead-letters".parse().unwrap())
    );
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN),
        "{cookie}"
    );
    Some(cookie.split(';').next().unwrap().to_owned())
}

/// The token in the forms of a page.
fn form_word(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"word\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn only_the_admin_token_opens_a_session_and_addresses() {
    let ground = Ground::start(guarded()).await;
    written(&ground, run("customer-saved-trigger", "c-1", "Acme", failed("ann@example.com is taken"))).await;
    let page = until(&ground, "/customers", "Acme").await;
    assert!(page.contains("a***@example.com") && !page.contains("ann@example.com"), "{page}");
    assert_eq!(log_in(&ground, "wrong").await, None);
    let cookie = log_in(&ground, TOKEN).await.unwrap();
    let page = ground.with_cookie("/customers", &cookie).await.1;
    assert!(page.contains("ann@example.com"), "{page}");
    let forged = cookie.replace('.', "-");
    assert!(!ground.with_cookie("/customers", &forged).await.1.contains("ann@example.com"));
}

#[tokio::test]
async fn a_dead_letter_is_replayed_by_an_operator_and_by_no_forged_form() {
    let ground = Ground::start(guarded()).await;
    let number = ground.dead_letter("bad <b>tier</b>").await.to_string();
    let list = ground.get("/dead-letters").await.1;
    assert!(list.contains("bad &#60;b&#62;tier&#60;/b&#62;") && !list.contains("name=\"word\""), "{list}");
    let cookie = log_in(&ground, TOKEN).await.unwrap();
    let word = form_word(&ground.with_cookie("/dead-letters", &cookie).await.1);
    let replay = |word| [("word", word), ("action", "replay"), ("number", number.as_str())];
    let send = async |cookie, word| ground.send("/dead-letters", cookie, &replay(word)).await;
    let anonymous = send(None, word.as_str()).await;
    assert!(anonymous.headers()["location"].to_str().unwrap().starts_with("/login?next="));
    assert_eq!(send(Some(cookie.as_str()), "").await.status(), 403);
    assert_eq!(send(Some(cookie.as_str()), "guess").await.status(), 403);
    let cross = ground.send_from("cross-site", "/dead-letters", &cookie, &replay(&word)).await;
    assert_eq!((cross.status().as_u16(), ground.bus.dead_letter_count().await.unwrap()), (403, 1));
    let done = send(Some(cookie.as_str()), word.as_str()).await;
    assert_eq!((done.status().as_u16(), ground.bus.dead_letter_count().await.unwrap()), (303, 0));
    let after = ground.with_cookie(done.headers()["location"].to_str().unwrap(), &cookie).await.1;
    assert!(after.contains("1 dead letter replayed.") && after.contains("replay no. "), "{after}");
    let acts = ground.history.acts(10).await.unwrap();
    let told: Vec<_> =
        acts.iter().map(|act| (act.operator.as_str(), act.address.as_str(), act.outcome.as_str())).collect();
    assert_eq!(told, [("Ann", "127.0.0.1", "done")]);
}

#[tokio::test]
async fn all_that_match_are_dropped_and_nothing_else() {
    let ground = Ground::start(guarded()).await;
    for reason in ["no tier", "no vendor", "no tier at all"] {
        ground.dead_letter(reason).await;
    }
    let cookie = log_in(&ground, TOKEN).await.unwrap();
    let word = form_word(&ground.with_cookie("/dead-letters?reason=tier", &cookie).await.1);
    let form = [("word", word.as_str()), ("action", "drop"), ("reason", "tier"), ("sure", "yes")];
    assert_eq!(ground.send("/dead-letters", Some(&cookie), &form[..3]).await.status(), 400);
    assert_eq!(ground.bus.dead_letter_count().await.unwrap(), 3);
    assert_eq!(ground.send("/dead-letters", Some(&cookie), &form).await.status(), 303);
    assert_eq!(ground.bus.dead_letter_count().await.unwrap(), 1);
    assert!(ground.get("/dead-letters").await.1.contains("no vendor"));
    assert_eq!(ground.history.acts(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_customer_shows_its_steps_and_what_is_still_to_come() {
    let ground = Ground::start(local()).await;
    let report = Report::from_text(
        r#"{"step":"send-welcome-email","outcome":"done","message_id":"<w-1@knapscen.disco>","timings_ms":{"act":12.5}}"#,
    );
    let welcome = run("welcome-email-sent-trigger", "c/1 ?", "Acme", Outcome::Complete { report });
    written(&ground, welcome).await;
    let page = until(&ground, "/customers/c%2F1%20%3F", "Acme").await;
    for part in [
        "&#60;w-1@knapscen.disco&#62;",
        "act 12.5 ms",
        "exit code",
        "began after",
        "not yet",
        "order-swag",
        "Logs of the Job",
    ] {
        assert!(page.replace("w***@", "w-1@").contains(part), "{part}\n{page}");
    }
    assert_eq!(ground.get("/customers/nobody").await.0, 404);
    let logs = page.split("href=\"").find(|part| part.starts_with("/runs/")).unwrap();
    let refused = ground.head(logs.split('"').next().unwrap()).await;
    assert!(refused.text().await.unwrap().contains("Log in"), "logs are for operators");
}

#[tokio::test]
async fn a_pasted_event_is_explained() {
    let ground = Ground::start(local()).await;
    let page = ground.get("/triggers").await.1;
    assert!(
        page.contains("user-saved-trigger") && page.contains("never, as far as the history goes"),
        "{page}"
    );
    let event = r#"{"specversion":"1.0","id":"1","source":"x","type":"foreign<i>"}"#;
    let answer = ground.send("/triggers", None, &[("event", event), ("subject", "elsewhere")]).await;
    let page = answer.text().await.unwrap();
    assert!(page.contains("no EventSource matches") && page.contains("foreign&#60;i&#62;"), "{page}");
    let answer = ground.send("/triggers", None, &[("event", "{}"), ("subject", "")]).await;
    assert!(answer.text().await.unwrap().contains("this is no event"));
}

/// A letter for the customer's event that has just failed.
async fn bury(ground: &Ground, customer: &str, reason: &str, event: &str) -> u64 {
    let info = DeadLetterInfo {
        failure: Failure { message: reason.to_owned(), ..Failure::default() },
        flow_key: customer.to_owned(),
        event_id: format!("event-of-{customer}"),
        ..DeadLetterInfo::default()
    };
    ground.dead_letter_of(&info, event).await
}

#[tokio::test]
async fn no_search_of_an_anonymous_visitor_spells_out_what_is_masked() {
    let ground = Ground::start(guarded()).await;
    bury(&ground, "c-1", "ann@example.com is taken", r#"{"email":"ann@example.com"}"#).await;
    written(&ground, run("customer-saved-trigger", "c-1", "Of bob@example.com", failed("no"))).await;
    until(&ground, "/customers", "Of b***@example.com").await;
    let cookie = log_in(&ground, TOKEN).await.unwrap();
    for (path, found) in [
        ("/dead-letters?customer=ann%40", "no. 1"),
        ("/dead-letters?reason=nn%40exam", "no. 1"),
        ("/customers?q=bob%40", "Of bob@example.com"),
    ] {
        assert!(!ground.get(path).await.1.contains(found), "{path}");
        assert!(!ground.get(path).await.1.contains("Of b***"), "{path}");
        assert!(ground.with_cookie(path, &cookie).await.1.contains(found), "{path}");
    }
    for path in ["/dead-letters?customer=c-1", "/dead-letters?reason=a***%40example"] {
        assert!(ground.get(path).await.1.contains("no. 1"), "{path}");
    }
    assert!(ground.get("/customers?q=example").await.1.contains("Of b***@example.com"));
}

#[tokio::test]
async fn addresses_are_masked_wherever_an_event_puts_them() {
    let ground = Ground::start(guarded()).await;
    let (customer, name) = ("ann@example.com", "\"ann smith\"@example.com");
    let fail =
        async |trigger| written(&ground, run(trigger, customer, name, failed("ann@example.com"))).await;
    fail("customer-saved-trigger").await;
    bury(&ground, customer, "ann@example.com", "x").await;
    until(&ground, "/", "***@example.com").await;
    let cookie = log_in(&ground, TOKEN).await.unwrap();
    let number = bury(&ground, customer, "ann@example.com", "x").await.to_string();
    let word = form_word(&ground.with_cookie("/dead-letters", &cookie).await.1);
    let form = [("word", word.as_str()), ("action", "drop"), ("number", number.as_str()), ("sure", "yes")];
    assert_eq!(ground.send("/dead-letters", Some(&cookie), &form).await.status(), 303);
    fail("user-saved-trigger").await;
    until(&ground, "/triggers", "a***@example.com").await;
    let pages =
        ["/", "/customers", "/customers/ann%40example.com", "/dead-letters", "/dead-letters/2", "/triggers"];
    for path in pages {
        let page = ground.get(path).await.1;
        for part in ["ann@", "ann%40", "ann smith"] {
            assert!(!page.contains(part), "{path} tells {part}:\n{page}");
        }
    }
    let (status, page) = ground.with_cookie("/customers", &cookie).await;
    assert!(page.contains("ann%40example.com"), "{status}\n{page}");
}

#[tokio::test]
async fn a_drop_is_asked_for_once_more_and_its_customer_is_stuck_no_more() {
    let ground = Ground::start(guarded()).await;
    written(&ground, run("customer-saved-trigger", "c-1", "Acme", failed("no such tier"))).await;
    until(&ground, "/customers?stage=stuck", "Acme").await;
    let number = bury(&ground, "c-1", "no such tier", "x").await.to_string();
    let cookie = log_in(&ground, TOKEN).await.unwrap();
    let word = form_word(&ground.with_cookie("/dead-letters", &cookie).await.1);
    let form = [("word", word.as_str()), ("action", "drop"), ("number", number.as_str()), ("sure", "yes")];
    let asked = ground.send("/dead-letters", Some(&cookie), &form[..3]).await.text().await.unwrap();
    assert!(asked.contains("Drop this event for good?") && asked.contains("no such tier"), "{asked}");
    assert_eq!(ground.bus.dead_letter_count().await.unwrap(), 1);
    assert_eq!(ground.send("/dead-letters", Some(&cookie), &form).await.status(), 303);
    assert_eq!(ground.bus.dead_letter_count().await.unwrap(), 0);
    assert_eq!(
        Customers::new(ground.history.clone()).one("c-1").await.unwrap().unwrap().stage,
        Stage::GivenUp
    );
    assert!(!ground.get("/customers?stage=stuck").await.1.contains("Acme"));
    let page = ground.get("/customers/c-1").await.1;
    assert!(page.contains("given up") && page.contains("failed, dropped"), "{page}");
    let metrics = ground.get("/metrics").await.1;
    for line in ["dispatcher_customers{stage=\"stuck\"} 0", "dispatcher_customers{stage=\"given_up\"} 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn a_search_that_is_followed_sees_letters_come_and_go() {
    let ground = Ground::start(local()).await;
    let mut stream = ground.stream("/dead-letters?reason=tier").await;
    let mut text = String::new();
    let mut buried = false;
    while !text.contains("no tier") {
        let chunk = tokio::time::timeout(Duration::from_secs(30), stream.chunk()).await.unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
        if !buried && text.contains("</html>") {
            ground.dead_letter("no tier").await;
            buried = true;
        }
    }
}
