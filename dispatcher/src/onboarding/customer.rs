//! Finds the customer that an event is about.

use serde_json::Value;

use crate::plan::IncomingEvent;

/// The customer that the event's data names, otherwise the event's subject.
pub fn id_of(event: &IncomingEvent) -> String {
    field(event, "customer_id").unwrap_or_else(|| event.subject()).to_owned()
}

/// The customer's name. In an event about a user, `name` is the user's name, so it is not used.
pub fn name_of(event: &IncomingEvent) -> String {
    let own = || field(event, "name").filter(|_| field(event, "user_id").is_none());
    field(event, "customer_name").or_else(own).unwrap_or_default().to_owned()
}

fn field<'a>(event: &'a IncomingEvent, name: &str) -> Option<&'a str> {
    event.view().get("data")?.get(name).and_then(Value::as_str)
}
