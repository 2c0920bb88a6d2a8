//! The dispatcher as operators use it: dead letters, replay, changing manifests, commands.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tests::nats::{Nats, STREAM};
use tests::program::{Program, binaries};
use tests::scratch::Scratch;
use tests::{http, port, vendor, wait};

use crate::system::{LIMIT, System, registration, shipped_events};

#[test]
fn a_refused_order_is_a_dead_letter_and_its_replay_ends_the_flow() {
    let system = System::start();
    let _dispatcher = system.dispatcher();
    system.vendor.set(vendor::Mode::Status(422));
    system.publish(&registration("Late Ltd"));
    // The marketing webhook is refused first: replay it, then the order, then the CRM.
    let letters = system.until_dead_letters(1);
    let number = letters[0]["number"].to_string();
    assert_eq!(letters[0]["subject"], "marketing-notified");
    assert!(letters[0]["reason"].to_string().contains("422"), "{}", letters[0]);
    let shown = system.command(&["dead-letters", "show", &number]).run_to(0);
    assert!(shown.output.contains("MARKETING_WEBHOOK_URL"), "{}", shown.output);
    let status = system.command(&["status"]).run_to(0);
    assert!(status.output.contains("  stuck  "), "{}", status.output);
    system.vendor.set(vendor::Mode::Ok);
    system.command(&["dead-letters", "replay", &number]).run_to(0);
    system.until_onboarded(1);
    system.check_books(1);
    system.command(&["dead-letters", "replay", &number]).run_to(65);
}

#[test]
fn what_is_no_event_is_a_dead_letter_whole_and_can_be_dropped() {
    let system = System::start();
    let _dispatcher = system.dispatcher();
    system.nats.publish_bytes("customer-saved", b"\xff\xfe not an event".to_vec());
    system.nats.publish(
        "customer-saved",
        &json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "hopcount": 33}),
    );
    let letters = system.until_dead_letters(2);
    // Both are under way at the same time, so either may be the first.
    assert!(letters.iter().any(|letter| letter["payload_base64"] == "//4gbm90IGFuIGV2ZW50"), "{letters:?}");
    assert!(letters.iter().any(|letter| letter["reason"].to_string().contains("hops")), "{letters:?}");
    system.command(&["dead-letters", "drop", "--all"]).run_to(0);
    assert_eq!(system.dead_letters().len(), 0);
}

#[test]
fn manifests_broken_while_running_are_refused_and_those_before_stay_in_force() {
    let system = System::start();
    let folder = Scratch::new("events");
    let events = folder.join("events");
    copy(&shipped_events(), &events);
    let dispatcher = system.dispatcher_with(&events, "state");
    let ready = || http::get(dispatcher.port, "/readyz").map(|answer| answer.body).unwrap_or_default();
    let trigger = events.join("user-saved/eventtrigger.yaml");
    let good = fs::read_to_string(&trigger).unwrap();
    fs::write(&trigger, good.replace("oneForEvent: true", "oneForEvent: false")).unwrap();
    wait::until(LIMIT, "the broken set is refused", || {
        let said = ready();
        (said.contains("refused") && said.contains("eventtrigger.yaml")).then_some(())
    });
    system.publish(&registration("Meanwhile Ltd"));
    system.until_onboarded(1);
    fs::write(&trigger, good).unwrap();
    wait::until(LIMIT, "the mended set is in force", || (!ready().contains("refused")).then_some(()));
    system.publish(&registration("Afterwards Ltd"));
    system.until_onboarded(2);
    system.check_books(2);
}

#[test]
fn a_secret_that_nobody_gives_is_named_and_the_events_wait_for_it() {
    let system = System::start();
    let port = port::free();
    let listen = format!("127.0.0.1:{port}");
    let run = system.command(&["run", "--state-dir", "state", "--listen", &listen, "--events"]);
    let mut lacking = run.argument(shipped_events()).argument("--bin-dir").argument(binaries()).start();
    let ready = || http::get(port, "/readyz").map(|answer| (answer.status, answer.body)).unwrap_or_default();
    lacking.process.until("names what is missing", || {
        let (status, body) = ready();
        (status == 503 && body.contains("Secret knapscen-config")).then_some(())
    });
    system.publish(&registration("Early Ltd"));
    wait::until(LIMIT, "the event is parked", || {
        ready().1.contains("on customer-registered wait").then_some(())
    });
    let page = http::get(port, "/").expect("the page").body;
    assert!(page.contains("--secret knapscen-config=PATH"), "{page}");
    let ended = lacking.terminate();
    assert!(ended.output.contains("start with --secret knapscen-config=PATH"), "{}", ended.output);
    assert_eq!(system.dead_letters().len(), 0);
    let _dispatcher = system.dispatcher();
    system.until_onboarded(1);
    system.check_books(1);
}

#[test]
fn generated_events_are_published_and_acknowledged() {
    let system = System::start();
    let dispatcher = system.dispatcher();
    let published = system.command(&["publish", "--generate", "2"]).run_to(0);
    assert!(published.output.contains("2 published"), "{}", published.output);
    let to = format!("http://127.0.0.1:{}/events", dispatcher.port);
    system.command(&["publish", "--generate", "1", "--to", &to]).run_to(0);
    let sample = shipped_events().join("customer-registered/sample.cloudevent");
    system.command(&["publish", sample.to_str().unwrap()]).run_to(0);
    system.until_onboarded(4);
    system.command(&["publish", "/nowhere.json"]).run_to(65);
    system
        .command(&["healthcheck", "--url", &format!("http://127.0.0.1:{}/healthz", dispatcher.port)])
        .run_to(0);
    system.command(&["healthcheck", "--url", "http://127.0.0.1:1/healthz"]).run_to(75);
}

#[test]
fn the_secret_of_sveltos_is_all_that_the_program_needs_to_reach_nats() {
    let nats = Nats::start_with_login("sveltos", "s3cret word");
    nats.create_stream();
    let scratch = Scratch::new("sveltos-nats");
    let secret = |password: &str| {
        let authorization = json!({"user": {"user": "sveltos", "password": password}});
        let streams = json!([{"name": STREAM, "subjects": ["customer-registered"]}]);
        let configuration = json!({"url": nats.url(), "streams": streams, "authorization": authorization});
        json!({"jetstream": {"configuration": configuration}}).to_string()
    };
    let file = scratch.write("sveltos-nats.json", &secret("s3cret word"));
    let publish = Program::dispatcher().argument("publish").argument("--generate").argument("2");
    let ended = publish.clone().argument("--sveltos-nats").argument(&file).run_to(0);
    assert!(ended.output.contains("2 published"), "{}", ended.output);
    assert_eq!(nats.events("customer-registered").len(), 2);
    let file = scratch.write("sveltos-nats.json", &secret("wr0ng"));
    let refused = publish.set("SVELTOS_NATS", &file.display()).run_to(78);
    assert!(
        refused.output.contains("SVELTOS_NATS") && !refused.output.contains("wr0ng"),
        "{}",
        refused.output
    );
}

#[test]
fn the_shipped_manifests_are_valid_and_exactly_21() {
    let ended = Program::dispatcher().argument("validate").argument(shipped_events()).run_to(0);
    assert!(ended.output.contains("7 EventSources, 7 EventTriggers, 7 ConfigMaps"), "{}", ended.output);
    let mut found = Vec::new();
    find(&shipped_events(), &mut found);
    assert_eq!(found.len(), 21, "kubectl apply -R would take {found:?}");
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else if path
            .extension()
            .is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known))
        {
            found.push(path);
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
