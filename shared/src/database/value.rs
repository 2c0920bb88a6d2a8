//! The values of statements, for either kind of database.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use sqlx::query::Query;
use sqlx::{Database, Encode, Type};
use uuid::Uuid;

/// A value to bind.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// A time, UTC.
    Time(DateTime<Utc>),
    /// A day.
    Date(NaiveDate),
    /// NULL.
    Null,
}

/// `?, ?, ?`: placeholders for this many values.
pub fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// `(?, ?), (?, ?)`: placeholders for rows of values.
pub fn rows(rows: usize, columns: usize) -> String {
    vec![format!("({})", marks(columns)); rows].join(", ")
}

/// A statement with its values bound.
pub(super) fn bound<'q, D>(sql: &'q str, values: &'q [Value<'q>]) -> Query<'q, D, D::Arguments<'q>>
where
    D: Database,
    &'q str: Encode<'q, D> + Type<D>,
    i64: Encode<'q, D> + Type<D>,
    NaiveDateTime: Encode<'q, D> + Type<D>,
    NaiveDate: Encode<'q, D> + Type<D>,
    Option<&'q str>: Encode<'q, D>,
{
    values.iter().fold(sqlx::query(sql), |query, value| match value {
        Value::Text(text) => query.bind(text.as_ref()),
        Value::Integer(number) => query.bind(*number),
        Value::Time(time) => query.bind(time.naive_utc()),
        Value::Date(date) => query.bind(*date),
        Value::Null => query.bind(None::<&str>),
    })
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Text(id.to_string().into())
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<DateTime<Utc>> for Value<'_> {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Time(time)
    }
}

impl From<NaiveDate> for Value<'_> {
    fn from(date: NaiveDate) -> Self {
        Self::Date(date)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
