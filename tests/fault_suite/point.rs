//! The points of a worker's step at which it is killed: what it sends to which server, before it arrives or after it
//! was done.

use std::fmt;

use tests::proxy::Mode;

use crate::fault::{Kind, Server};

/// The point at which a worker is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) server: Server,
    /// What the worker sends to the server at this point.
    words: &'static str,
    moment: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The server has not received it.
    Before,
    /// The server has answered, and the worker has not received the answer.
    After,
}

use Moment::{After, Before};

const WORDS: [(Server, &str, Moment); 12] = [
    (Server::Broker, "CONNECT", Before),
    (Server::Broker, "HPUB", Before),
    (Server::Broker, "HPUB", After),
    (Server::Sink, "POST ", Before),
    (Server::Sink, "POST ", After),
    (Server::Database, "COMMIT", Before),
    (Server::Database, "COMMIT", After),
    (Server::Mail, "DATA", Before),
    (Server::Mail, "\r\n.\r\n", Before),
    (Server::Mail, "\r\n.\r\n", After),
    (Server::Vendor, "POST ", Before),
    (Server::Vendor, "POST ", After),
];

/// The ledger and the rows of each step. An effect's entry, and the events that follow, each go in one message with a
/// `COMMIT`.
const STATEMENTS: [&str; 12] = [
    "INSERT INTO handled_events",
    "INSERT INTO effects",
    "INSERT INTO outbox",
    "INSERT INTO customers",
    "UPDATE customers SET subscription_tier",
    "INSERT INTO users",
    "UPDATE users SET name",
    "UPDATE customers SET welcome_due_at",
    "INSERT INTO sent_mails",
    "INSERT INTO swag_orders",
    "INSERT INTO touchpoints",
    "UPDATE customers SET onboarded_at",
];

impl Point {
    /// All points.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let statements = STATEMENTS
            .into_iter()
            .flat_map(|words| [Before, After].map(|moment| Self { server: Server::Database, words, moment }));
        WORDS.into_iter().map(|(server, words, moment)| Self { server, words, moment }).chain(statements)
    }

    /// The kind of fault that kills a worker there.
    pub(crate) fn kind(self) -> Kind {
        match (self.server, self.words, self.moment) {
            // The worker's transaction is committed.
            (Server::Broker, "HPUB", _) | (Server::Sink, ..) | (_, "INSERT INTO outbox", After) => {
                Kind::KillCommitted
            }
            (Server::Mail, "\r\n.\r\n", After)
            | (Server::Vendor, _, After)
            | (_, "INSERT INTO effects", Before) => Kind::KillAfterEffect,
            _ => Kind::KillAtPoint,
        }
    }

    /// What holds a worker there.
    pub(crate) fn hold(self) -> Mode {
        match self.moment {
            Before => Mode::HoldBefore(self.words),
            After => Mode::HoldAfter(self.words),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.moment == Before { "before" } else { "after" };
        write!(f, "{when} {:?} to the {:?}", self.words.trim(), self.server)
    }
}
