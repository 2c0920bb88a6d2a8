//! The eight events of the onboarding flow: their names, how one is built from its cause, and how one is read.

mod cause;
mod message;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use uuid::Uuid;

pub use cause::Cause;
pub use cloudevents::Event;
pub use message::{CONTENT_TYPE, parse, to_json};

/// The CloudEvents `source` of everything we emit.
pub const SOURCE: &str = "knapscen.disco";

/// A chain longer than this is a loop.
pub const MAX_HOPS: u32 = 32;

/// Namespace of every derived id: UUIDv5 of [`SOURCE`] in the URL namespace.
const NAMESPACE: Uuid = uuid::uuid!("201359c5-c139-559a-9313-adcd10c96864");

/// A UUIDv5: the same text always gives the same id.
pub fn derive_id(text: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $subject:literal, $ty:literal;)+) => {
        /// Which event of the flow. The event named after a fact is also the command that makes it so.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind),+ }

        impl Kind {
            /// All of them, in the order of the flow.
            pub const ALL: [Self; 8] = [$(Self::$kind),+];

            /// The NATS subject.
            pub const fn subject(self) -> &'static str {
                match self { $(Self::$kind => $subject),+ }
            }

            /// The CloudEvents `type`.
            pub const fn ty(self) -> &'static str {
                match self { $(Self::$kind => $ty),+ }
            }
        }
    };
}

kinds! {
    /// Starts the flow.
    CustomerRegistered = "customer-registered", "disco.knapscen.customer.registered";
    /// The registration was valid and is recorded.
    CustomerSaved = "customer-saved", "disco.knapscen.customer.saved";
    /// One per user.
    UserSaved = "user-saved", "disco.knapscen.user.saved";
    /// Once per customer, when its last user is saved.
    WelcomeEmailSent = "welcome-email-sent", "disco.knapscen.email.welcome.sent";
    /// The welcome mail is out.
    MarketingNotified = "marketing-notified", "disco.knapscen.marketing.notified";
    /// Marketing knows.
    SwagOrdered = "swag-ordered", "disco.knapscen.swag.ordered";
    /// The swag is ordered or waits for an address.
    TouchpointsCreated = "touchpoints-created", "disco.knapscen.touchpoints.created";
    /// The end of the flow; nothing is triggered by it.
    CustomerOnboarded = "customer-onboarded", "disco.knapscen.customer.onboarded";
}

impl Kind {
    /// The kind with this NATS subject.
    pub fn from_subject(subject: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.subject() == subject)
    }
}

/// What a step says next: about whom, and what.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// The CloudEvents `subject`, and the natural key of the event's id.
    pub subject: Uuid,
    /// The CloudEvents `data`.
    pub data: Value,
}

/// An event as it goes to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The CloudEvents `id`, also the broker's message id.
    pub id: String,
    /// Where it is published.
    pub nats_subject: String,
    /// The event in structured JSON mode.
    pub payload: String,
}

/// A time as it stands in events: UTC, milliseconds, `Z`.
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
        for kind in Kind::ALL {
            assert_eq!(Kind::from_subject(kind.subject()), Some(kind));
            assert!(kind.ty().starts_with("disco.knapscen."));
        }
        assert_eq!(Kind::from_subject("customer"), None);
    }
}
