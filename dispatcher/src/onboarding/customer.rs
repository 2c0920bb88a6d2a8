//! Finds the customer that an event is about.

use serde_json::Value;
use shared::Uuid;

use crate::plan::IncomingEvent;

/// The customer that the event's data names, otherwise the event's subject.
pub fn id_of(event: &IncomingEvent) -> String {
    as_workers_write(field(event, "customer_id").unwrap_or_else(|| event.subject()))
}

/// An id as it is in the workers' tables: a publisher may write a UUID in capitals or without hyphens.
pub fn as_workers_write(id: &str) -> String {
    Uuid::try_parse(id.trim()).map_or_else(|_| id.to_owned(), |uuid| uuid.to_string())
}

/// The customer's name. In an event about a user, `name` is the user's name, so it is not used.
pub fn name_of(event: &IncomingEvent) -> String {
    let own = || field(event, "name").filter(|_| field(event, "user_id").is_none());
    field(event, "customer_name").or_else(own).unwrap_or_default().to_owned()
}

fn field<'a>(event: &'a IncomingEvent, name: &str) -> Option<&'a str> {
    event.view().get("data")?.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::as_workers_write;

    #[test]
    fn an_id_is_the_same_in_every_spelling_that_workers_accept() {
        let id = "0199c0de-0000-7000-8000-00000000ab0c";
        let capitals = id.to_uppercase();
        for spelling in [id, &capitals, &format!(" {id} "), &id.replace('-', ""), &format!("urn:uuid:{id}")] {
            assert_eq!(as_workers_write(spelling), id, "{spelling}");
        }
        assert_eq!(as_workers_write("Acme 7"), "Acme 7");
    }
}
