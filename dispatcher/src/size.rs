//! Limits the size of events, wherever they enter: what cannot be given to a Job is refused there.

use cloudevents::Data;
use shared::error::{Error, Result};
use shared::event::Event;

use crate::plan::LONGEST_VARIABLE;
use bus::LARGEST_PLANNED;

/// What the name of the variable for the data takes.
const NAME: usize = 64;

/// Refuses a larger event; `payload` is the whole event in JSON.
pub(crate) fn check(event: &Event, payload: &str) -> Result<()> {
    if payload.len() <= LONGEST_VARIABLE - NAME {
        return Ok(());
    }
    let data = match event.data() {
        Some(Data::Json(data)) => data.to_string().len(),
        Some(Data::String(text)) => text.len(),
        Some(Data::Binary(bytes)) => bytes.len().div_ceil(3) * 4,
        None => 0,
    };
    if data <= LONGEST_VARIABLE - NAME && payload.len() <= LARGEST_PLANNED {
        return Ok(());
    }
    Err(too_large(payload.len()))
}

/// The message of the refusal.
pub(crate) fn too_large(bytes: usize) -> Error {
    Error::input(format!("the event has {bytes} bytes: {}", limit()))
}

/// The limit as text.
pub(crate) fn limit() -> String {
    let kibibytes = LONGEST_VARIABLE >> 10;
    format!(
        "a Job can be given no more than {kibibytes} KiB ({LONGEST_VARIABLE} bytes) of data in a variable"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::event::to_json;

    use super::*;

    fn checked(id: &str, data: usize) -> Result<()> {
        let event = json!({"specversion": "1.0", "id": id, "source": "s", "type": "t", "data": {"d": "x".repeat(data)}});
        let event: Event = serde_json::from_value(event).unwrap();
        check(&event, &to_json(&event).unwrap())
    }

    #[test]
    fn data_that_fits_a_variable_may_enter_and_the_refusal_names_the_limit() {
        let fits = LONGEST_VARIABLE - NAME - r#"{"d":""}"#.len();
        for data in [0, 1000, fits - 200, fits] {
            checked("e", data).unwrap();
        }
        for (id, data) in [("e", fits + 1), ("e", 1 << 20), (&*"e".repeat(LARGEST_PLANNED), 0)] {
            let error = checked(id, data).unwrap_err();
            assert_eq!(error.class().exit_code(), 65);
            assert!(error.to_string().contains("128 KiB (131072 bytes)"), "{error}");
        }
    }
}
