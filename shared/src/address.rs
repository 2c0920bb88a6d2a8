//! An e-mail address, checked once: every later step can use what the registration has accepted.

use std::fmt;

use lettre::message::{Mailbox, Message};
use serde::Serialize;

use crate::config::{Described, Environment, Variables, trimmed};
use crate::customer::MAX_CHARACTERS;
use crate::error::{Error, Result};

/// The variable that allows local parts beyond ASCII, if the mail server accepts them.
const SMTPUTF8: &str = "SMTP_UTF8";

/// An address as it is sent: in lower case, with its domain in ASCII. Two spellings of one address are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Address(String);

/// Which addresses mail can be sent to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    beyond_ascii: bool,
}

/// Whether local parts must be ASCII; not if `SMTP_UTF8` is `true`.
impl Variables for Rules {
    fn settings() -> Vec<Described> {
        vec![(SMTPUTF8, "true where the mail server takes addresses beyond ASCII (SMTPUTF8)")]
    }

    fn secrets() -> Vec<&'static str> {
        Vec::new()
    }

    fn read(environment: &Environment) -> Result<Self> {
        match environment.given(SMTPUTF8)? {
            None | Some("false") => Ok(Self { beyond_ascii: false }),
            Some("true") => Ok(Self { beyond_ascii: true }),
            Some(_) => Err(Error::configuration(format!("{SMTPUTF8} is not one of true, false"))),
        }
    }
}

impl Rules {
    /// From the variables.
    pub fn of(environment: &Environment) -> Result<Self> {
        <Self as Variables>::read(environment)
    }

    /// The address in a text; `what` names the field for errors.
    pub fn address(self, what: &str, text: &str) -> Result<Address> {
        self.parse(text).map_err(|wrong| Error::input(format!("{what} {wrong}")))
    }

    /// The address in a setting.
    pub fn configured(self, variable: &str, text: &str) -> Result<Address> {
        self.parse(text).map_err(|wrong| Error::configuration(format!("{variable} {wrong}")))
    }

    fn parse(self, text: &str) -> std::result::Result<Address, String> {
        let text = trimmed(text);
        let (local, domain) = text.rsplit_once('@').ok_or("is not an e-mail address: it has no @")?;
        let domain = idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::URL)
            .map_err(|_| "is not an e-mail address: its domain is no name of a host")?;
        let address = format!("{}@{domain}", local.to_lowercase());
        match address.chars().count() {
            ..=MAX_CHARACTERS => {}
            more => return Err(format!("has {more} characters, more than {MAX_CHARACTERS}")),
        }
        if !self.beyond_ascii && !local.is_ascii() {
            return Err(format!(
                "has letters beyond ASCII before the @, and mail to it is possible only where {SMTPUTF8} is true"
            ));
        }
        if can_be_mailed(&address) {
            Ok(Address(address))
        } else {
            Err("is not an e-mail address".to_owned())
        }
    }
}

impl Address {
    /// The address from the database, where earlier versions may have stored another spelling.
    pub(crate) fn stored(text: String) -> Self {
        Rules { beyond_ascii: true }.parse(&text).unwrap_or(Self(text))
    }

    /// As it is stored and sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::ops::Deref for Address {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Whether a mail to it can be built, with the same address in its envelope. Some addresses are valid in an envelope
/// and not in a header.
fn can_be_mailed(address: &str) -> bool {
    let Ok(parsed) = address.parse::<lettre::Address>() else { return false };
    let to = Mailbox::new(None, parsed.clone());
    let mail = Message::builder().from(to.clone()).to(to).body(String::new());
    mail.is_ok_and(|mail| mail.envelope().to() == [parsed])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address> {
        Rules::default().address("USER_EMAIL", text)
    }

    #[test]
    fn an_address_is_in_lower_case_and_its_domain_in_ascii() {
        for (text, address) in [
            (" Ann@Example.COM\n", "ann@example.com"),
            ("a@bücher.example", "a@xn--bcher-kva.example"),
            ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
            ("a@xn--BCHER-kva.example", "a@xn--bcher-kva.example"),
            ("a@例え.テスト", "a@xn--r8jz45g.xn--zckzah"),
            ("a@faß.example", "a@xn--fa-hia.example"),
            ("a@m\u{fc}nchen。example", "a@xn--mnchen-3ya.example"),
            ("o'brien+tag.x_y@sub.example", "o'brien+tag.x_y@sub.example"),
        ] {
            assert_eq!(parse(text).unwrap().as_str(), address, "{text}");
        }
    }

    #[test]
    fn what_can_never_be_mailed_is_refused_where_it_comes_in() {
        for text in [
            "ann",
            "ann@",
            "@example.com",
            "a b@example.com",
            "ann@exa mple.com",
            "a@b\r\nBcc: c@d.e",
            "josé@example.com",
            "İ@t.example",
            "\"quoted local\"@example.com",
            "a@[127.0.0.1]",
            "a@[IPv6:::1]",
            "a..b@example.com",
            ".a@example.com",
            "a@-x.example",
            "a@x..example",
            "a@exam_ple.com\0",
            "<a@example.com>",
            "Ann <a@example.com>",
            "a@example.com,b@example.com",
            &format!("a@{}.example", "ü".repeat(40)),
            &format!("{}@example.com", "a".repeat(65)),
        ] {
            let Ok(address) = parse(text) else { continue };
            // If it is accepted here, a mail to it can be built.
            assert!(can_be_mailed(address.as_str()) && address.is_ascii(), "{text}");
            assert!(
                !["josé@example.com", "a@b\r\nBcc: c@d.e", "ann", "a@[127.0.0.1]"].contains(&text),
                "{text}"
            );
        }
        assert_eq!(parse("josé@example.com").unwrap_err().class().exit_code(), 65);
        assert!(parse("josé@example.com").unwrap_err().to_string().contains("SMTP_UTF8"));
    }

    #[test]
    fn a_local_part_beyond_ascii_is_taken_where_the_mail_server_is_said_to_take_it() {
        let rules = |value: &str| Rules::read(&Environment::from_pairs([("SMTP_UTF8", value)]));
        assert_eq!(
            rules("true").unwrap().address("x", "JOSÉ@example.com").unwrap().as_str(),
            "josé@example.com"
        );
        assert!(rules("false").unwrap().address("x", "josé@example.com").is_err());
        assert_eq!(rules("maybe").unwrap_err().to_string(), "SMTP_UTF8 is not one of true, false");
    }
}
