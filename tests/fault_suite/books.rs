//! The books, made from outside: rows, mails, requests, the stream and the dead letters, against what was published.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use tests::nats::SUBJECTS;

use crate::hostile::Hostile;
use crate::options::BusName;
use crate::registration::Registration;
use crate::stage::Stage;

/// What has become of everything. `published = done + dead + waiting + lost`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Books {
    pub(crate) published: usize,
    pub(crate) done: usize,
    /// Dead letters, whole and with their reason, though every fault is over and they were replayed.
    pub(crate) dead: usize,
    /// Dead letters of registrations that are at their end all the same.
    pub(crate) letters_left: usize,
    /// Not at their end, and still in the bus.
    pub(crate) waiting: usize,
    /// Not at their end, and nowhere.
    pub(crate) lost: Vec<String>,
    /// Effects that happened more than once.
    pub(crate) doubled: Vec<String>,
    /// Jobs of one event of which two ran side by side.
    pub(crate) doubled_jobs: Vec<String>,
    /// What only a hostile event can have made.
    pub(crate) forged: Vec<String>,
    pub(crate) hostile: HostileBooks,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct HostileBooks {
    pub(crate) published: usize,
    /// Found among the dead letters, whole.
    pub(crate) dead: usize,
    /// Valid after all, and handled like any other.
    pub(crate) handled: usize,
    /// Could never be handled, and are not among the dead letters.
    pub(crate) lost: Vec<String>,
}

/// What was found when nothing moved any more.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    customers: BTreeMap<String, (String, bool)>,
    users: BTreeMap<String, usize>,
    touchpoints: BTreeMap<String, usize>,
    orders: BTreeMap<String, Vec<String>>,
    mails_recorded: BTreeMap<String, BTreeSet<String>>,
    mails: BTreeMap<String, Vec<String>>,
    /// Path and customer, to the different keys that the vendor has taken.
    requests: BTreeMap<(String, String), BTreeSet<String>>,
    /// Subject and customer, to the different ids.
    events: BTreeMap<(String, String), BTreeSet<String>>,
    letters: Vec<Value>,
    waiting: u64,
}

impl Evidence {
    pub(crate) fn gather(
        stage: &Stage,
        hostile: &[Hostile],
        letters: Vec<Value>,
        bus: BusName,
        waiting: u64,
    ) -> Self {
        let mut found = Self { letters, waiting, ..Self::default() };
        let rows = |query: &str| stage.database.rows(query);
        for mut row in rows("SELECT id, name, onboarded_at IS NOT NULL AS onboarded FROM customers") {
            let value = (row["name"].clone(), row["onboarded"] == "1");
            found.customers.insert(take(&mut row, "id"), value);
        }
        for mut row in rows("SELECT customer_id FROM users WHERE saved_at IS NOT NULL") {
            *found.users.entry(take(&mut row, "customer_id")).or_default() += 1;
        }
        for mut row in rows("SELECT customer_id FROM touchpoints") {
            *found.touchpoints.entry(take(&mut row, "customer_id")).or_default() += 1;
        }
        for mut row in rows("SELECT customer_id, status FROM swag_orders") {
            let status = take(&mut row, "status");
            found.orders.entry(take(&mut row, "customer_id")).or_default().push(status);
        }
        for mut row in rows("SELECT customer_id, message_id FROM sent_mails") {
            let id = take(&mut row, "message_id");
            found.mails_recorded.entry(take(&mut row, "customer_id")).or_default().insert(bare(&id));
        }
        for mail in stage.mail.mails() {
            let recipients = found.mails.entry(bare(&mail.message_id)).or_default();
            *recipients = mail.recipients;
        }
        let taken = stage.vendor.orders();
        for request in stage.vendor.requests() {
            let customer = request.json()["customer_id"].as_str().unwrap_or_default().to_owned();
            // Of a webhook every answer that says yes will do; a vendor must have taken the order.
            let counts = |key: &&str| request.path == "/marketing" || taken.contains_key(*key);
            if let Some(key) = request.key().filter(counts) {
                let key = key.to_owned();
                found.requests.entry((request.path, customer)).or_default().insert(key);
            }
        }
        if bus == BusName::Jetstream {
            // What follows from a hostile event counts; the event itself is nobody's doing but its publisher's.
            let theirs: BTreeSet<&[u8]> = hostile.iter().map(|one| one.payload.as_slice()).collect();
            for stored in stage.broker.stored() {
                if theirs.contains(stored.payload.as_slice()) {
                    continue;
                }
                let event = &stored.event;
                let customer = event["data"]["customer_id"].as_str().or(event["subject"].as_str());
                let key = (stored.subject, customer.unwrap_or_default().to_owned());
                found.events.entry(key).or_default().insert(event["id"].to_string());
            }
        }
        found
    }
}

impl Books {
    pub(crate) fn make(
        registrations: &[Registration],
        hostile: &[Hostile],
        doubled_jobs: &BTreeSet<String>,
        found: &Evidence,
        bus: BusName,
    ) -> Self {
        let doubled_jobs = doubled_jobs.iter().cloned().collect();
        let mut books = Self { published: registrations.len(), doubled_jobs, ..Self::default() };
        for one in registrations {
            books.enter(one, found, bus);
        }
        books.forgeries(registrations, hostile, found);
        books.hostile(hostile, found, bus);
        books
    }

    /// Whether nothing is lost, doubled, forged or left. A registration that stays dead counts as lost: all of them are valid.
    pub(crate) fn balance(&self) -> bool {
        self.lost.is_empty()
            && self.doubled.is_empty()
            && self.doubled_jobs.is_empty()
            && self.forged.is_empty()
            && self.hostile.lost.is_empty()
            && self.letters_left == 0
            && self.published == self.done
    }

    fn enter(&mut self, one: &Registration, found: &Evidence, bus: BusName) {
        let mut missing = Vec::new();
        for (what, wanted, is) in effects(one, found, bus) {
            if is > wanted {
                self.doubled.push(format!("{}: {is} of {wanted} {what}", one.customer));
            } else if is < wanted {
                missing.push(format!("{is} of {wanted} {what}"));
            }
        }
        let letters = found.letters.iter().filter(|letter| concerns(letter, one)).count();
        if missing.is_empty() {
            self.done += 1;
            self.letters_left += letters;
        } else if letters > 0 {
            self.dead += 1;
        } else if found.waiting > 0 {
            self.waiting += 1;
        } else {
            self.lost.push(format!("{}: {}", one.customer, missing.join(", ")));
        }
    }

    /// Customers that nobody registered, names that somebody else gave, mails that nobody recorded.
    fn forgeries(&mut self, registrations: &[Registration], hostile: &[Hostile], found: &Evidence) {
        let ours: BTreeMap<_, _> =
            registrations.iter().map(|one| (one.customer.to_string(), one.name.as_str())).collect();
        let possible: BTreeSet<_> =
            hostile.iter().filter_map(|one| one.customer.map(|id| id.to_string())).collect();
        for (id, (name, _)) in &found.customers {
            match ours.get(id) {
                Some(given) if given == name => {}
                Some(given) => self.forged.push(format!("{id} is called {name:?} and not {given:?}")),
                None if possible.contains(id) => {}
                None => self.forged.push(format!("nobody registered {id} {name:?}")),
            }
        }
        let recorded: BTreeSet<_> = found.mails_recorded.values().flatten().collect();
        for (id, recipients) in &found.mails {
            if !recorded.contains(id) {
                // Between the mail server's answer and the record a worker can die for good only by a dead letter.
                let dead = found.letters.iter().any(|letter| {
                    recipients
                        .iter()
                        .any(|to| letter["payload"].as_str().is_some_and(|text| text.contains(to)))
                });
                if !dead {
                    self.forged.push(format!("nobody recorded the mail {id} to {recipients:?}"));
                }
            }
        }
    }

    fn hostile(&mut self, hostile: &[Hostile], found: &Evidence, bus: BusName) {
        // An event that was handed in over HTTP is the same, but may be written in another way.
        let text = |text: &str| match bus {
            BusName::Jetstream => text.to_owned(),
            BusName::Embedded => serde_json::from_str::<Value>(text)
                .map_or_else(|_| text.to_owned(), |event| event.to_string()),
        };
        let buried: BTreeSet<String> =
            found.letters.iter().filter_map(|letter| letter["payload"].as_str()).map(text).collect();
        let buried_bytes: BTreeSet<&str> =
            found.letters.iter().filter_map(|letter| letter["payload_base64"].as_str()).collect();
        self.hostile.published = hostile.len();
        for one in hostile {
            let dead = match std::str::from_utf8(&one.payload) {
                Ok(payload) => buried.contains(&text(payload)),
                Err(_) => buried_bytes.contains(base64(&one.payload).as_str()),
            };
            if dead {
                self.hostile.dead += 1;
            } else if one.must_die {
                let start = String::from_utf8_lossy(&one.payload).chars().take(60).collect::<String>();
                self.hostile.lost.push(format!("{}: {start:?}", one.subject));
            } else {
                self.hostile.handled += 1;
            }
        }
    }
}

/// What must be there how often, and is.
fn effects(one: &Registration, found: &Evidence, bus: BusName) -> Vec<(String, usize, usize)> {
    let id = one.customer.to_string();
    let requests = |path: &str| found.requests.get(&(path.to_owned(), id.clone())).map_or(0, BTreeSet::len);
    let ordered = if one.has_address { "ordered" } else { "waiting_for_address" };
    let orders = found.orders.get(&id).map(Vec::as_slice).unwrap_or_default();
    let recorded = found.mails_recorded.get(&id);
    let arrived = recorded.map_or(0, |ids| ids.iter().filter(|mail| found.mails.contains_key(*mail)).count());
    let welcomes = found.mails.values().filter(|recipients| recipients.contains(&one.owner)).count();
    let onboarded = found.customers.get(&id).is_some_and(|(_, onboarded)| *onboarded);
    let mut all = vec![
        ("customers onboarded".to_owned(), 1, usize::from(onboarded)),
        ("users saved".to_owned(), one.users, found.users.get(&id).copied().unwrap_or_default()),
        ("touchpoints".to_owned(), 1, found.touchpoints.get(&id).copied().unwrap_or_default()),
        (format!("orders that are {ordered}"), 1, orders.iter().filter(|status| *status == ordered).count()),
        ("orders recorded".to_owned(), 1, orders.len()),
        ("mails recorded".to_owned(), 2, recorded.map_or(0, BTreeSet::len)),
        ("mails that arrived".to_owned(), 2, arrived),
        ("welcome mails by Message-ID".to_owned(), 1, welcomes),
        ("keys of orders at the vendor".to_owned(), usize::from(one.has_address), requests("/orders")),
        ("keys of notes to marketing".to_owned(), 1, requests("/marketing")),
        ("keys of touchpoints at the CRM".to_owned(), 1, requests("/crm")),
    ];
    if bus == BusName::Jetstream {
        for subject in &SUBJECTS[1..] {
            let wanted = if *subject == "user-saved" { one.users } else { 1 };
            let is = found.events.get(&((*subject).to_owned(), id.clone())).map_or(0, BTreeSet::len);
            all.push((format!("events {subject}"), wanted, is));
        }
    }
    all
}

/// Whether a dead letter belongs to the flow of this registration, and not to one that only speaks of its customer.
pub(crate) fn concerns(letter: &Value, one: &Registration) -> bool {
    let payload: Value =
        letter["payload"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    [&payload["id"], &payload["correlationid"]].iter().any(|id| id.as_str() == Some(one.event_id.as_str()))
}

fn take(row: &mut BTreeMap<String, String>, column: &str) -> String {
    row.remove(column).unwrap_or_default()
}

fn bare(message_id: &str) -> String {
    message_id.trim_matches(['<', '>']).to_owned()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}
