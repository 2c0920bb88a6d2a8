//! Mail: over SMTP, or as files for those who have no mail server.
//!
//! Reads `SMTP_SERVER` (or `SMTP_HOST`), `SMTP_PORT`, `SMTP_USER`, `SMTP_PASS` (or `SMTP_PASSWORD`), `SMTP_FROM`, `SMTP_TLS` (`none`, `opportunistic`,
//! `starttls`, `tls`), `SMTP_CA` (a PEM file); or `MAIL_DIR`, a folder that takes each mail as an `.eml` file.

mod smtp;

use std::path::PathBuf;

use chrono::Utc;
use lettre::Message;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use serde::Deserialize;
use uuid::Uuid;

use crate::config::Environment;
use crate::database::{Connection, Failure};
use crate::error::{Error, Result};
use crate::event::derive_id;

const DEFAULT_SENDER: &str = "Knapscen <onboarding@knapscen.disco>";
const MESSAGE_ID_DOMAIN: &str = "knapscen.disco";

#[derive(Deserialize)]
struct Settings {
    mail_dir: Option<PathBuf>,
    smtp_from: Option<String>,
}

/// The variables of this module, for `--help`.
pub const SETTINGS: &[(&str, &str)] = &[
    ("SMTP_SERVER, SMTP_PORT", "the mail server (also SMTP_HOST); port 25, 587 or 465 by SMTP_TLS"),
    ("SMTP_USER, SMTP_PASS", "its credentials (also SMTP_PASSWORD)"),
    ("SMTP_FROM", "the sender, such as \"Knapscen <hello@example.com>\""),
    ("SMTP_TLS, SMTP_CA", "none, opportunistic, starttls, tls; a PEM file"),
    ("MAIL_DIR", "write mails as .eml files here instead"),
];

/// A mail to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The `Message-ID`, without angle brackets: the same for every repeat.
    pub message_id: String,
    /// The recipient's name, if known, and address.
    pub to: (Option<String>, String),
    /// The subject line.
    pub subject: String,
    /// The body as plain text.
    pub text: String,
    /// The body as HTML.
    pub html: String,
}

/// Sends mail.
pub struct Mailer {
    from: Mailbox,
    transport: Transport,
}

enum Transport {
    Smtp(smtp::Settings),
    Directory(PathBuf),
}

/// The `Message-ID` of the mail that `step` sends because of this event: derived, so that a repeat carries the same.
pub fn message_id(event_id: &str, step: &str, subject: Uuid) -> String {
    format!("{}@{MESSAGE_ID_DOMAIN}", derive_id(&format!("mail\n{event_id}\n{step}\n{subject}")))
}

/// Notes that a mail was sent. A replay of its event sends the same one: then it is noted already.
pub async fn record(database: &mut Connection, message_id: &str, customer: Uuid, kind: &str) -> Result<()> {
    let noted = database
        .execute(
            "INSERT INTO sent_mails (message_id, customer_id, kind, sent_at) VALUES (?, ?, ?, ?)",
            &[message_id.into(), customer.into(), kind.into(), Utc::now().into()],
        )
        .await;
    match noted {
        Ok(_) | Err(Failure::Duplicate(_)) => Ok(()),
        Err(Failure::Other(error)) => Err(error),
    }
}

impl Mailer {
    /// Whether any way to send mail is configured.
    pub fn is_configured(environment: &Environment) -> bool {
        ["SMTP_SERVER", "MAIL_DIR"].into_iter().any(|name| environment.get(name).is_some())
    }

    /// Reads how to send.
    pub fn read(environment: &Environment) -> Result<Self> {
        let settings: Settings = environment.read()?;
        let from = settings.smtp_from.as_deref().unwrap_or(DEFAULT_SENDER);
        let from = from.parse().map_err(|error| {
            Error::configuration("SMTP_FROM is not an address such as \"Knapscen <hello@example.com>\"")
                .because(error)
        })?;
        let transport = match settings.mail_dir {
            Some(directory) => Transport::Directory(directory),
            None => Transport::Smtp(smtp::Settings::read(environment)?),
        };
        Ok(Self { from, transport })
    }

    /// Sends one mail; when it returns, the server has taken it or the file is there.
    pub async fn send(&self, mail: &Mail) -> Result<()> {
        let message = self.message(mail)?;
        match &self.transport {
            Transport::Smtp(settings) => settings.send(&message).await,
            Transport::Directory(directory) => {
                let path = directory.join(format!("{}.eml", mail.message_id));
                let cannot = |error: std::io::Error| {
                    Error::unavailable(format!("cannot write the mail to {}", path.display())).because(error)
                };
                // Under its final name only when it is whole; a repeat writes the same file again.
                let part = path.with_extension("part");
                std::fs::create_dir_all(directory).map_err(cannot)?;
                std::fs::write(&part, message.formatted()).map_err(cannot)?;
                std::fs::rename(&part, &path).map_err(cannot)
            }
        }
    }

    fn message(&self, mail: &Mail) -> Result<Message> {
        let (name, address) = &mail.to;
        let address = address
            .parse()
            .map_err(|error| Error::input(format!("{address:?} is not an e-mail address")).because(error))?;
        let body = MultiPart::alternative()
            .singlepart(SinglePart::plain(mail.text.clone()))
            .singlepart(SinglePart::html(mail.html.clone()));
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(name.as_deref().map(printable), address))
            .subject(printable(&mail.subject))
            .message_id(Some(format!("<{}>", mail.message_id)))
            .header(AutoSubmitted)
            .multipart(body)
            .map_err(|error| Error::bug("cannot build the mail").because(error))
    }
}

/// A header holds no control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// RFC 3834: no vacation notice, please.
#[derive(Clone)]
struct AutoSubmitted;

impl lettre::message::header::Header for AutoSubmitted {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(name: &str) -> Mail {
        Mail {
            message_id: message_id("e1", "send-welcome-email", derive_id("c")),
            to: (Some(name.to_owned()), "ann@example.com".to_owned()),
            subject: format!("Welcome, {name}"),
            text: "Hello".to_owned(),
            html: "<p>Hello</p>".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_mail_becomes_a_file_and_a_repeat_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment::from_pairs([("MAIL_DIR", directory.path().to_str().unwrap())]);
        let mailer = Mailer::read(&environment).unwrap();
        mailer.send(&mail("Ann")).await.unwrap();
        mailer.send(&mail("Ann")).await.unwrap();
        let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        let text = std::fs::read_to_string(&files[0]).unwrap();
        assert!(text.contains(&format!("Message-ID: <{}>", mail("Ann").message_id)), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated"));
    }

    #[test]
    fn a_hostile_name_adds_no_header() {
        let mailer = Mailer::read(&Environment::from_pairs([("MAIL_DIR", "/nowhere")])).unwrap();
        let text = mailer.message(&mail("Ann\r\nBcc: eve@example.com\r\n\r\nhi")).unwrap().formatted();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
    }
}
