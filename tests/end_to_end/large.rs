//! Many events at once that are far too large, together with those of customers.

use serde_json::{Value, json};
use tests::{block_on, wait};

use crate::system::{LIMIT, System, registration};

/// The memory limit of the shipped Deployment, in kibibytes.
const MEMORY: u64 = 128 << 10;

/// Enough that all of them together would fill the memory.
const LARGE: usize = 300;

/// Near the largest message that NATS accepts.
const BYTES: usize = 980_000;

/// A valid event with far too many users.
fn large(number: usize) -> Value {
    let mut event = registration(&format!("Large {number}"));
    let user = json!({"name": "Somebody", "email": "somebody@x.example", "role": "generic_user"});
    event["data"]["users"] = json!(vec![user; BYTES / 80]);
    event
}

/// The peak memory of a process, in kibibytes.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

#[test]
fn a_flood_of_large_events_neither_stops_the_others_nor_fills_the_memory() {
    let system = System::start();
    system.nats.create_stream();
    for number in 0..LARGE {
        match number % 3 {
            0 => system.nats.publish("customer-registered", &large(number)),
            1 => system.nats.publish("user-saved", &json!("x".repeat(BYTES))),
            _ => {
                let event = json!({"id": number, "data": "y".repeat(BYTES)});
                system.nats.publish("customer-registered", &event);
            }
        }
        if number % 15 == 0 {
            system.publish(&registration(&format!("Company {number}")));
        }
    }
    let dispatcher = system.dispatcher();
    system.until_onboarded(LARGE / 15);
    wait::until(LIMIT, "all large ones are dead letters", || {
        let stream = block_on(system.nats.jetstream().get_stream("customer-onboarding-dead-letters")).ok()?;
        (stream.cached_info().state.messages >= LARGE as u64).then_some(())
    });
    let listed = system.command(&["dead-letters", "list"]).run_to(0).output;
    assert_eq!(listed.matches("TooLarge").count(), LARGE, "{listed}");
    assert!(listed.contains("128 KiB"), "{listed}");
    let peak = peak(dispatcher.running.process.id());
    assert!(peak < MEMORY, "{peak} KiB");
    dispatcher.running.terminate().expect_code(0);
}
