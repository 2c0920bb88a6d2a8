//! Sends mail: over SMTP, or as files if there is no mail server.
//!
//! Reads `SMTP_SERVER` (or `SMTP_HOST`), `SMTP_PORT`, `SMTP_USER`, `SMTP_PASS` (or `SMTP_PASSWORD`), `SMTP_FROM`,
//! `SMTP_TLS` (`none`, `opportunistic`, `starttls`, `tls`) and `SMTP_CA` (a PEM file); or `MAIL_DIR`, a folder in
//! which each mail becomes an `.eml` file.

mod answer;
mod conversation;
mod smtp;

use chrono::Utc;
use lettre::Message;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use uuid::Uuid;

use crate::address::{Address, Rules};
use crate::config::{FilePath, Secret};
use crate::database::{Connection, Failure, Statement};
use crate::error::{Error, Result};
use crate::event::derive_id;
use crate::{private, variables};

const DEFAULT_SENDER: &str = "Knapscen <onboarding@knapscen.disco>";
const MESSAGE_ID_DOMAIN: &str = "knapscen.disco";

variables! {
    /// How mail is sent.
    pub struct Settings {
        settings {
            from: Option<Secret> = "SMTP_FROM", "the sender, such as \"Knapscen <hello@example.com>\"";
            directory: Option<FilePath> = "MAIL_DIR", "write mails as .eml files here instead";
        }
        groups { smtp: smtp::Variables; addresses: Rules; }
    }
}

/// How long a step that sends a mail may take. The mail server alone may take ten minutes.
pub const STEP_TIMEOUT_SECONDS: u32 = 720;

/// A mail to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The `Message-ID` without angle brackets, the same for every repeat.
    pub message_id: String,
    /// The recipient's name, if known, and address.
    pub to: (Option<String>, Address),
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
    Directory(FilePath),
}

/// The `Message-ID` of the mail that `step` sends because of this event. It is derived, so that a repeat has the same
/// one.
pub fn message_id(event_id: &str, step: &str, subject: Uuid) -> String {
    format!("{}@{MESSAGE_ID_DOMAIN}", derive_id(&format!("mail\n{event_id}\n{step}\n{subject}")))
}

/// Records that a mail was sent. A replay of its event sends the same mail, which is already recorded then.
pub async fn record(database: &mut Connection, message_id: &str, customer: Uuid, kind: &str) -> Result<()> {
    let note = Statement::new("INSERT INTO sent_mails (message_id, customer_id, kind, sent_at) VALUES ")
        .row([message_id.into(), customer.into(), kind.into(), Utc::now().into()]);
    match database.run(note).await {
        Ok(_) | Err(Failure::Duplicate(_)) => Ok(()),
        Err(Failure::Other(error)) => Err(error),
    }
}

impl Mailer {
    /// Checks the settings.
    pub fn new(settings: Settings) -> Result<Self> {
        let from = settings.from.as_ref().map_or(DEFAULT_SENDER, Secret::expose);
        let from: Mailbox = from.parse().map_err(|_| {
            Error::configuration("SMTP_FROM is not an address such as \"Knapscen <hello@example.com>\"")
        })?;
        let address = settings.addresses.configured("SMTP_FROM", from.email.as_ref())?;
        let from = Mailbox::new(from.name, mailed(&address)?);
        let transport = match settings.directory {
            Some(directory) => Transport::Directory(directory),
            None => Transport::Smtp(smtp::Settings::new(settings.smtp)?),
        };
        Ok(Self { from, transport })
    }

    /// Sends one mail. When it returns, the server has accepted the mail, or the file exists.
    pub async fn send(&self, mail: &Mail) -> Result<()> {
        let message = self.message(mail)?;
        match &self.transport {
            Transport::Smtp(settings) => settings.send(&message).await,
            Transport::Directory(directory) => {
                let path = directory.as_path().join(format!("{}.eml", mail.message_id));
                let cannot = |error: std::io::Error| {
                    Error::unavailable(format!("cannot write the mail into MAIL_DIR ({directory})"))
                        .because(error)
                };
                private::folder(directory.as_path()).map_err(cannot)?;
                // It gets its final name when it is complete. A repeat writes the same file again.
                private::write(&path, &message.formatted()).map_err(cannot)
            }
        }
    }

    fn message(&self, mail: &Mail) -> Result<Message> {
        let (name, address) = &mail.to;
        let address = mailed(address)?;
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

/// An address in the library's type. Our addresses are checked so that it accepts them.
fn mailed(address: &Address) -> Result<lettre::Address> {
    address.parse().map_err(|error| Error::bug("the mail library refuses a valid address").because(error))
}

/// The meaning of a mail server's answers, with the exit code, for the documents.
pub fn answers() -> Vec<(String, u8)> {
    answer::rows()
}

/// A header without control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// RFC 3834: asks for no automatic replies.
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
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::ServerConfig;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls_pki_types::pem::PemObject;
    use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::config::{Environment, Variables};

    fn mail(name: &str) -> Mail {
        Mail {
            message_id: message_id("e1", "send-welcome-email", derive_id("c")),
            to: (Some(name.to_owned()), Rules::default().address("to", "ann@example.com").unwrap()),
            subject: format!("Welcome, {name}"),
            text: "Hello".to_owned(),
            html: "<p>Hello</p>".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_mail_becomes_a_file_and_a_repeat_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment::from_pairs([("MAIL_DIR", directory.path().to_str().unwrap())]);
        let mailer = Mailer::new(Settings::read(&environment).unwrap()).unwrap();
        mailer.send(&mail("Ann")).await.unwrap();
        mailer.send(&mail("Ann")).await.unwrap();
        let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        let text = std::fs::read_to_string(&files[0]).unwrap();
        assert!(text.contains(&format!("Message-ID: <{}>", mail("Ann").message_id)), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated"));
    }

    /// How a server writes the last line of an answer.
    type Form = fn(u16) -> Vec<u8>;

    const FORMS: &[(&str, Form)] = &[
        ("as usual", |code| format!("{code} ok\r\n").into_bytes()),
        ("no text", |code| format!("{code}\r\n").into_bytes()),
        ("bare LF", |code| format!("{code} ok\n").into_bytes()),
        ("Latin-1", |code| [format!("{code} ").as_bytes(), b"\xfcbernommen\r\n"].concat()),
        ("a long line", |code| format!("{code} {}\r\n", "x".repeat(70_000)).into_bytes()),
        ("many lines", |code| {
            format!("{}{code} end\r\n", format!("{code}-line\r\n").repeat(5000)).into_bytes()
        }),
    ];

    /// Answers each command in this form until STARTTLS or the end. Returns how many mails came.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, form: Form, tls: &str) -> usize {
        let mut stream = BufReader::new(stream);
        let mut mails = 0;
        let mut is_data = false;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return mails;
            }
            let code = match line.trim_end() {
                "." => {
                    (is_data, mails) = (false, mails + 1);
                    250
                }
                _ if is_data => continue,
                "DATA" => {
                    is_data = true;
                    354
                }
                "STARTTLS" | "QUIT" => 220,
                _ => 250,
            };
            if tls == "starttls" && line.starts_with("EHLO") {
                stream.write_all(b"250-x\n250-STARTTLS\r\n").await.unwrap();
            }
            stream.write_all(&form(code)).await.unwrap();
            stream.flush().await.unwrap();
            if line.starts_with("STARTTLS") {
                return mails;
            }
        }
    }

    /// A certificate for loopback, made with `openssl`.
    fn certificate(folder: &std::path::Path) -> TlsAcceptor {
        let wanted = "[req]\ndistinguished_name=name\nx509_extensions=more\nprompt=no\n[name]\nCN=localhost\n[more]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
        std::fs::write(folder.join("wanted"), wanted).unwrap();
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -config wanted -keyout key.pem -out ca.pem";
        let made = std::process::Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let chain = vec![CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    #[tokio::test]
    async fn a_mail_that_the_server_takes_is_sent_once_whatever_form_its_answers_have() {
        let folder = tempfile::tempdir().unwrap();
        let acceptor = certificate(folder.path());
        for tls in ["none", "starttls", "tls"] {
            for (name, form) in FORMS {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = listener.local_addr().unwrap().port().to_string();
                let ca = folder.path().join("ca.pem").display().to_string();
                let environment = Environment::from_pairs([
                    ("SMTP_SERVER", "127.0.0.1"),
                    ("SMTP_PORT", &port),
                    ("SMTP_TLS", tls),
                    ("SMTP_CA", &ca),
                ]);
                let mailer = Mailer::new(Settings::read(&environment).unwrap()).unwrap();
                let server = async {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    if tls == "tls" {
                        let mut stream = acceptor.accept(stream).await.unwrap();
                        stream.write_all(&form(220)).await.unwrap();
                        return answer(&mut stream, *form, "").await;
                    }
                    stream.write_all(&form(220)).await.unwrap();
                    let mails = answer(&mut stream, *form, tls).await;
                    if tls == "none" {
                        return mails;
                    }
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    mails + answer(&mut stream, *form, "").await
                };
                let ann = mail("Ann");
                let talk = async { tokio::join!(mailer.send(&ann), server) };
                let ended = tokio::time::timeout(Duration::from_secs(20), talk).await;
                let (sent, mails) = ended.unwrap_or_else(|_| panic!("{tls}, {name}: no end"));
                assert!(sent.is_ok() && mails == 1, "{tls}, {name}: {sent:?}, {mails} mails");
            }
        }
    }

    #[test]
    fn a_hostile_name_adds_no_header() {
        let environment = Environment::from_pairs([("MAIL_DIR", "/nowhere")]);
        let mailer = Mailer::new(Settings::read(&environment).unwrap()).unwrap();
        let text = mailer.message(&mail("Ann\r\nBcc: eve@example.com\r\n\r\nhi")).unwrap().formatted();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
    }
}
