//! Messages to publish, and the acknowledgement of a publish.

use bytes::Bytes;

use super::{Error, Result};

/// The header that carries the message id, as NATS names it.
pub const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The header that counts how often a message was replayed from the dead letters.
pub const REPLAY: &str = "Replay";

/// A message to publish: bytes and headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// A NATS subject without wildcards.
    pub subject: String,
    /// A second message with the same id inside the duplicate window is dropped.
    pub id: Option<String>,
    /// Names may repeat. An id in [`Message::id`] replaces a `Nats-Msg-Id` here.
    pub headers: Vec<(String, String)>,
    /// Any bytes.
    pub payload: Bytes,
}

/// The acknowledgement of a publish: the message is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number of the message in its stream, or of the earlier message that this one repeats.
    pub sequence: u64,
    /// The id was seen inside the duplicate window: the message was dropped.
    pub duplicate: bool,
}

impl Message {
    /// The headers as they are stored, including the id. Refuses on either bus what a NATS server could not carry.
    pub(super) fn checked_headers(&self) -> Result<Vec<(String, String)>> {
        check_subject(&self.subject)?;
        let mut headers: Vec<_> = match &self.id {
            Some(id) => {
                let others = self.headers.iter().filter(|(name, _)| name != MESSAGE_ID).cloned();
                others.chain([(MESSAGE_ID.to_owned(), id.clone())]).collect()
            }
            None => self.headers.clone(),
        };
        for (name, value) in &mut headers {
            if name.is_empty() || name.contains(|letter: char| !letter.is_ascii_graphic() || letter == ':') {
                return Err(Error::Refused(format!(
                    "header name {name:?} is not made of visible ASCII without ':'"
                )));
            }
            if value.contains(['\r', '\n']) {
                return Err(Error::Refused(format!("the value of header {name} has a line break")));
            }
            *value = value.trim().to_owned(); // because every NATS client trims it
        }
        Ok(headers)
    }
}

/// The size of headers and payload, in bytes.
pub(super) fn size(headers: &[(String, String)], payload: &[u8]) -> usize {
    payload.len() + headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

/// The value of the first header of this name.
pub(super) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Refuses a subject that nobody can publish on, or that belongs to the server: its API, its stores and the replies
/// to requests.
pub(super) fn check_subject(subject: &str) -> Result<()> {
    if subject.starts_with('$') || subject.starts_with("_INBOX") {
        return Err(Error::Refused(format!("{subject:?} is a subject of the NATS server itself")));
    }
    let bad_token = |token: &str| {
        token.is_empty()
            || token == "*"
            || token == ">"
            || token.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    };
    if subject.split('.').any(bad_token) {
        return Err(Error::Refused(format!("{subject:?} is not a NATS subject without wildcards")));
    }
    Ok(())
}
