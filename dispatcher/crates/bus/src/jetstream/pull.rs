//! One pull: the messages that wait now, or the next one to come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::StatusCode;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;

use super::api::{ANSWER_TIME, Api, Wish};
use super::stream::Wanted;
use super::{Acker, attempts, header_list};
use crate::budget::Room;
use crate::delivery::replay_count;
use crate::{Delivery, Error, LARGEST_PLANNED, Result};

/// How often a waiting request checks whether its connection is still the same.
const LOOK: Duration = Duration::from_millis(200);

/// How long lease and fetches last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The lease of a consumer that we create.
    pub(super) lease: Duration,
    /// How long a fetch waits if there is no message.
    pub(super) heartbeat: Duration,
}

/// A delivery that no caller has asked for yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) since: Instant,
    pub(super) delivery: Delivery,
}

/// What a pull brings.
#[derive(Debug, Default)]
pub(super) struct Pulled {
    pub(super) held: Vec<Held>,
    /// Nothing came, because the next message is larger than the room.
    pub(super) too_large: Option<TooLarge>,
}

/// Which room is too small for the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooLarge {
    /// The room of a waiting lane; a lane that asks has more.
    Waiting,
    /// The room of a lane that asks.
    Asking,
}

/// The messages that wait now, up to `max`; if there are none, the first that comes and those that came with it.
pub(super) async fn pull(
    api: Api,
    stream: Wanted,
    consumer: String,
    max: usize,
    times: Times,
    mut room: Room,
) -> Result<Pulled> {
    let source = Source { api: api.clone(), stream: stream.name.clone(), consumer, lease: times.lease };
    // Each request must have ended on the server before the next one, so that no earlier request takes messages that
    // nobody receives.
    let alone = room.is_alone();
    let max = if alone { 1 } else { max };
    let now = |batch, room: &Room| Wish { batch, bytes: room.limit(), within: None };
    let mut got = source.request(now(max, &room), ANSWER_TIME, &mut room).await?;
    if got.too_large {
        return Ok(Pulled { too_large: Some(TooLarge::Asking), ..Pulled::default() });
    }
    if got.held.is_empty() && !alone {
        room.wait();
        let one = Wish { batch: 1, bytes: room.limit(), within: Some(times.heartbeat) };
        got = source.request(one, times.heartbeat + ANSWER_TIME / 2, &mut room).await?;
        if got.too_large {
            return Ok(Pulled { too_large: Some(TooLarge::Waiting), ..Pulled::default() });
        }
        if !got.held.is_empty() && max > 1 {
            room.grow();
            // Messages that we hold are returned even if this fails.
            let more = source.request(now(max - 1, &room), ANSWER_TIME, &mut room).await;
            got.held.extend(more.unwrap_or_default().held);
        }
    }
    let mut held = got.held;
    // A large message rarely comes alone.
    let again = alone && held.iter().any(|held| held.delivery.size() > LARGEST_PLANNED);
    attempts::recall(&api, &stream, held.iter_mut().map(|held| &mut held.delivery)).await;
    Ok(Pulled { held, too_large: again.then_some(TooLarge::Asking) })
}

/// The consumer that a pull takes from.
struct Source {
    api: Api,
    stream: String,
    consumer: String,
    lease: Duration,
}

impl Source {
    /// Sends one request and collects what comes, within the room, until the server says that the request has ended.
    async fn request(&self, wish: Wish, limit: Duration, room: &mut Room) -> Result<Got> {
        let api = &self.api;
        let mut messages = api.pull(&self.stream, &self.consumer, wish).await?;
        let connection = api.connects();
        let deadline = Instant::now() + limit;
        let mut got = Got::default();
        let (mut came, mut bytes, mut expected) = (0, 0, wish.batch);
        // A server whose byte limit is used up sends no status.
        while came < expected && wish.bytes.is_none_or(|most| bytes < most) {
            let lost = match tokio::time::timeout(LOOK, messages.next()).await {
                Ok(Some(message)) => match Word::of(&message) {
                    Word::Message => {
                        came += 1;
                        bytes += message.length;
                        let part = room.part(message.length);
                        let delivery = delivery(api, message, self.lease, part);
                        got.held.extend(delivery.map(|delivery| Held { since: Instant::now(), delivery }));
                        continue;
                    }
                    // A replicated consumer first copies messages to its replicas, and may report the end before they
                    // arrive here.
                    Word::Done { unsent, too_large } => {
                        expected = wish.batch.saturating_sub(unsent);
                        got.too_large = too_large && expected == 0 && came == 0;
                        continue;
                    }
                    Word::Refused(why) => Error::Unavailable(format!(
                        "NATS refuses a fetch from consumer {}: {why}",
                        self.consumer
                    )),
                    Word::Alive if Instant::now() < deadline => continue,
                    Word::Alive => self.late(),
                },
                // The server of a new connection does not know this request.
                Err(_) if Instant::now() < deadline && api.connects() == connection => continue,
                Ok(None) | Err(_) if api.connected() && api.connects() == connection => self.late(),
                Ok(None) | Err(_) => {
                    Error::Unavailable(format!("NATS at {} was disconnected during a fetch", api.address))
                }
            };
            // What came before is returned. If the error stays, the next fetch meets it again.
            return if got.held.is_empty() { Err(lost) } else { Ok(got) };
        }
        Ok(got)
    }

    fn late(&self) -> Error {
        Error::Unavailable(format!("NATS at {} does not answer a fetch in time", self.api.address))
    }
}

/// What the server sends for a request.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Message,
    /// The request is still being served.
    Alive,
    /// The request has ended; `unsent` messages of those that it asked for were not sent.
    Done {
        unsent: usize,
        too_large: bool,
    },
    Refused(String),
}

impl Word {
    fn of(message: &async_nats::Message) -> Self {
        // A stored message may have a status header of its own. A message with a reply address is always a message.
        if message.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK.")) {
            return Self::Message;
        }
        let words = message.description.as_deref().unwrap_or_default();
        let says = |part: &str| words.to_ascii_lowercase().contains(part);
        // A server that does not report the count has sent nothing, or sends this status last.
        let unsent = || {
            let header = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
            header.and_then(|count| count.as_str().parse().ok()).unwrap_or(usize::MAX)
        };
        match message.status {
            None | Some(StatusCode::OK | StatusCode::IDLE_HEARTBEAT) => Self::Alive,
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => {
                Self::Done { unsent: unsent(), too_large: false }
            }
            Some(StatusCode::REQUEST_TERMINATED) if says("exceeds maxbytes") => {
                Self::Done { unsent: unsent(), too_large: true }
            }
            Some(StatusCode::REQUEST_TERMINATED) if says("batch completed") => {
                Self::Done { unsent: unsent(), too_large: false }
            }
            Some(status) => Self::Refused(format!("{status} {words}")),
        }
    }
}

/// What one request has brought.
#[derive(Debug, Default)]
struct Got {
    held: Vec<Held>,
    /// It brought nothing, because the next message has more bytes than were asked for.
    too_large: bool,
}

fn delivery(api: &Api, message: async_nats::Message, lease: Duration, room: Room) -> Option<Delivery> {
    let reply = message.reply?.to_string();
    let facts = Facts::parse(&reply)?;
    let headers = header_list(message.headers.as_ref());
    Some(Delivery {
        subject: message.subject.to_string(),
        replay: replay_count(&headers),
        headers,
        // Copied, because the client's bytes are a slice of a buffer that may be much larger and would stay as long.
        payload: Bytes::copy_from_slice(&message.payload),
        published_at: facts.published_at,
        sequence: facts.sequence,
        delivery_count: facts.delivery_count,
        attempts: 0,
        lease,
        answers: Arc::new(Acker { api: api.clone(), reply }),
        room: Some(Arc::new(room)),
    })
}

/// What the reply subject of a delivery says (ADR-15).
#[derive(Debug, PartialEq)]
struct Facts {
    delivery_count: u64,
    sequence: u64,
    published_at: DateTime<Utc>,
}

impl Facts {
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<nanoseconds>.<pending>`, or with a
    /// domain and an account hash before the stream, and more after.
    fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<_> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let numbers = match tokens.len() {
            7 => &tokens[2..],
            9.. => &tokens[4..],
            _ => return None,
        };
        Some(Self {
            delivery_count: numbers[0].parse().ok()?,
            sequence: numbers[1].parse().ok()?,
            published_at: DateTime::from_timestamp_nanos(numbers[3].parse().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Facts;

    #[test]
    fn both_forms_of_the_reply_subject_are_read() {
        let short = Facts::parse("$JS.ACK.stream.consumer.3.17.20.1700000000000000001.5").unwrap();
        let long =
            Facts::parse("$JS.ACK.hub.hash.stream.consumer.3.17.20.1700000000000000001.5.token").unwrap();
        assert_eq!((short.delivery_count, short.sequence), (3, 17));
        assert_eq!(short.published_at.timestamp_nanos_opt(), Some(1_700_000_000_000_000_001));
        assert_eq!(short, long);
        assert_eq!(Facts::parse("_INBOX.x"), None);
    }
}
