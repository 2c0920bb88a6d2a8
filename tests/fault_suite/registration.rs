//! Registrations with difficult names, and what must result from each.

use fastrand::Rng;
use serde_json::{Value, json};
use uuid::Uuid;

/// One registration.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) customer: Uuid,
    pub(crate) event_id: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) users: usize,
    pub(crate) has_address: bool,
    pub(crate) event: Value,
}

/// Beginnings of names; each is a trap for code that pastes text into YAML, SQL, HTML, a shell or a template.
const NAMES: [&str; 16] = [
    "Company",
    "\"Quote\" & Sons: #",
    "O'Brien\\",
    "{{ .Cluster }}",
    "$(DB_PASSWORD)",
    "<script>alert(1)</script>",
    "yes",
    "null",
    "0x1F",
    "1e3",
    "- a: b",
    "😀 Ünïcode 株式会社",
    "'); DROP TABLE users; --",
    "%s%n",
    "!!binary &a *a",
    "\u{202e}ltr",
];
const TIERS: [&str; 3] = ["basic", "groovy", "far-out"];

impl Registration {
    /// The registration with this number. Ids are derived from the seed, so that a run can be repeated.
    pub(crate) fn any(seed: u64, number: usize, chance: &mut Rng) -> Self {
        let customer = id(seed, number, "customer");
        let event_id = id(seed, number, "event").to_string();
        let name = format!("{} {number}", NAMES[chance.usize(..NAMES.len())]);
        let users = chance.usize(1..=4);
        let has_address = chance.u8(..5) > 0;
        let email = |user: usize| format!("u{user}.{}@x.example", &customer.simple().to_string()[..12]);
        let role = |user| match user {
            0 => "customer_account_owner",
            1 => "admin_user",
            _ => "generic_user",
        };
        let listed: Vec<_> = (0..users)
            .map(|user| json!({"name": format!("User {user} {}", NAMES[chance.usize(..NAMES.len())]), "email": email(user), "role": role(user)}))
            .collect();
        let mut event = json!({
            "specversion": "1.0", "id": event_id, "source": "knapscen.disco",
            "type": "disco.knapscen.customer.registered", "subject": customer, "time": "2026-02-27T09:15:00Z",
            "datacontenttype": "application/json",
            "data": {"name": name, "subscription_tier": TIERS[chance.usize(..3)], "users": listed},
        });
        if has_address {
            event["data"]["shipping_address"] = json!(format!("{number} Quayside, Aarhus"));
        }
        Self { customer, event_id, name, owner: email(0), users, has_address, event }
    }
}

fn id(seed: u64, number: usize, what: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("fault suite {seed} {number} {what}").as_bytes())
}
