//! The answers to one delivery.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::api::Api;
use crate::Result;
use crate::delivery::{Answers, Reply};

/// How often an answer is sent before the caller is told that it did not arrive.
const TRIES: u32 = 3;

/// Where to answer.
#[derive(Clone, Debug)]
pub(super) struct Acker {
    pub(super) api: Api,
    pub(super) reply: String,
}

impl Answers for Acker {
    fn answer(&self, answer: Reply) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        Box::pin(async move {
            match answer {
                Reply::InProgress => self.api.tell(&self.reply, "+WPI").await,
                Reply::Ack => self.send(Bytes::from_static(b"+ACK")).await,
                Reply::Term => self.send(Bytes::from_static(b"+TERM")).await,
                Reply::Nak(delay) => {
                    // A nak without a delay would bring the message back at once. The server reads nanoseconds.
                    let nanoseconds = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX).max(1);
                    self.send(Bytes::from(format!("-NAK {}", json!({"delay": nanoseconds})))).await
                }
            }
        })
    }
}

impl Acker {
    /// Sends the answer until the server confirms it, because the connection may just be lost.
    async fn send(&self, answer: Bytes) -> Result<()> {
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
