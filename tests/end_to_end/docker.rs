//! The dispatcher with a real engine: what users see when an image is missing, and when the engine is away. The
//! backend's own tests check how Jobs run there.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tests::program::Program;
use tests::{http, port, wait};

use crate::dispatcher::copy;
use crate::system::{LIMIT, System, registration, shipped_events, start_dispatcher};

/// Whether an engine answers. With `CI` set, one must answer.
fn engine_answers() -> bool {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let asked = match host.strip_prefix("unix://") {
        Some(path) => UnixStream::connect(path).and_then(ask),
        None => TcpStream::connect(host.trim_start_matches("tcp://")).and_then(ask),
    };
    let answers = asked.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
    assert!(answers || std::env::var_os("CI").is_none(), "no engine answers at {host}: {asked:?}");
    answers
}

fn ask(mut engine: impl Read + Write) -> std::io::Result<String> {
    engine.write_all(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    engine.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_missing_image_is_a_dead_letter_that_names_it_and_its_remedy() {
    if !engine_answers() {
        return;
    }
    let system = System::start();
    let events = system.scratch.join("events");
    copy(&shipped_events(), &events);
    let map = events.join("customer-registered/configmap.yaml");
    let text = fs::read_to_string(&map).unwrap();
    let text = text
        .replace("ghcr.io/colinjlacy/knapscen-register-corporate-customer:latest", "knapscen-test/nowhere:1")
        .replace("imagePullPolicy: IfNotPresent", "imagePullPolicy: Never");
    fs::write(&map, text).unwrap();
    let mut program = Program::dispatcher()
        .settings(system.nats.settings())
        .set("DISPATCHER_BACKEND", "docker")
        .set("DISPATCHER_DOCKER_SCOPE", &format!("knapscen-test-{}", std::process::id()));
    if let Ok(host) = std::env::var("DOCKER_HOST") {
        program = program.set("DOCKER_HOST", &host);
    }
    let _dispatcher = start_dispatcher(program, &system.scratch, &system.secret(), &events, "state");
    system.publish(&registration("Imageless Ltd"));
    let letters = system.until_dead_letters(1);
    let reason = letters[0]["reason"].to_string();
    assert!(reason.contains("knapscen-test/nowhere:1") && reason.contains("build it"), "{}", letters[0]);
    assert_eq!(letters[0]["subject"], "customer-registered");
}

#[test]
fn an_engine_that_is_away_is_said_by_readyz_and_keeps_the_event_in_the_bus() {
    let system = System::start();
    let port = port::free();
    let secret = system.scratch.write("knapscen-config.env", "NOTHING=here\n");
    let mut running = Program::dispatcher()
        .settings(system.nats.settings())
        .set("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .argument("run")
        .argument("--secret")
        .argument(format!("knapscen-config={}", secret.display()))
        .argument("--backend")
        .argument("docker")
        .argument("--events")
        .argument(shipped_events())
        .argument("--listen")
        .argument(format!("127.0.0.1:{port}"))
        .argument("--grace")
        .argument("1")
        .start();
    let answer = running.process.until("answering", || http::get(port, "/readyz").ok());
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("unix:///nowhere/docker.sock does not answer"), "{}", answer.body);
    system.publish(&registration("Patient Ltd"));
    wait::until(LIMIT, "the event was taken", || {
        running.process.output().contains("the engine does not answer").then_some(())
    });
    // Time enough to give it up.
    std::thread::sleep(Duration::from_secs(1));
    let ended = running.terminate();
    ended.expect_code(0);
    assert_eq!(ended.output.matches("the engine does not answer").count(), 1, "{}", ended.output);
    assert!(system.dead_letters().is_empty());
}

#[test]
fn containers_and_the_embedded_bus_do_not_go_together() {
    let scratch = tests::scratch::Scratch::new("docker");
    let ended = Program::dispatcher()
        .argument("run")
        .argument("--bus")
        .argument("embedded")
        .argument("--queue")
        .argument(scratch.join("queue.db"))
        .argument("--backend")
        .argument("docker")
        .argument("--events")
        .argument(shipped_events())
        .argument("--listen")
        .argument(format!("127.0.0.1:{}", port::free()))
        .run_to(78);
    assert!(ended.output.contains("--bus jetstream"), "{}", ended.output);
}
