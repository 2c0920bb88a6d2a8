//! The answers to one delivery.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::api::Api;
use crate::bus::Result;

/// How often an answer is sent before the caller hears that it did not arrive.
const TRIES: u32 = 3;

/// Where to answer.
#[derive(Clone, Debug)]
pub(in crate::bus) struct Handle {
    pub(super) api: Api,
    pub(super) reply: String,
}

impl Handle {
    pub(in crate::bus) async fn in_progress(&self) -> Result<()> {
        self.api.tell(&self.reply, "+WPI").await
    }

    pub(in crate::bus) async fn ack(&self) -> Result<()> {
        self.answer(Bytes::from_static(b"+ACK")).await
    }

    pub(in crate::bus) async fn nak(&self, delay: Duration) -> Result<()> {
        // A bare nak would come again at once; the server reads nanoseconds.
        let nanoseconds = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.answer(Bytes::from(format!("-NAK {}", json!({"delay": nanoseconds})))).await
    }

    pub(in crate::bus) async fn term(&self) -> Result<()> {
        self.answer(Bytes::from_static(b"+TERM")).await
    }

    /// Sends until the server confirms: the connection may be lost just now.
    async fn answer(&self, answer: Bytes) -> Result<()> {
        let mut tries = 1;
        loop {
            match self.api.answer(&self.reply, answer.clone()).await {
                Err(error) if error.try_again() && tries < TRIES => tries += 1,
                result => return result,
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
