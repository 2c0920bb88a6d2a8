//! What all outside systems have about the customers: rows, mails, orders.

use serde_json::Value;

use super::{LIMIT, Stack};
use crate::client::publish_to;
use crate::engine::{command, run};
use crate::wait;

/// Jobs of one customer: registration, customer, three users, welcome, marketing, swag, touchpoints.
pub const JOBS: usize = 9;

/// Registrations like those of `publish-customer-registered.sh`: three users each, and an address.
pub fn registrations(count: usize) -> Vec<Value> {
    let printed =
        run(command("./publish-customer-registered.sh", &["--print", "--count", &count.to_string()]));
    serde_json::Deserializer::from_str(&printed).into_iter().map(|event| event.expect("an event")).collect()
}

impl Stack {
    /// Publishes this many registrations with a client that is not ours.
    pub fn register(&self, customers: usize) {
        let nats = self.nats();
        for event in registrations(customers) {
            publish_to(&nats, "customer-registered", &event);
        }
    }

    /// Waits until this many Jobs have done their step.
    pub fn until_handled(&self, jobs: usize) {
        wait::until(LIMIT, &format!("{jobs} events are handled"), || (self.handled() >= jobs).then_some(()));
    }

    /// How many events were handled so far.
    pub fn handled(&self) -> usize {
        self.count("handled_events")
    }

    /// Waits until this many customers are onboarded.
    pub fn until_onboarded(&self, customers: usize) {
        wait::until(LIMIT, &format!("{customers} customers are onboarded"), || {
            (self.count("customers WHERE onboarded_at IS NOT NULL") >= customers).then_some(())
        });
    }

    /// Checks this many customers with three users each: nothing is lost or doubled. `dispatcher` is asked for dead
    /// letters.
    pub fn check_books(&self, customers: usize, dispatcher: &str) {
        for (table, count) in [
            ("customers WHERE onboarded_at IS NOT NULL", customers),
            ("customers", customers),
            ("users WHERE saved_at IS NOT NULL", 3 * customers),
            ("swag_orders WHERE status = 'ordered'", customers),
            ("swag_orders", customers),
            ("touchpoints", customers),
            ("sent_mails", 2 * customers),
            ("handled_events", JOBS * customers),
        ] {
            assert_eq!(self.count(table), count, "{table}");
        }
        assert_eq!(self.mails().different, 2 * customers, "mails by Message-ID");
        let received = self.received();
        for place in ["orders", "marketing", "crm"] {
            let count = received.iter().filter(|one| one["place"] == place).count();
            assert_eq!(count, customers, "{place} at the partner");
        }
        // The same key is the same order: a vendor that gets another order with it would refuse it.
        assert!(received.iter().all(|one| one["conflicts"] == 0), "{received:?}");
        let letters = self.dispatcher(dispatcher, &["dead-letters", "list", "--output", "json"]);
        assert!(!letters.contains("\"number\""), "{letters}");
    }

    /// If nothing went wrong, nothing was even sent twice.
    pub fn check_nothing_came_twice(&self) {
        let Mails { all, different } = self.mails();
        assert_eq!(all, different, "mails, and different ones");
        let received = self.received();
        assert!(received.iter().all(|one| one["repeats"] == 0), "{received:?}");
    }

    /// The number of mails.
    fn mails(&self) -> Mails {
        let listed = self.ask("MAIL_PORT", "/api/messages");
        let ids = listed.as_array().into_iter().flatten().filter_map(|mail| mail["id"].as_str());
        let mut ids: Vec<_> = ids
            .map(|id| {
                let mail = self.ask("MAIL_PORT", &format!("/api/message/{id}"));
                let headers = mail["headers"].as_object().cloned().unwrap_or_default();
                let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("message-id"));
                found.unwrap_or_else(|| panic!("a mail without Message-ID: {mail}")).1.to_string()
            })
            .collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        Mails { all, different: ids.len() }
    }

    /// The partner's contents: one request for each path and idempotency key.
    fn received(&self) -> Vec<Value> {
        self.ask("PARTNER_PORT", "/received").as_array().cloned().unwrap_or_default()
    }
}

/// The mail catcher's contents: all mails, and those with different Message-IDs.
struct Mails {
    all: usize,
    different: usize,
}
