//! A statement that is assembled from our own text and from values, and never parsed.
//!
//! For a server, values become literals, because preparing a statement costs another round trip, and a worker runs
//! each statement only once (`docs/decisions` has the figures). The types ensure that text from outside is never read
//! as SQL: only a `&'static str` can be SQL, and text values are sent as hexadecimal digits, which works in every SQL
//! mode. For a file, values are bound.

use std::fmt::Write;

use super::value::Value;

/// A statement.
#[derive(Clone, Debug)]
pub struct Statement<'a>(Vec<Part<'a>>);

#[derive(Clone, Debug)]
enum Part<'a> {
    Sql(&'static str),
    Value(Value<'a>),
}

impl<'a> Statement<'a> {
    /// A statement that begins with this text.
    pub fn new(sql: &'static str) -> Self {
        Self(vec![Part::Sql(sql)])
    }

    /// Text that follows.
    #[must_use]
    pub fn sql(mut self, sql: &'static str) -> Self {
        self.0.push(Part::Sql(sql));
        self
    }

    /// A value that follows.
    #[must_use]
    pub fn value(mut self, value: impl Into<Value<'a>>) -> Self {
        self.0.push(Part::Value(value.into()));
        self
    }

    /// The values of one row, in parentheses.
    #[must_use]
    pub fn row(mut self, values: impl IntoIterator<Item = Value<'a>>) -> Self {
        let mut before = "(";
        for value in values {
            self.0.extend([Part::Sql(before), Part::Value(value)]);
            before = ", ";
        }
        self.sql(")")
    }

    /// The values of several rows.
    #[must_use]
    pub fn rows<const COLUMNS: usize>(
        mut self,
        rows: impl IntoIterator<Item = [Value<'a>; COLUMNS]>,
    ) -> Self {
        for (index, row) in rows.into_iter().enumerate() {
            if index > 0 {
                self = self.sql(", ");
            }
            self = self.row(row);
        }
        self
    }

    /// Another statement in the same message, which runs if this one has not failed. Only servers accept several at
    /// once.
    #[must_use]
    pub(super) fn then(mut self, next: Self) -> Self {
        self.0.push(Part::Sql("; "));
        self.0.extend(next.0);
        self
    }

    /// The text with a literal for each value.
    pub(super) fn literal(&self) -> String {
        let mut text = String::with_capacity(64 * self.0.len());
        for part in &self.0 {
            match part {
                Part::Sql(sql) => text.push_str(sql),
                Part::Value(value) => write(value, &mut text),
            }
        }
        text
    }

    /// The text with a placeholder for each value, and the values.
    #[cfg(feature = "sqlite")]
    pub(super) fn marked(self) -> (String, Vec<Value<'a>>) {
        let mut text = String::new();
        let mut values = Vec::new();
        for part in self.0 {
            match part {
                Part::Sql(sql) => text.push_str(sql),
                Part::Value(value) => {
                    text.push('?');
                    values.push(value);
                }
            }
        }
        (text, values)
    }
}

fn write(value: &Value<'_>, out: &mut String) {
    // Writing to a `String` cannot fail.
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

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, TimeZone, Utc};

    use super::*;

    #[test]
    fn a_value_stands_where_it_was_put_and_no_text_ends_its_quotes() {
        let time = Utc.with_ymd_and_hms(2026, 2, 27, 9, 15, 2).unwrap();
        let date = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let values =
            ["it's ?\\".into(), (-7).into(), time.into(), date.into(), Value::Null, "".into(), "é".into()];
        assert_eq!(
            Statement::new("INSERT INTO t VALUES ").row(values).literal(),
            "INSERT INTO t VALUES (_utf8mb4 X'69742773203F5C', -7, TIMESTAMP'2026-02-27 09:15:02.000000', \
             DATE'2026-03-01', NULL, _utf8mb4 X'', _utf8mb4 X'C3A9')"
        );
    }

    #[test]
    fn a_question_mark_in_a_text_of_ours_or_of_others_is_a_question_mark() {
        let statement = || {
            Statement::new("SELECT '?', ")
                .value("?")
                .sql(" /* ? */ WHERE a IN ")
                .rows([["b?".into()], ["?c".into()]])
        };
        assert_eq!(
            statement().literal(),
            "SELECT '?', _utf8mb4 X'3F' /* ? */ WHERE a IN (_utf8mb4 X'623F'), (_utf8mb4 X'3F63')"
        );
        assert_eq!(statement().then(Statement::new("COMMIT")).literal().matches("; COMMIT").count(), 1);
        #[cfg(feature = "sqlite")]
        assert_eq!(statement().marked().1.len(), 3);
    }
}
