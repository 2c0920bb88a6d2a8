//! A statement for a server with its values in it: to prepare one costs another round trip, and a worker runs each only once.
//!
//! A text goes as hexadecimal digits, so that no text can be read as SQL, whatever the server's mode.

use std::fmt::Write;

use super::value::Value;
use crate::error::{Error, Result};

/// The statement with a literal in the place of each question mark.
pub(super) fn filled(sql: &str, values: &[Value<'_>]) -> Result<String> {
    let mut out = String::with_capacity(sql.len() + 64 * values.len());
    let mut parts = sql.split('?');
    out.push_str(parts.next().unwrap_or_default());
    let mut values = values.iter();
    for part in parts {
        write(values.next().ok_or_else(miscounted)?, &mut out);
        out.push_str(part);
    }
    if values.next().is_some() { Err(miscounted()) } else { Ok(out) }
}

fn write(value: &Value<'_>, out: &mut String) {
    // A String takes everything.
    let _ = match value {
        Value::Text(text) => {
            out.push_str("_utf8mb4 X'");
            for byte in text.bytes() {
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
            out.push('\'');
            Ok(())
        }
        Value::Integer(number) => write!(out, "{number}"),
        Value::Time(time) => write!(out, "TIMESTAMP'{}'", time.format("%Y-%m-%d %H:%M:%S%.6f")),
        Value::Date(date) => write!(out, "DATE'{}'", date.format("%Y-%m-%d")),
        Value::Null => write!(out, "NULL"),
    };
}

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

fn miscounted() -> Error {
    Error::bug("a statement has not as many values as question marks")
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, TimeZone, Utc};

    use super::*;

    #[test]
    fn a_value_stands_where_its_question_mark_was_and_no_text_ends_its_quotes() {
        let time = Utc.with_ymd_and_hms(2026, 2, 27, 9, 15, 2).unwrap();
        let date = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let values =
            ["it's ?\\".into(), (-7).into(), time.into(), date.into(), Value::Null, "".into(), "é".into()];
        let sql = filled("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", &values).unwrap();
        assert_eq!(
            sql,
            "INSERT INTO t VALUES (_utf8mb4 X'69742773203F5C', -7, TIMESTAMP'2026-02-27 09:15:02.000000', \
             DATE'2026-03-01', NULL, _utf8mb4 X'', _utf8mb4 X'C3A9')"
        );
    }

    #[test]
    fn a_value_too_many_or_too_few_is_a_bug() {
        for (sql, values) in [("?", vec![]), ("? ?", vec![1.into()]), ("1", vec![1.into()])] {
            assert_eq!(filled(sql, &values).unwrap_err().class().exit_code(), 70, "{sql}");
        }
    }
}
