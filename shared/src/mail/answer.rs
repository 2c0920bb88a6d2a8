//! What the answer of a mail server means: the mail or its recipient is wrong, our configuration is wrong, or the
//! trouble may pass. One table.

use crate::error::Class;

/// The part of the conversation that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The connection and our name.
    Greeting,
    /// User and password.
    Login,
    /// The sender.
    Sender,
    /// The recipient.
    Recipient,
    /// The mail itself.
    Data,
}

const ANY: &[Stage] = &[Stage::Greeting, Stage::Login, Stage::Sender, Stage::Recipient, Stage::Data];
const OURS: &[Stage] = &[Stage::Greeting, Stage::Login, Stage::Sender];

/// The condition of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// The reply code.
    Code(&'static [u16]),
    /// A temporary failure (4xx).
    ForNow,
    /// Subject and detail of the enhanced status code (RFC 3463), without its class.
    Enhanced(&'static [(u16, u16)]),
    /// Any detail with one of these subjects.
    Subject(&'static [u16]),
    /// One of these words in lower case, in an answer without an enhanced code. A blank is where a word begins or ends.
    Words(&'static [&'static str]),
    /// Any answer.
    Else,
}

/// The first matching row counts.
const TABLE: &[(Asks, &[Stage], Class, &str)] = &[
    (
        Asks::ForNow,
        ANY,
        Class::Unavailable,
        "greylisting, a quota, too many connections: 4xx and every 4.x.x",
    ),
    (Asks::Code(&[530, 534, 535, 538]), ANY, Class::Credentials, "the login is missing or refused"),
    (Asks::Enhanced(&[(1, 7), (1, 8)]), ANY, Class::Configuration, "the sender (SMTP_FROM) is refused"),
    (
        Asks::Enhanced(&[(2, 2), (3, 1), (3, 2), (4, 5), (4, 7), (5, 3)]),
        ANY,
        Class::Unavailable,
        "a mailbox or system is full or busy",
    ),
    (
        Asks::Enhanced(&[(3, 3), (3, 5), (4, 6)]),
        ANY,
        Class::Configuration,
        "the server is set up in another way than we need",
    ),
    (Asks::Subject(&[7]), ANY, Class::Configuration, "policy: no relaying, a block list, a missing login"),
    (
        Asks::Subject(&[5]),
        ANY,
        Class::Configuration,
        "the server does not understand our command or our name",
    ),
    (
        Asks::Enhanced(&[(1, 0), (1, 1), (1, 2), (1, 3), (1, 6), (1, 10)]),
        &[Stage::Recipient, Stage::Data],
        Class::Input,
        "the recipient is unknown",
    ),
    (
        Asks::Subject(&[1, 2, 4]),
        &[Stage::Recipient, Stage::Data],
        Class::Input,
        "the recipient cannot be reached",
    ),
    (Asks::Enhanced(&[(2, 3), (3, 4)]), ANY, Class::Input, "the mail is too large"),
    (Asks::Subject(&[6]), ANY, Class::Input, "the content of the mail is refused"),
    (
        Asks::Words(&[
            "greylist",
            "graylist",
            "quota",
            " full ",
            "too many",
            "rate limit",
            "try again",
            "retry in",
            "try later",
            "back later",
            "temporar",
        ]),
        ANY,
        Class::Unavailable,
        "greylisting, a quota, a full mailbox or too much at once, in words alone",
    ),
    (
        Asks::Words(&[
            "relay",
            "rcpthosts",
            "authenticat",
            "blocked",
            "block list",
            "blocklist",
            "blacklist",
            "denylist",
            "spamhaus",
            " spf ",
            " dkim ",
            " dmarc ",
            " policy ",
        ]),
        ANY,
        Class::Configuration,
        "policy, in words alone",
    ),
    (
        Asks::Code(&[500, 502, 503, 504]),
        ANY,
        Class::Configuration,
        "the server does not understand our command",
    ),
    (Asks::Else, OURS, Class::Configuration, "the server does not want us, our name, or our sender"),
    (Asks::Code(&[552]), &[Stage::Recipient], Class::Unavailable, "the mailbox is full"),
    (
        Asks::Code(&[554]),
        &[Stage::Recipient],
        Class::Configuration,
        "the server takes no mail from us for this recipient",
    ),
    (Asks::Else, &[Stage::Recipient], Class::Input, "the recipient is unknown"),
    (Asks::Else, &[Stage::Data], Class::Input, "the mail is refused"),
];

/// The class of an unsuccessful answer, and its meaning.
pub(super) fn about(stage: Stage, code: u16, text: &str) -> (Class, &'static str) {
    let enhanced = enhanced(text);
    let plain = words_of(text);
    let fits = |asks: Asks| match (asks, enhanced) {
        (Asks::ForNow, Some((4, ..))) | (Asks::Else, _) => true,
        (Asks::ForNow, _) => (400..500).contains(&code),
        (Asks::Code(codes), _) => codes.contains(&code),
        (Asks::Enhanced(wanted), Some((_, subject, detail))) => wanted.contains(&(subject, detail)),
        (Asks::Subject(wanted), Some((_, subject, _))) => wanted.contains(&subject),
        (Asks::Words(words), None) => words.iter().any(|word| plain.contains(word)),
        (Asks::Enhanced(_) | Asks::Subject(_), None) | (Asks::Words(_), Some(_)) => false,
    };
    TABLE
        .iter()
        .find(|(asks, stages, ..)| stages.contains(&stage) && fits(*asks))
        .map_or((Class::Unavailable, ""), |(_, _, class, words)| (*class, words))
}

/// The rows for the documents: meaning with codes, and exit code.
pub(super) fn rows() -> Vec<(String, u8)> {
    let row = |(asks, stages, class, words): &(Asks, &[Stage], Class, &str)| {
        (format!("{words}{}", codes(*asks, stages)), class.exit_code())
    };
    TABLE.iter().map(row).collect()
}

/// The answers that a row is for, if its words do not say so.
fn codes(asks: Asks, stages: &[Stage]) -> String {
    let codes: Vec<_> = match asks {
        Asks::ForNow | Asks::Words(_) => return String::new(),
        Asks::Code(codes) => codes.iter().map(ToString::to_string).collect(),
        // The temporary ones, 4.x.x, have a row of their own.
        Asks::Enhanced(pairs) => {
            pairs.iter().map(|(subject, detail)| format!("5.{subject}.{detail}")).collect()
        }
        Asks::Subject(subjects) => subjects.iter().map(|subject| format!("5.{subject}.x")).collect(),
        Asks::Else => Vec::new(),
    };
    let to = match stages {
        [Stage::Recipient] => " to the recipient",
        [Stage::Data] => " to the mail",
        OURS => " to the connection, the login or the sender",
        _ => "",
    };
    let codes = if codes.is_empty() { "every other answer".to_owned() } else { codes.join(", ") };
    format!(": {codes}{to}")
}

/// The words in lower case with one blank around each, without addresses: `quota@x.io` is no quota.
fn words_of(text: &str) -> String {
    let without_addresses: Vec<_> = text.split_whitespace().filter(|word| !word.contains('@')).collect();
    let lower = without_addresses.join(" ").to_lowercase();
    let words: Vec<_> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    format!(" {} ", words.join(" "))
}

/// The enhanced status code at the beginning of a text, such as `5.7.1`, or one with a `#` later, such as `(#5.7.1)`.
/// x.0.0 carries no information and is ignored.
fn enhanced(text: &str) -> Option<(u16, u16, u16)> {
    let mut words = text.split_whitespace();
    let first = words.next().and_then(code);
    first.or_else(|| words.filter(|word| word.contains('#')).find_map(code))
}

fn code(word: &str) -> Option<(u16, u16, u16)> {
    let word = word.trim_matches(|c| "(#):,;[]<>.".contains(c));
    let mut parts = word.splitn(3, '.').map(|part| part.parse::<u16>().ok());
    match (parts.next()??, parts.next()??, parts.next()??) {
        (_, 0, 0) => None,
        (class @ (2 | 4 | 5), subject, detail) => Some((class, subject, detail)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_about_the_event_the_set_up_or_the_moment() {
        use Stage::{Data, Greeting, Login, Recipient, Sender};
        for (stage, code, text, exit) in [
            // Trouble that may pass.
            (Greeting, 421, "4.7.0 Too many connections", 75),
            (Greeting, 554, "4.3.2 Please try again later", 75),
            (Login, 454, "4.7.0 Temporary authentication failure", 75),
            (Recipient, 450, "4.2.0 <a@x.io>: Recipient address rejected: Greylisted", 75),
            (Recipient, 451, "Greylisting in action, please come back later", 75),
            (Recipient, 452, "4.5.3 Too many recipients", 75),
            (Recipient, 552, "5.2.2 Mailbox full", 75),
            (Recipient, 552, "Requested mail action aborted: exceeded storage allocation", 75),
            (Data, 554, "5.3.1 Mail system full", 75),
            (Recipient, 550, "Greylisted, please retry in 300 seconds", 75),
            (Recipient, 550, "Mailbox quota exceeded", 75),
            (Recipient, 550, "Too many connections from your IP", 75),
            (Recipient, 550, "sorry, the mailbox is full (#5.2.2)", 75),
            (Recipient, 550, "The mailbox is full.", 75),
            (Recipient, 550, "5.2.2, over quota", 75),
            (Recipient, 550, "[5.2.2] over the limit", 75),
            (Greeting, 554, "Please try again later", 75),
            (Data, 452, "4.3.1 Insufficient system storage", 75),
            // Our configuration.
            (Greeting, 554, "5.7.1 Service unavailable; client host blocked", 78),
            (Greeting, 554, "No SMTP service here", 78),
            (Greeting, 550, "5.7.1 invalid HELO name", 78),
            (Greeting, 501, "5.5.4 Syntactically invalid EHLO argument", 78),
            (Login, 535, "5.7.8 Authentication credentials invalid", 78),
            (Login, 535, "Incorrect authentication data", 78),
            (Login, 538, "Encryption required for requested authentication mechanism", 78),
            (Sender, 530, "5.7.0 Must issue a STARTTLS command first", 78),
            (Sender, 530, "Authentication required", 78),
            (Sender, 553, "5.7.1 Sender address rejected: not owned by user", 78),
            (Sender, 550, "5.1.8 Sender address rejected: Domain not found", 78),
            (Sender, 553, "sorry, your envelope sender is in my badmailfrom list", 78),
            (Recipient, 554, "5.7.1 <a@x.io>: Relay access denied", 78),
            (Recipient, 550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain", 78),
            (Recipient, 550, "relay not permitted", 78),
            (Recipient, 553, "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", 78),
            (Recipient, 503, "5.5.1 Error: need MAIL command", 78),
            (Recipient, 554, "Transaction failed", 78),
            (Data, 550, "5.7.26 This mail is unauthenticated", 78),
            (Data, 554, "5.4.6 Too many hops", 78),
            (Recipient, 550, "SPF check failed", 78),
            (Recipient, 550, "refused due to the sender's DMARC policy", 78),
            (Recipient, 550, "<a@x.io>: on the block-list of spam", 78),
            (Greeting, 550, "HELO is not a fully qualified name", 78),
            // The event.
            (Recipient, 550, "5.1.1 <a@x.io>: User unknown in virtual mailbox table", 65),
            (Recipient, 550, "5.4.1 Recipient address rejected: Access denied", 65),
            (Recipient, 550, "5.1.2 Host unknown", 65),
            (Recipient, 556, "5.1.10 Recipient address has null MX", 65),
            (Recipient, 550, "5.2.1 Mailbox disabled", 65),
            (Recipient, 550, "No such user here", 65),
            (Recipient, 550, "<quota-policy@relay.io>: no such user", 65),
            (Recipient, 550, "#5.1.1 unknown", 65),
            (Recipient, 553, "Requested action not taken: mailbox name not allowed", 65),
            (Recipient, 550, "5.0.0 something", 65),
            (Data, 552, "5.3.4 Message size exceeds fixed limit", 65),
            (Data, 552, "5.2.3 Message length exceeds limit", 65),
            (Data, 554, "5.6.0 Message contains bare CR", 65),
            (Data, 550, "content rejected", 65),
        ] {
            let (class, words) = about(stage, code, text);
            assert_eq!(class.exit_code(), exit, "{stage:?} {code} {text}: {words}");
        }
    }

    #[test]
    fn every_row_decides_some_answer() {
        let stages = ANY;
        let texts = [
            "4.2.0", "5.1.8", "5.2.2", "5.3.5", "5.7.1", "5.5.4", "5.1.1", "5.4.1", "5.3.4", "5.6.0",
            "no relay", "quota", "", "5.1.4",
        ];
        let codes = [450, 500, 535, 550, 552, 554];
        let mut met = std::collections::BTreeSet::new();
        for stage in stages {
            for text in texts {
                met.extend(codes.iter().map(|code| about(*stage, *code, text).1));
            }
        }
        for (.., words) in TABLE {
            assert!(met.contains(words), "{words}");
        }
    }
}
