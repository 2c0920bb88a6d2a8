//! What a failed TLS handshake means: one table for every protocol that uses TLS.

use std::error::Error as StdError;

use rustls::{
    AlertDescription as Alert, CertificateError as Certificate, Error as Tls, InvalidMessage,
    PeerIncompatible,
};

use crate::error::{Class, Error};

/// The variables that a user can change.
#[derive(Clone, Copy, Debug)]
pub struct Remedy {
    /// The variable that names the file of a private authority: `HTTP_CA`.
    pub ca: &'static str,
    /// The remedy if our own certificate is refused.
    pub identity: &'static str,
    /// The remedy if the server does not speak TLS.
    pub plain: &'static str,
}

/// What went wrong, with its row in [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    UnknownAuthority,
    OtherName,
    Expired,
    NotYetValid,
    AuthorityAsServer,
    UnusableCertificate,
    OursIsMissing,
    OursIsRefused,
    NothingInCommon,
    NotTls,
    UnknownName,
    Passing,
}

/// The class of each problem, and its message; `{ca}`, `{identity}` and `{plain}` are the variables.
const TABLE: &[(Problem, Class, &str)] = &[
    (
        Problem::UnknownAuthority,
        Class::Configuration,
        "its certificate is signed by an authority that we do not know: name the file of that authority in {ca}",
    ),
    (
        Problem::OtherName,
        Class::Configuration,
        "its certificate is for another name than the one in our address: use a name of the certificate, or have one issued for this name",
    ),
    (
        Problem::Expired,
        Class::Configuration,
        "its certificate has expired: renew it there, or check the clock here",
    ),
    (Problem::NotYetValid, Class::Configuration, "its certificate is not valid yet: check the clocks"),
    (
        Problem::AuthorityAsServer,
        Class::Configuration,
        "its certificate is an authority's own (CA:TRUE): issue one with CA:FALSE for the server, signed by the authority in {ca}",
    ),
    (
        Problem::UnusableCertificate,
        Class::Configuration,
        "its certificate cannot be used: issue another for that server",
    ),
    (Problem::OursIsMissing, Class::Configuration, "it wants a client certificate: {identity}"),
    (Problem::OursIsRefused, Class::Configuration, "it refuses our certificate: {identity}"),
    (
        Problem::NothingInCommon,
        Class::Configuration,
        "it has no protocol version or cipher in common with us: let it speak TLS 1.2 or 1.3",
    ),
    (Problem::NotTls, Class::Configuration, "it does not speak TLS on this port: {plain}"),
    (Problem::UnknownName, Class::Configuration, "it does not know the name in our address"),
    (Problem::Passing, Class::Unavailable, "the TLS handshake failed"),
];

/// The failure of a handshake with this server, if the error holds one.
pub fn failure(server: &str, error: &(dyn StdError + 'static), remedy: Remedy) -> Option<Error> {
    let tls = find(error)?;
    let problem = problem(tls);
    let (class, words) = TABLE
        .iter()
        .find(|(one, ..)| *one == problem)
        .map_or((Class::Unavailable, ""), |(_, class, words)| (*class, words));
    let words = words
        .replace("{ca}", remedy.ca)
        .replace("{identity}", remedy.identity)
        .replace("{plain}", remedy.plain);
    Some(Error::of(class, format!("no TLS with {server}: {words}")).because(tls.to_string()))
}

/// The rows of the table for the documents: problem and exit code.
pub fn rows() -> Vec<(String, u8)> {
    TABLE
        .iter()
        .map(|(_, class, words)| (words.split(": ").next().unwrap_or_default().to_owned(), class.exit_code()))
        .collect()
}

/// Whether the error shows that the server speaks TLS, though not successfully with us.
pub(crate) fn is_spoken(error: &(dyn StdError + 'static)) -> bool {
    matches!(find(error), Some(Tls::InvalidCertificate(_) | Tls::AlertReceived(_) | Tls::PeerIncompatible(_)))
}

fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Tls> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<Tls>() {
            return Some(tls);
        }
        // The error inside an I/O error is not its source, but the same error in another type.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

fn problem(error: &Tls) -> Problem {
    match error {
        Tls::InvalidCertificate(certificate) => certificate_problem(certificate),
        Tls::NoCertificatesPresented => Problem::UnusableCertificate,
        Tls::AlertReceived(Alert::CertificateRequired) => Problem::OursIsMissing,
        Tls::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => Problem::OursIsRefused,
        Tls::AlertReceived(
            Alert::HandshakeFailure
            | Alert::ProtocolVersion
            | Alert::InsufficientSecurity
            | Alert::NoApplicationProtocol
            | Alert::InappropriateFallback,
        )
        | Tls::PeerIncompatible(_) => incompatible(error),
        Tls::AlertReceived(Alert::UnrecognisedName) => Problem::UnknownName,
        Tls::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            Problem::NotTls
        }
        _ => Problem::Passing,
    }
}

fn incompatible(error: &Tls) -> Problem {
    match error {
        Tls::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(_)) => Problem::Passing,
        _ => Problem::NothingInCommon,
    }
}

fn certificate_problem(error: &Certificate) -> Problem {
    match error {
        // Of two authorities with the same name, the other one has signed.
        Certificate::UnknownIssuer | Certificate::BadSignature => Problem::UnknownAuthority,
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => Problem::OtherName,
        Certificate::Expired | Certificate::ExpiredContext { .. } => Problem::Expired,
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => Problem::NotYetValid,
        Certificate::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            Problem::AuthorityAsServer
        }
        _ => Problem::UnusableCertificate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMEDY: Remedy =
        Remedy { ca: "HTTP_CA", identity: "set NATS_CERT and NATS_KEY", plain: "use http://" };

    fn other() -> Certificate {
        #[derive(Debug)]
        struct CaUsedAsEndEntity;
        impl std::fmt::Display for CaUsedAsEndEntity {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("CaUsedAsEndEntity")
            }
        }
        impl StdError for CaUsedAsEndEntity {}
        Certificate::Other(rustls::OtherError(std::sync::Arc::new(CaUsedAsEndEntity)))
    }

    #[test]
    fn every_row_of_the_table_is_met_and_names_its_remedy() {
        let alert = |alert| Tls::AlertReceived(alert);
        let cases = [
            (
                Problem::UnknownAuthority,
                Tls::InvalidCertificate(Certificate::UnknownIssuer),
                78,
                "in HTTP_CA",
            ),
            (Problem::OtherName, Tls::InvalidCertificate(Certificate::NotValidForName), 78, "another name"),
            (Problem::Expired, Tls::InvalidCertificate(Certificate::Expired), 78, "expired"),
            (Problem::NotYetValid, Tls::InvalidCertificate(Certificate::NotValidYet), 78, "clocks"),
            (Problem::AuthorityAsServer, Tls::InvalidCertificate(other()), 78, "CA:FALSE"),
            (
                Problem::UnusableCertificate,
                Tls::InvalidCertificate(Certificate::BadEncoding),
                78,
                "cannot be used",
            ),
            (
                Problem::OursIsMissing,
                alert(Alert::CertificateRequired),
                78,
                "wants a client certificate: set NATS_CERT",
            ),
            (Problem::OursIsRefused, alert(Alert::UnknownCA), 78, "refuses our certificate: set NATS_CERT"),
            (Problem::NothingInCommon, alert(Alert::ProtocolVersion), 78, "TLS 1.2 or 1.3"),
            (Problem::NotTls, Tls::InvalidMessage(InvalidMessage::InvalidContentType), 78, "use http://"),
            (Problem::UnknownName, alert(Alert::UnrecognisedName), 78, "the name in our address"),
            (Problem::Passing, alert(Alert::InternalError), 75, "handshake failed"),
        ];
        assert_eq!(cases.len(), TABLE.len(), "one case for each row");
        for (problem, error, code, words) in cases {
            // Inside an I/O error, as libraries return it.
            let wrapped = std::io::Error::other(error);
            let failure = failure("vendor:443", &wrapped, REMEDY).unwrap();
            let text = failure.to_string();
            assert_eq!(failure.class().exit_code(), code, "{problem:?} {text}");
            assert!(text.starts_with("no TLS with vendor:443: ") && text.contains(words), "{text}");
        }
        assert!(failure("x", &std::io::Error::other("refused"), REMEDY).is_none());
    }
}
