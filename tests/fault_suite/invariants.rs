//! The books, made from outside: rows, mails, requests, the stream and the dead letters are compared with what was
//! published.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use tests::nats::SUBJECTS;
use tests::smtp::Mail;
use tests::vendor::{self, Request};
use uuid::Uuid;

use crate::fault::Server;
use crate::hostile::Hostile;
use crate::options::BusName;
use crate::registration::Registration;
use crate::servers::MARKETING;
use crate::suite::{Excuse, Suite};

/// The final state of every registration. `published = done + dead + waiting + lost`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Books {
    pub(crate) published: usize,
    pub(crate) done: usize,
    /// Complete dead letters with their reason, although every fault is over and they were replayed.
    pub(crate) dead: usize,
    /// Dead letters of registrations that have reached their end.
    pub(crate) letters_left: usize,
    /// Registrations that have not reached their end, but are still in the bus.
    pub(crate) waiting: usize,
    /// Registrations that have not reached their end and are nowhere.
    pub(crate) lost: Vec<String>,
    /// Effects that took place more than once.
    pub(crate) doubled: Vec<String>,
    /// Jobs of one event of which two ran at the same time.
    pub(crate) doubled_jobs: Vec<String>,
    /// What only a hostile event can have made.
    pub(crate) forged: Vec<String>,
    /// False statements of page, metrics or command.
    pub(crate) false_states: Vec<String>,
    pub(crate) hostile: HostileBooks,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct HostileBooks {
    pub(crate) published: usize,
    /// Found among the dead letters, complete.
    pub(crate) dead: usize,
    /// They were valid after all, and were handled like any other.
    pub(crate) handled: usize,
    /// They could never be handled, and are not among the dead letters.
    pub(crate) lost: Vec<String>,
    /// They are dead letters for another reason than expected.
    pub(crate) wrong_class: Vec<String>,
    /// The dead letters by class.
    pub(crate) classes: BTreeMap<String, usize>,
}

/// The state of everything when nothing changed any more.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    customers: BTreeMap<String, (String, bool)>,
    users: BTreeMap<String, usize>,
    touchpoints: BTreeMap<String, usize>,
    orders: BTreeMap<String, Vec<String>>,
    mails_recorded: BTreeMap<String, BTreeSet<String>>,
    /// Those whose effect is entered, by Message-ID.
    mails_entered: BTreeSet<String>,
    mails: BTreeMap<String, Vec<String>>,
    /// Path and customer, with the different keys that the vendor has accepted.
    requests: BTreeMap<(String, String), BTreeSet<String>>,
    /// Subject and customer, with the different ids.
    events: BTreeMap<(String, String), BTreeSet<String>>,
    letters: Vec<Value>,
    /// How many of them belong to the event with this id, or follow from it.
    letters_of: BTreeMap<String, usize>,
    /// Those that are not in the stream any more.
    former_letters: Vec<Value>,
    waiting: u64,
    /// When each accepted mail came: welcomes by the owner's address, notes to marketing by customer.
    welcomes: BTreeMap<String, Vec<f64>>,
    notes: BTreeMap<String, Vec<f64>>,
    /// When each request that was clearly accepted came, by path and customer.
    posts: BTreeMap<(String, String), Vec<f64>>,
    excuses: Vec<Excuse>,
}

impl Evidence {
    pub(crate) fn gather(suite: &Suite<'_>, letters: Vec<Value>, waiting: u64) -> Self {
        let stage = &suite.stage;
        let former_letters = suite.kept.letters.clone();
        let excuses = suite.excuses.clone();
        let mut found = Self { letters, former_letters, waiting, excuses, ..Self::default() };
        for id in found.letters.iter().flat_map(flow_of).collect::<Vec<_>>() {
            *found.letters_of.entry(id).or_default() += 1;
        }
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
        for mut row in rows("SELECT receipt FROM effects WHERE receipt IS NOT NULL") {
            found.mails_entered.insert(bare(&take(&mut row, "receipt")));
        }
        for mail in stage.mail.mails() {
            found.note_mail(&mail);
            let recipients = found.mails.entry(bare(&mail.message_id)).or_default();
            *recipients = mail.recipients;
        }
        for request in stage.vendor.requests() {
            found.note_request(&request);
        }
        if suite.options.bus == BusName::Jetstream {
            // Events that follow from a hostile event count; the hostile event itself is only its publisher's work.
            let theirs: BTreeSet<&[u8]> = suite.hostile.iter().map(|one| one.payload.as_slice()).collect();
            for stored in stage.broker.stored().iter().chain(&suite.kept.events) {
                if theirs.contains(stored.payload.as_slice()) {
                    continue;
                }
                let event = &stored.event;
                let customer = event["data"]["customer_id"].as_str().or(event["subject"].as_str());
                let key = (stored.subject.clone(), customer.unwrap_or_default().to_owned());
                found.events.entry(key).or_default().insert(event["id"].to_string());
            }
        }
        found
    }

    fn note_mail(&mut self, mail: &Mail) {
        if !mail.answered {
            return;
        }
        for to in &mail.recipients {
            if to != MARKETING {
                self.welcomes.entry(to.clone()).or_default().push(mail.at);
            } else if let Some(customer) = mail.text.as_deref().and_then(customer_in) {
                self.notes.entry(customer).or_default().push(mail.at);
            }
        }
    }

    fn note_request(&mut self, request: &Request) {
        let customer = request.json()["customer_id"].as_str().unwrap_or_default().to_owned();
        let place = (request.path.clone(), customer);
        let is_yes = matches!(request.mode, vendor::Mode::Ok | vendor::Mode::AcceptThenWait);
        // A webhook's answer is a success unless it reports a failure; a vendor must have accepted the order.
        let may_be_yes = match request.mode {
            vendor::Mode::Garbage | vendor::Mode::Deep => request.path == "/marketing",
            vendor::Mode::AcceptThenHang => true,
            _ => is_yes,
        };
        if let Some(key) = request.key().filter(|_| may_be_yes) {
            self.requests.entry(place.clone()).or_default().insert(key.to_owned());
        }
        if is_yes {
            self.posts.entry(place).or_default().push(request.at);
        }
    }

    /// How many of these came although the one before had succeeded and a worker knew it.
    fn repeated(&self, server: Server, times: Option<&Vec<f64>>) -> usize {
        let mut times = times.cloned().unwrap_or_default();
        times.sort_by(f64::total_cmp);
        times.pop();
        let excused = |at: &f64| {
            let mut excuses = self.excuses.iter().filter(|one| one.server == server);
            excuses.any(|one| (one.from..=one.to).contains(at))
        };
        times.iter().filter(|at| !excused(at)).count()
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

    /// Whether nothing is lost, doubled, forged or left. A dead letter that stays counts as lost, because all
    /// registrations are valid.
    pub(crate) fn balance(&self) -> bool {
        self.lost.is_empty()
            && self.doubled.is_empty()
            && self.doubled_jobs.is_empty()
            && self.forged.is_empty()
            && self.false_states.is_empty()
            && self.hostile.lost.is_empty()
            && self.hostile.wrong_class.is_empty()
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
        let letters = found.letters_of.get(&one.event_id).copied().unwrap_or_default();
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

    /// Customers that were not registered, names from somebody else, mails without a record.
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
            // If another effect of the step fails for good, the mail has its entry and no record.
            if !recorded.contains(id) && !found.mails_entered.contains(id) {
                // Between the mail server's answer and the record, only a dead letter can stop a worker for good.
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
        // An event that came over HTTP is the same, but may be written differently.
        let text = |text: &str| match bus {
            BusName::Jetstream => text.to_owned(),
            BusName::Embedded => serde_json::from_str::<Value>(text)
                .map_or_else(|_| text.to_owned(), |event| event.to_string()),
        };
        let letters = || found.letters.iter().chain(&found.former_letters);
        let class = |letter: &Value| letter["class"].as_str().unwrap_or_default().to_owned();
        let mut buried: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for letter in letters() {
            if let Some(payload) = letter["payload"].as_str() {
                buried.entry(text(payload)).or_default().insert(class(letter));
            } else if let Some(bytes) = letter["payload_base64"].as_str() {
                buried.entry(bytes.to_owned()).or_default().insert(class(letter));
            }
        }
        self.hostile.published = hostile.len();
        for one in hostile {
            let dead = match std::str::from_utf8(&one.payload) {
                Ok(payload) => buried.get(&text(payload)),
                Err(_) => buried.get(base64(&one.payload).as_str()),
            };
            let start = || String::from_utf8_lossy(&one.payload).chars().take(60).collect::<String>();
            if let Some(classes) = dead {
                self.hostile.dead += 1;
                for class in classes {
                    *self.hostile.classes.entry(class.clone()).or_default() += 1;
                }
                let wrong: Vec<_> =
                    classes.iter().filter(|class| !one.dies_of.contains(&class.as_str())).collect();
                if one.must_die() && !wrong.is_empty() {
                    let is = format!("{}: {wrong:?} and not {:?}: {:?}", one.subject, one.dies_of, start());
                    self.hostile.wrong_class.push(is);
                }
            } else if one.must_die() {
                self.hostile.lost.push(format!("{}: {:?}", one.subject, start()));
            } else {
                self.hostile.handled += 1;
            }
        }
    }
}

/// The customer's id in the text of a note.
fn customer_in(text: &str) -> Option<String> {
    let words = text.split(|one: char| !one.is_ascii_hexdigit() && one != '-');
    words.filter(|word| word.len() == 36).find(|word| Uuid::parse_str(word).is_ok()).map(str::to_owned)
}

/// Counts what must exist and how often.
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
    let at_vendor = |path: &str| {
        let what = format!("requests to {path} after one that succeeded");
        (what, 0, found.repeated(Server::Vendor, found.posts.get(&(path.to_owned(), id.clone()))))
    };
    all.extend(["/orders", "/marketing", "/crm"].map(at_vendor));
    for (what, times) in [
        ("welcome mails after one that was taken", found.welcomes.get(&one.owner)),
        ("mails to marketing after one that was taken", found.notes.get(&id)),
    ] {
        all.push((what.to_owned(), 0, found.repeated(Server::Mail, times)));
    }
    if bus == BusName::Jetstream {
        for subject in &SUBJECTS[1..] {
            let wanted = if *subject == "user-saved" { one.users } else { 1 };
            let is = found.events.get(&((*subject).to_owned(), id.clone())).map_or(0, BTreeSet::len);
            all.push((format!("events {subject}"), wanted, is));
        }
    }
    all
}

/// The ids in a dead letter: of its event, and of the registration that it follows from. An event that only names a
/// customer has other ids.
pub(crate) fn flow_of(letter: &Value) -> BTreeSet<String> {
    let payload: Value =
        letter["payload"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    [&payload["id"], &payload["correlationid"]]
        .into_iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
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
