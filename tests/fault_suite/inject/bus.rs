//! Faults of the bus, except for stopping it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::stream::DiscardPolicy;
use tests::nats::STREAM;
use tests::proxy::Mode;
use tests::wait;

use super::EFFECT;
use crate::fault::Server;
use crate::hostile::Hostile;
use crate::suite::Suite;
use crate::{hostile, manifests};

/// The subjects of the dead letters.
const LETTERS: &str = "customer-onboarding-dead-letters";

/// Subjects that are not removed.
const LEFT: usize = 2;

/// A full stream accepts a few more events.
const LITTLE: u64 = 20_000;

impl Suite<'_> {
    /// Removes all consumers, and does so again. True if there were any, and the dispatchers have created them again.
    pub(super) fn remove_consumers(&self, time: Duration) -> bool {
        let broker = &self.stage.broker;
        let removed = broker.remove_consumers();
        std::thread::sleep(time);
        removed > 0 && wait::within(EFFECT, || (broker.remove_consumers() > 0).then_some(())).is_some()
    }

    /// Whether the dispatchers have restored them.
    pub(super) fn cut_subjects(&self, time: Duration) -> bool {
        let broker = &self.stage.broker;
        broker.change_stream(|config, _| config.subjects.truncate(LEFT));
        std::thread::sleep(time);
        wait::within(EFFECT, || (broker.subjects().len() > LEFT).then_some(())).is_some()
    }

    /// Whether anything was acknowledged.
    pub(super) fn age_stream(&mut self) -> bool {
        self.keep_for_the_books();
        let last = self.kept.events.last().map_or(0, |event| event.sequence);
        self.stage.broker.purge_acknowledged(last) > 0
    }

    pub(super) fn fill_stream(&self, time: Duration) -> bool {
        let broker = &self.stage.broker;
        broker.change_stream(|config, bytes| {
            config.discard = DiscardPolicy::New;
            config.max_bytes = i64::try_from(bytes + LITTLE).expect("a size");
        });
        std::thread::sleep(time);
        broker.change_stream(|config, _| config.max_bytes = -1);
        true
    }

    /// Removes all streams, as when the only server loses its disk. The operator's remedy is documented.
    pub(super) fn lose_store(&mut self, time: Duration) -> bool {
        self.cut_off_the_broker();
        self.stage.broker.stop();
        std::fs::remove_dir_all(self.stage.broker.store()).expect("a store");
        std::thread::sleep(time);
        self.stage.broker.start_again();
        self.stage.set(Server::Broker, &Mode::Pass);
        self.lost_events = true;
        true
    }

    /// Copies the streams, and some time later restores the copy.
    pub(super) fn restore_store(&mut self, time: Duration) -> bool {
        let store = self.stage.broker.store();
        let backup = store.with_file_name("backup");
        self.stage.broker.stop();
        copy(&store, &backup);
        self.stage.broker.start_again();
        std::thread::sleep(time + Duration::from_secs(2));
        self.cut_off_the_broker();
        self.stage.broker.stop();
        std::fs::remove_dir_all(&store).expect("a store");
        std::fs::rename(backup, &store).expect("the backup");
        self.stage.broker.start_again();
        self.stage.set(Server::Broker, &Mode::Pass);
        self.lost_events = true;
        true
    }

    /// The system under test cannot reach it from now on; its content is kept for the books.
    fn cut_off_the_broker(&mut self) {
        self.stage.set(Server::Broker, &Mode::Refuse);
        self.keep_for_the_books();
    }

    /// Whatever can be replayed is replayed first, because dropping an event is final.
    pub(super) fn purge_letters(&mut self) -> bool {
        self.command(&["dead-letters", "replay", "--all"]).run();
        self.keep_for_the_books();
        self.stage.broker.purge(LETTERS);
        true
    }

    /// Publishes some events that are far too large, and some as large as the bus accepts: all become complete dead
    /// letters.
    pub(super) fn publish_large(&mut self, time: Duration) -> bool {
        let mut chance = fastrand::Rng::with_seed(u64::try_from(time.as_nanos()).unwrap_or_default());
        for size in [200 << 10, 600 << 10, 1_000_000, 1_040_000] {
            let event = hostile::padded(&mut chance, size);
            if self.publisher.publish(event.subject, &event.headers, &event.payload) {
                self.hostile.push(event);
            }
        }
        true
    }

    pub(super) fn publish_unreadable(&mut self, time: Duration) -> bool {
        let mut chance = fastrand::Rng::with_seed(u64::try_from(time.as_nanos()).unwrap_or_default());
        for headers in hostile::UNREADABLE {
            let event = hostile::unreadable(&mut chance, headers);
            self.stage.broker.publish_raw(event.subject, headers, &event.payload);
            self.hostile.push(event);
        }
        true
    }

    /// The remedy after a loss: the publisher publishes its registrations again, and the operator the outbox.
    pub(crate) fn repeat_lost(&mut self) {
        if !std::mem::take(&mut self.lost_events) {
            return;
        }
        let rows = self.stage.database.rows("SELECT id FROM customers");
        let registered: BTreeSet<_> = rows.into_iter().filter_map(|mut row| row.remove("id")).collect();
        for one in self.registrations.iter().filter(|one| !registered.contains(&one.customer.to_string())) {
            self.publisher.publish("customer-registered", &[], one.event.to_string().as_bytes());
        }
        let letters = self.all_letters();
        let buried: BTreeSet<_> = letters.iter().filter_map(|letter| letter["payload"].as_str()).collect();
        let is_buried = |one: &Hostile| str::from_utf8(&one.payload).is_ok_and(|text| buried.contains(text));
        for one in self.hostile.iter().filter(|one| one.must_die() && !is_buried(one)) {
            match one.unreadable {
                Some(headers) => self.stage.broker.publish_raw(one.subject, headers, &one.payload),
                None => drop(self.publisher.publish(one.subject, &one.headers, &one.payload)),
            }
        }
        self.republish();
    }

    /// Publishes the outbox with the operator's command.
    pub(super) fn republish(&self) -> bool {
        let command = self.command(&["republish", "--older-than", "0"]);
        let command = command.set("DISPATCHER_EVENTS", &manifests::shipped().display());
        wait::within(EFFECT, || (command.run().code == Some(0)).then_some(())).is_some()
    }

    /// What may be gone afterwards.
    fn keep_for_the_books(&mut self) {
        self.kept.events.extend(self.stage.broker.stored_in(STREAM));
        let letters = self.dead_letters();
        self.kept.letters.extend(letters);
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp runs").success(), "cannot copy {}", from.display());
}
