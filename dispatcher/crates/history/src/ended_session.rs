//! Page sessions that were ended by a logout, so that every dispatcher refuses them.

use chrono::{DateTime, Utc};
use shared::error::Result;

use super::database::{execute, row, rows};
use super::{History, explain};

/// How many ended sessions there are with this word.
struct Count {
    ended: i64,
}

row!(Count { ended: i64 = "ended" });

impl History {
    /// Records that this session was ended. Forgets sessions that have expired anyway.
    pub async fn end_session(&self, word: &str, ends_at: DateTime<Utc>) -> Result<()> {
        let pool = &self.0.database.write;
        execute!(pool, query => {
            query.push("DELETE FROM ended_sessions WHERE ends_at < ").push_bind(Utc::now().naive_utc());
        })
        .map_err(explain)?;
        execute!(pool, query => {
            query.push("INSERT INTO ended_sessions (word, ends_at) VALUES (").push_bind(word.to_owned());
            query.push(", ").push_bind(ends_at.naive_utc()).push(")");
        })
        .map(drop)
        .map_err(explain)
    }

    /// Whether it was ended.
    pub async fn session_ended(&self, word: &str) -> Result<bool> {
        let counts: Vec<Count> = rows!(&self.0.database.read, query => {
            query.push("SELECT COUNT(*) AS ended FROM ended_sessions WHERE word = ").push_bind(word.to_owned());
        })
        .map_err(explain)?;
        Ok(counts.iter().any(|count| count.ended > 0))
    }
}
