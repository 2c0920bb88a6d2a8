//! One mail over one SMTP connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::config::{Environment, Secret};
use crate::error::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    None,
    Opportunistic,
    Starttls,
    Implicit,
}

#[expect(clippy::struct_field_names, reason = "they are the names of the variables")]
#[derive(Deserialize)]
struct Variables {
    smtp_server: String,
    smtp_port: Option<u16>,
    smtp_user: Option<String>,
    smtp_pass: Option<Secret>,
    smtp_tls: Option<String>,
    smtp_ca: Option<PathBuf>,
}

/// A mail server, read and checked.
pub(super) struct Settings {
    server: String,
    port: u16,
    credentials: Option<Credentials>,
    tls: Tls,
    parameters: TlsParameters,
}

impl Settings {
    pub(super) fn read(environment: &Environment) -> Result<Self> {
        let variables: Variables =
            environment.read().map_err(|error| match environment.get("SMTP_SERVER") {
                None => Error::configuration("SMTP_SERVER is not set (nor is MAIL_DIR)"),
                Some(_) => error,
            })?;
        let tls = match (variables.smtp_tls.as_deref(), variables.smtp_port) {
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
        let port = variables.smtp_port.unwrap_or(match tls {
            Tls::Implicit => 465,
            Tls::Starttls => 587,
            Tls::None | Tls::Opportunistic => 25,
        });
        let credentials = match (variables.smtp_user, variables.smtp_pass) {
            (Some(user), Some(password)) => Some(Credentials::new(user, password.expose().to_owned())),
            (None, None) => None,
            (Some(_), None) => return Err(Error::configuration("SMTP_USER is set but SMTP_PASS is not")),
            (None, Some(_)) => return Err(Error::configuration("SMTP_PASS is set but SMTP_USER is not")),
        };
        let parameters = tls_parameters(&variables.smtp_server, variables.smtp_ca.as_deref())?;
        Ok(Self { server: variables.smtp_server, port, credentials, tls, parameters })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<()> {
        let sending = async {
            let mut connection = self.connect().await?;
            if let Some(credentials) = &self.credentials {
                connection
                    .auth(&[Mechanism::Plain, Mechanism::Login], credentials)
                    .await
                    .map_err(|error| self.refused("our credentials", &error))?;
            }
            connection
                .send(message.envelope(), &message.formatted())
                .await
                .map_err(|error| self.refused("the mail", &error))?;
            // The mail is taken; how the server says good-bye does not matter.
            drop(connection.quit().await);
            Ok(())
        };
        match tokio::time::timeout(SEND_TIMEOUT, sending).await {
            Ok(sent) => sent,
            Err(_) => Err(Error::unavailable(format!("SMTP server {} does not answer", self.shown()))),
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection> {
        let hello = ClientId::default();
        let away = |error: SmtpError| self.refused("the connection", &error);
        if self.tls == Tls::Implicit {
            return AsyncSmtpConnection::connect_tokio1(
                (self.server.as_str(), self.port),
                Some(CONNECT_TIMEOUT),
                &hello,
                Some(self.parameters.clone()),
                None,
            )
            .await
            .map_err(away);
        }
        // Our own socket: the library's waits 40 ms for each mail (Nagle against delayed acknowledgement).
        let unreachable = |error: std::io::Error| {
            Error::unavailable(format!("cannot reach SMTP server {}", self.shown())).because(error)
        };
        let stream = TcpStream::connect((self.server.as_str(), self.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut connection =
            AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await.map_err(away)?;
        let offered = connection.can_starttls();
        if self.tls == Tls::Starttls && !offered {
            return Err(Error::configuration(format!(
                "SMTP server {} offers no STARTTLS; set SMTP_TLS to what it has",
                self.shown()
            )));
        }
        if self.tls == Tls::Starttls || (self.tls == Tls::Opportunistic && offered) {
            connection.starttls(self.parameters.clone(), &hello).await.map_err(away)?;
        }
        Ok(connection)
    }

    fn refused(&self, what: &str, error: &SmtpError) -> Error {
        let message = format!("SMTP server {} refused {what}", self.shown());
        let cause = error.to_string();
        // 530, 534, 535, 538: authentication is asked for or failed (RFC 4954).
        let authentication =
            error.status().is_some_and(|code| matches!(u16::from(code), 530 | 534 | 535 | 538));
        if authentication || error.is_client() || (what == "our credentials" && error.is_permanent()) {
            Error::configuration(message).because(cause)
        } else if error.is_permanent() {
            Error::input(message).because(cause)
        } else if error.is_transient() {
            Error::unavailable(message).because(cause)
        } else {
            Error::unavailable(format!("cannot talk to SMTP server {}", self.shown())).because(cause)
        }
    }

    fn shown(&self) -> String {
        format!("{}:{}", self.server, self.port)
    }
}

fn tls_parameters(server: &str, ca: Option<&Path>) -> Result<TlsParameters> {
    let mut builder =
        TlsParameters::builder(server.to_owned()).certificate_store(CertificateStore::WebpkiRoots);
    if let Some(path) = ca {
        for certificate in crate::tls::certificates(path)? {
            let certificate = Certificate::from_der(certificate.to_vec()).map_err(|error| {
                Error::configuration(format!("cannot use the certificate file {}", path.display()))
                    .because(error)
            })?;
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build_rustls().map_err(|error| Error::configuration("cannot set up TLS for SMTP").because(error))
}
