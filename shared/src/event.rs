//! The events of the onboarding flow and the steps that emit them: their names, how an event is built from its cause,
//! and how it is read.
//!
//! [`Kind`] is the only list of steps; the demo, the dispatcher and the tests use it.
//!
//! ```
//! let body = br#"{"specversion": "1.0", "id": "1", "source": "shop", "type": "order.placed", "data": {"total": 3}}"#;
//! let event = shared::event::parse(&[], body)?;
//! assert_eq!(shared::event::to_json(&event)?.contains("order.placed"), true);
//! assert!(shared::event::parse(&[], b"{}").is_err());
//! # Ok::<(), shared::Error>(())
//! ```

mod cause;
mod message;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use uuid::Uuid;

pub use cause::Cause;
pub use cloudevents::Event;
pub use message::{CONTENT_TYPE, parse, time, to_json};

/// The CloudEvents `source` of all our events.
pub const SOURCE: &str = "knapscen.disco";

/// A chain longer than this is a loop.
pub const MAX_HOPS: u32 = 32;

/// The namespace of every derived id: UUIDv5 of [`SOURCE`] in the URL namespace.
const NAMESPACE: Uuid = uuid::uuid!("201359c5-c139-559a-9313-adcd10c96864");

/// A UUIDv5: the same text always gives the same id.
pub fn derive_id(text: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $subject:literal, $ty:literal, $step:expr;)+) => {
        /// A kind of event in the flow. An event that is named after a fact is also the command that makes it true.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind),+ }

        impl Kind {
            /// All kinds, in the order of the flow.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The NATS subject.
            pub const fn subject(self) -> &'static str {
                match self { $(Self::$kind => $subject),+ }
            }

            /// The CloudEvents `type`.
            pub const fn ty(self) -> &'static str {
                match self { $(Self::$kind => $ty),+ }
            }

            /// The step that emits it; `None` for the event that starts the flow.
            pub const fn step(self) -> Option<&'static str> {
                match self { $(Self::$kind => $step),+ }
            }
        }
    };
}

kinds! {
    /// It starts the flow.
    CustomerRegistered = "customer-registered", "disco.knapscen.customer.registered", None;
    /// The registration is valid and recorded.
    CustomerSaved = "customer-saved", "disco.knapscen.customer.saved", Some("register-corporate-customer");
    /// A user must be saved: one for each user.
    UserSaved = "user-saved", "disco.knapscen.user.saved", Some("save-customer");
    /// The customer can be welcomed: once, when its last user is saved.
    WelcomeEmailSent = "welcome-email-sent", "disco.knapscen.email.welcome.sent", Some("save-user");
    /// The welcome mail was sent.
    MarketingNotified = "marketing-notified", "disco.knapscen.marketing.notified", Some("send-welcome-email");
    /// Marketing was told.
    SwagOrdered = "swag-ordered", "disco.knapscen.swag.ordered", Some("notify-marketing");
    /// The swag is ordered, or the order waits for an address.
    TouchpointsCreated = "touchpoints-created", "disco.knapscen.touchpoints.created", Some("order-swag");
    /// The flow has ended; this event starts nothing.
    CustomerOnboarded = "customer-onboarded", "disco.knapscen.customer.onboarded", Some("create-touchpoints");
}

impl Kind {
    /// The kind with this NATS subject.
    pub fn from_subject(subject: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.subject() == subject)
    }

    /// The kind with this CloudEvents `type`.
    pub fn from_type(ty: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.ty() == ty)
    }

    /// The kind that this step emits.
    pub fn of_step(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.step() == Some(name))
    }
}

/// The names of all steps in the order of the flow: those of their folders, programs and images.
pub fn steps() -> impl Iterator<Item = &'static str> {
    Kind::ALL.iter().filter_map(|kind| kind.step())
}

/// The names of a flow for people: each flow is about one customer.
pub mod flow {
    /// The name in headers of dead letters, after their prefix.
    pub const HEADER: &str = "Customer";
    /// The name in JSON.
    pub const FIELD: &str = "customer";
    /// The name in span attributes.
    pub const ATTRIBUTE: &str = "knapscen.customer";
    /// The metric by stage, and its help text.
    pub const METRIC: (&str, &str) = ("customers", "Customers, of all dispatchers, by stage");
}

/// The content of the following event: what it is about, and its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// The CloudEvents `subject`, from which the event's id is derived.
    pub subject: Uuid,
    /// The CloudEvents `data`.
    pub data: Value,
}

/// An event as it goes to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The CloudEvents `id`, also the broker's message id.
    pub id: String,
    /// The NATS subject.
    pub nats_subject: String,
    /// The event in structured JSON mode.
    pub payload: String,
}

/// A time in the format of events: UTC, milliseconds, `Z`.
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_what_its_comment_says() {
        assert_eq!(NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_URL, SOURCE.as_bytes()));
    }

    #[test]
    fn subjects_are_unique_and_lead_back_to_their_kind() {
        for &kind in Kind::ALL {
            assert_eq!(Kind::from_subject(kind.subject()), Some(kind));
            assert!(kind.ty().starts_with("disco.knapscen."));
        }
        assert_eq!(Kind::from_subject("customer"), None);
    }
}
