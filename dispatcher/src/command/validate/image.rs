//! The images of the flow and what each announces.

use shared::event::Kind;

pub(super) use crate::flow::announces;

/// The fields of the event's data that may be missing.
pub(super) fn optional_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::CustomerRegistered | Kind::SwagOrdered => &["shipping_address"],
        Kind::CustomerSaved => &["users", "shipping_address"],
        Kind::UserSaved => &["customer_id", "customer_name", "subscription_tier"],
        _ => &[],
    }
}
