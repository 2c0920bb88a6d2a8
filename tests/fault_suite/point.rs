//! The points of a worker's step at which it is killed: what it says to which server, before it is heard or once it is done.

use std::fmt;

use tests::proxy::Mode;

use crate::fault::Server;

/// Where a worker stands when it is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) server: Server,
    /// What the worker says to the server there.
    words: &'static str,
    moment: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The server has not heard it.
    Before,
    /// The server has answered, and the worker does not know.
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

/// The ledger and the rows of each step. The events that follow are stored in one message with the `COMMIT`.
const STATEMENTS: [&str; 10] = [
    "INSERT INTO handled_events",
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
    /// All that there are.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let statements = STATEMENTS
            .into_iter()
            .flat_map(|words| [Before, After].map(|moment| Self { server: Server::Database, words, moment }));
        WORDS.into_iter().map(|(server, words, moment)| Self { server, words, moment }).chain(statements)
    }

    /// Whether the worker's transaction is final there.
    pub(crate) fn is_committed(self) -> bool {
        let publishes =
            (self.server == Server::Broker && self.words == "HPUB") || self.server == Server::Sink;
        publishes || (self.words == "COMMIT" && self.moment == After)
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
