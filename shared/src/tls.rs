//! The one TLS stack: rustls with ring, the Mozilla roots compiled in, and a private CA where one is named.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;

use crate::error::{Error, Result};

/// Makes ring the provider of every library in this process.
pub fn install_provider() {
    // Fails only where one is installed already, which is what we want.
    drop(ring::default_provider().install_default());
}

/// A client configuration that trusts the public roots and, where given, the authorities in the PEM file `ca`, and
/// shows the certificate and key of `identity`.
pub fn client_config(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<ClientConfig> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unusable(path).because(error))?;
        }
    }
    let builder = builder()?.with_root_certificates(roots);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key).because(error))?;
    builder
        .with_client_auth_cert(certificates(certificate)?, private_key)
        .map_err(|error| unusable(certificate).because(error))
}

/// The same from PEM texts: it trusts `authority` and nobody else, or the public roots where there is none.
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
    // The library's own words might show the key.
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

/// The certificates of a PEM file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(path).because(error))?.collect();
    let found = found.map_err(|error| unusable(path).because(error))?;
    if found.is_empty() {
        return Err(unusable(path).because("it holds no certificate"));
    }
    Ok(found)
}

fn unusable(path: &Path) -> Error {
    Error::configuration(format!("cannot use the certificate file {}", path.display()))
}
