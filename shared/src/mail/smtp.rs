//! Sends one mail over one SMTP connection.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use lettre::Message;
use lettre::address::Envelope;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Severity;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::answer::{self, Stage};
use super::conversation::{Conversation, Hello};
use crate::config::{FilePath, Host, Secret};
use crate::error::{Class, Error, Result};
use crate::tls::{self, File, Remedy};
use crate::variables;

/// For each address of the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the connection until the server waits for the mail.
const TALK_TIMEOUT: Duration = Duration::from_secs(90);
/// For the answer to the end of the data, as RFC 5321 requires (4.5.3.2.6). A client that waits for a shorter time
/// sends some mails twice.
const HANDOVER_TIMEOUT: Duration = Duration::from_mins(10);
/// For the answer to QUIT, which does not matter.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that has been silent this long may wait for a TLS handshake.
const SILENCE: Duration = Duration::from_secs(5);

const REMEDY: Remedy = Remedy {
    ca: "SMTP_CA",
    identity: "let it take clients without one",
    plain: "set SMTP_TLS to starttls or none, or SMTP_PORT to its port for TLS",
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    None,
    Opportunistic,
    Starttls,
    Implicit,
}

variables! {
    /// Its variables.
    pub(crate) struct Variables {
        settings {
            server: Option<Host> = "SMTP_SERVER", "the mail server (also SMTP_HOST)";
            port: Option<NonZeroU16> = "SMTP_PORT", "its port; 25, 587 or 465 by SMTP_TLS";
            user: Option<Secret> = "SMTP_USER", "the user, with SMTP_PASS";
            password: Option<Secret> = "SMTP_PASS", "the password of SMTP_USER (also SMTP_PASSWORD)";
            tls: Option<Secret> = "SMTP_TLS", "none, opportunistic, starttls, tls";
            ca: Option<FilePath> = "SMTP_CA", "a PEM file of a private authority";
        }
    }
}

/// A mail server with checked settings.
pub(super) struct Settings {
    server: Host,
    port: u16,
    credentials: Option<Credentials>,
    tls: Tls,
    encryption: Arc<ClientConfig>,
}

impl Settings {
    pub(super) fn new(variables: Variables) -> Result<Self> {
        let server = variables
            .server
            .ok_or_else(|| Error::configuration("SMTP_SERVER is not set (nor is MAIL_DIR)"))?;
        let tls = match (variables.tls.as_ref().map(Secret::expose), variables.port.map(NonZeroU16::get)) {
            (Some("none"), _) => Tls::None,
            (Some("starttls"), _) | (None, Some(587)) => Tls::Starttls,
            (Some("tls"), _) | (None, Some(465)) => Tls::Implicit,
            (Some("opportunistic") | None, _) => Tls::Opportunistic,
            (Some(_), _) => {
                return Err(Error::configuration(
                    "SMTP_TLS is not one of none, opportunistic, starttls, tls",
                ));
            }
        };
        let usual = match tls {
            Tls::Implicit => 465,
            Tls::Starttls => 587,
            Tls::None | Tls::Opportunistic => 25,
        };
        let port = variables.port.map_or(usual, NonZeroU16::get);
        let credentials = match (variables.user, variables.password) {
            (Some(user), Some(password)) => {
                Some(Credentials::new(user.expose().to_owned(), password.expose().to_owned()))
            }
            (None, None) => None,
            (Some(_), None) => return Err(Error::configuration("SMTP_USER is set but SMTP_PASS is not")),
            (None, Some(_)) => return Err(Error::configuration("SMTP_PASS is set but SMTP_USER is not")),
        };
        let ca = variables.ca.as_ref().map(|path| File { variable: "SMTP_CA", path });
        let encryption = Arc::new(tls::client_config(ca, None)?);
        Ok(Self { server, port, credentials, tls, encryption })
    }

    /// The mail is sent when the server has accepted the end of its data. From then on the server is responsible for
    /// it.
    pub(super) async fn send(&self, message: &Message) -> Result<()> {
        let body = message.formatted();
        let mut connection = self.within(TALK_TIMEOUT, self.ready_for(message.envelope(), &body)).await?;
        let handing_over = async {
            let answer = connection.message(&body).await.map_err(|error| self.failed(Stage::Data, &error))?;
            if answer.code().severity == Severity::PositiveCompletion {
                return Ok(());
            }
            let message = format!("SMTP server {} did not say whether it took the mail", self.shown());
            Err(Error::unavailable(message).because(answer.code().to_string()))
        };
        self.within(HANDOVER_TIMEOUT, handing_over).await?;
        // The mail is accepted, so the server's goodbye does not matter.
        drop(tokio::time::timeout(GOODBYE_TIMEOUT, connection.quit()).await);
        Ok(())
    }

    async fn within<T>(&self, limit: Duration, talking: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(limit, talking).await.unwrap_or_else(|_| {
            Err(Error::unavailable(format!("SMTP server {} does not answer", self.shown())))
        })
    }

    /// A connection whose server waits for the data of this mail.
    async fn ready_for(&self, envelope: &Envelope, body: &[u8]) -> Result<AsyncSmtpConnection> {
        let mut connection = Box::pin(self.connect()).await?;
        if let Some(credentials) = &self.credentials {
            connection
                .auth(&[Mechanism::Plain, Mechanism::Login], credentials)
                .await
                .map_err(|error| self.failed(Stage::Login, &error))?;
        }
        let offers = |extension, what| {
            let is_offered = connection.server_info().supports_feature(extension);
            let refusal = || Error::configuration(format!("SMTP server {} takes no {what}", self.shown()));
            is_offered.then_some(()).ok_or_else(refusal)
        };
        let mut parameters = Vec::new();
        let addresses = envelope.from().into_iter().chain(envelope.to());
        if !addresses.into_iter().all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
            offers(Extension::SmtpUtfEight, "addresses beyond ASCII (SMTPUTF8)")?;
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !body.is_ascii() {
            offers(Extension::EightBitMime, "text beyond ASCII (8BITMIME)")?;
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        // Not by the library's own call: if a command is refused, that call first waits for the answer to QUIT.
        let refused = |stage| move |error: SmtpError| self.failed(stage, &error);
        connection
            .command(Mail::new(envelope.from().cloned(), parameters))
            .await
            .map_err(refused(Stage::Sender))?;
        for recipient in envelope.to() {
            connection
                .command(Rcpt::new(recipient.clone(), Vec::new()))
                .await
                .map_err(refused(Stage::Recipient))?;
        }
        connection.command(Data).await.map_err(refused(Stage::Data))?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection> {
        let hello = ClientId::default();
        let away = |error: SmtpError| self.failed(Stage::Greeting, &error);
        if self.tls == Tls::Implicit {
            let Socket { stream, peer } = self.dial().await?;
            let stream = self.encrypted(stream).await?;
            return talk(Conversation::new(stream, peer, Hello::Extended), &hello).await.map_err(away);
        }
        let (mut connection, Socket { stream, peer }) = match self.greet(&hello, Hello::Extended).await? {
            // Not every server knows EHLO; RFC 5321, 3.2, requires HELO then.
            Err(error) if error.status().is_some_and(|code| matches!(u16::from(code), 500 | 502 | 504)) => {
                self.greet(&hello, Hello::Plain).await?.map_err(away)?
            }
            greeted => greeted.map_err(away)?,
        };
        let offered = connection.can_starttls();
        if self.tls == Tls::Starttls && !offered {
            return Err(Error::configuration(format!(
                "SMTP server {} offers no STARTTLS; set SMTP_TLS to what it has",
                self.shown()
            )));
        }
        if self.tls == Tls::Starttls || (self.tls == Tls::Opportunistic && offered) {
            connection.command(Starttls).await.map_err(away)?;
            // What came in plain text after the answer goes with it.
            drop(connection);
            let stream = self.encrypted(stream).await?;
            return talk(Conversation::greeted(stream, peer), &hello).await.map_err(away);
        }
        Ok(connection)
    }

    /// A connection after the greeting with a second handle of its socket, or the server's refusal.
    async fn greet(
        &self,
        hello: &ClientId,
        how: Hello,
    ) -> Result<std::result::Result<(AsyncSmtpConnection, Socket), SmtpError>> {
        let Socket { stream, peer } = self.dial().await?;
        let (stream, other) = twice(stream).map_err(|error| self.unreachable(error))?;
        let silence = async {
            tokio::time::sleep(SILENCE).await;
            if !self.speaks_tls().await {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            greeted = talk(Conversation::new(stream, peer, how), hello) => {
                Ok(greeted.map(|connection| (connection, Socket { stream: other, peer })))
            }
            () = silence => Err(Error::configuration(format!(
                "SMTP server {} speaks TLS from the first byte on this port: set SMTP_TLS=tls",
                self.shown()
            ))),
        }
    }

    /// Our own socket, because the library's waits 40 ms for each mail (Nagle with delayed acknowledgement).
    async fn dial(&self) -> Result<Socket> {
        let dialled = async {
            let mut failure = io::Error::from(io::ErrorKind::NotFound);
            for peer in tokio::net::lookup_host((self.server.as_str(), self.port)).await? {
                match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(peer)).await {
                    Ok(Ok(stream)) => return stream.set_nodelay(true).map(|()| Socket { stream, peer }),
                    Ok(Err(error)) => failure = error,
                    Err(_) => failure = io::ErrorKind::TimedOut.into(),
                }
            }
            Err(failure)
        };
        dialled.await.map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, error: io::Error) -> Error {
        Error::unavailable(format!("cannot reach SMTP server {}", self.shown())).because(error)
    }

    /// Our own TLS, because the answers under the library's cannot be mended.
    async fn encrypted(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let server = format!("SMTP server {}", self.shown());
        self.handshake(stream).await.map_err(|error| {
            let passing =
                || Error::unavailable(format!("cannot talk to {server}")).because(error.to_string());
            tls::failure(&server, &error, REMEDY).unwrap_or_else(passing)
        })
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.server.as_str().to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.encryption.clone()).connect(name, stream).await
    }

    /// Whether a server without a greeting waits for a TLS handshake.
    async fn speaks_tls(&self) -> bool {
        let handshake = async {
            let Socket { stream, .. } = self.dial().await.ok()?;
            Some(self.handshake(stream).await)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, handshake).await {
            Ok(Some(Ok(_))) => true,
            Ok(Some(Err(error))) => tls::is_spoken(&error),
            Ok(None) | Err(_) => false,
        }
    }

    fn failed(&self, stage: Stage, error: &SmtpError) -> Error {
        let server = format!("SMTP server {}", self.shown());
        if let Some(error) = tls::failure(&server, error, REMEDY) {
            return error;
        }
        let cause = error.to_string();
        // A server that hangs up may be busy. The greeting of another protocol stays what it is.
        if stage == Stage::Greeting && error.is_response() && !cause.contains("incomplete response") {
            let message =
                format!("{server} does not speak SMTP on this port: correct SMTP_PORT or SMTP_SERVER");
            return Error::configuration(message).because(cause);
        }
        let Some(code) = error.status() else {
            let class = if error.is_client() { Class::Configuration } else { Class::Unavailable };
            return Error::of(class, format!("cannot talk to {server}")).because(cause);
        };
        let words = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        let (class, about) = answer::about(stage, code.into(), &words);
        let what = match stage {
            Stage::Greeting => "the connection",
            Stage::Login => "our credentials (SMTP_USER, SMTP_PASS)",
            Stage::Sender => "the sender (SMTP_FROM)",
            Stage::Recipient => "the recipient",
            Stage::Data => "the mail",
        };
        Error::of(class, format!("{server} refused {what}: {about}")).because(cause)
    }

    fn shown(&self) -> String {
        format!("{}:{}", self.server, self.port)
    }
}

/// A socket and the server's address.
struct Socket {
    stream: TcpStream,
    peer: SocketAddr,
}

/// Two handles of one socket: the library does not give back the one that it gets, and STARTTLS needs it.
fn twice(stream: TcpStream) -> io::Result<(TcpStream, TcpStream)> {
    let stream = stream.into_std()?;
    let other = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, TcpStream::from_std(other)?))
}

/// Reads the greeting, and greets.
async fn talk(
    conversation: impl AsyncTokioStream + 'static,
    hello: &ClientId,
) -> std::result::Result<AsyncSmtpConnection, SmtpError> {
    AsyncSmtpConnection::connect_with_transport(Box::new(conversation), hello).await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::config::{Environment, Variables as _};

    #[tokio::test]
    async fn a_server_of_another_protocol_is_told_from_one_that_is_busy() {
        for (greeting, exit) in [
            ("+OK POP3 ready\r\n", 78),
            ("* OK IMAP4rev1 ready\r\n", 78),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", 78),
            ("SSH-2.0-OpenSSH_9.9\r\n", 78),
            ("421 too busy\r\n", 75),
            ("", 75),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port().to_string();
            let pairs = [("SMTP_SERVER", "127.0.0.1".to_owned()), ("SMTP_PORT", port)];
            let settings = Settings::new(Variables::read(&Environment::from_pairs(pairs)).unwrap()).unwrap();
            let server = async {
                let (mut connection, _) = listener.accept().await.unwrap();
                connection.write_all(greeting.as_bytes()).await.unwrap();
                connection.shutdown().await.unwrap();
            };
            let (asked, ()) = tokio::join!(settings.connect(), server);
            let error = asked.err().unwrap();
            assert_eq!(error.class().exit_code(), exit, "{greeting}: {error}");
            assert_eq!(error.to_string().contains("SMTP_PORT"), exit == 78, "{greeting}: {error}");
        }
    }
}
