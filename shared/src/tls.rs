//! The only TLS stack: rustls with ring, the Mozilla roots compiled in, and optionally a private authority.

mod failure;

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;

use crate::config::FilePath;
use crate::error::{Error, Result};

pub(crate) use failure::is_spoken;
pub use failure::{Remedy, failure, rows};

/// Makes ring the provider of every library in this process.
pub fn install_provider() {
    // It fails only if a provider is already installed, which is fine.
    drop(ring::default_provider().install_default());
}

/// A PEM file, and the variable that names it.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// The variable.
    pub variable: &'static str,
    /// The file.
    pub path: &'a FilePath,
}

/// A client configuration that trusts the public roots and the authorities in the PEM file `ca`, if given, and
/// presents the certificate and key of `identity`.
pub fn client_config(ca: Option<File<'_>>, identity: Option<(File<'_>, File<'_>)>) -> Result<ClientConfig> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = ca {
        for certificate in file.certificates()? {
            roots.add(certificate).map_err(|error| file.unusable().because(error))?;
        }
    }
    let builder = builder()?.with_root_certificates(roots);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    builder
        .with_client_auth_cert(certificate.certificates()?, key.private_key()?)
        .map_err(|error| certificate.unusable().because(error))
}

/// The same from PEM texts. It only trusts `authority`, or the public roots if there is none.
pub fn client_config_of(authority: Option<&str>, identity: Option<(&str, &str)>) -> Result<ClientConfig> {
    let unusable = |what: &str| Error::configuration(format!("cannot use the {what}"));
    let read = |pem: &str, what: &str| -> Result<Vec<CertificateDer<'static>>> {
        let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        found
            .ok()
            .filter(|found| !found.is_empty())
            .ok_or_else(|| unusable(what).because("it holds no certificate"))
    };
    let mut roots = RootCertStore::empty();
    match authority {
        Some(pem) => {
            for certificate in read(pem, "root certificate")? {
                roots.add(certificate).map_err(|error| unusable("root certificate").because(error))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let builder = builder()?.with_root_certificates(roots);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    // The library's own message might show the key.
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| unusable("client key"))?;
    builder
        .with_client_auth_cert(read(certificate, "client certificate")?, key)
        .map_err(|error| unusable("client certificate").because(error))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::bug("the TLS provider offers no protocol version").because(error))
}

impl File<'_> {
    /// Its certificates, at least one.
    pub fn certificates(self) -> Result<Vec<CertificateDer<'static>>> {
        let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.read()?).collect();
        let found = found.map_err(|_| self.unusable().because("it is not PEM"))?;
        if found.is_empty() {
            return Err(self.unusable().because("it holds no certificate (BEGIN CERTIFICATE)"));
        }
        Ok(found)
    }

    // The library's own message might show the key.
    fn private_key(self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.read()?)
            .map_err(|_| self.unusable().because("it holds no private key (BEGIN PRIVATE KEY)"))
    }

    fn read(self) -> Result<Vec<u8>> {
        if self.path.as_path().to_string_lossy().contains("-----BEGIN") {
            let words = "holds the PEM text itself, and not the path of a file with it: mount the key as a file, and name that";
            return Err(Error::configuration(format!("{} {words}", self.variable)));
        }
        std::fs::read(self.path.as_path()).map_err(|error| self.unusable().because(error.kind().to_string()))
    }

    fn unusable(self) -> Error {
        Error::configuration(format!("{}: cannot use the file {}", self.variable, self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_variable() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("ca.pem");
        std::fs::write(&empty, "").unwrap();
        let key = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";
        for (path, said) in [
            (
                PathBuf::from("/nowhere/ca.pem"),
                "HTTP_CA: cannot use the file /nowhere/ca.pem: entity not found",
            ),
            (empty, "it holds no certificate"),
            (folder.path().to_owned(), "cannot use the file"),
            (PathBuf::from(key), "HTTP_CA holds the PEM text itself"),
        ] {
            let path = FilePath::from(path);
            let error = client_config(Some(File { variable: "HTTP_CA", path: &path }), None).unwrap_err();
            let text = error.to_string();
            assert!(
                error.class().exit_code() == 78 && text.contains(said) && !text.contains("hunter2"),
                "{text}"
            );
        }
    }
}
