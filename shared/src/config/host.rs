//! The name or address of a server in a variable.

use std::fmt;
use std::net::IpAddr;

use super::FromText;

const MAX_CHARACTERS: usize = 253;

/// Only a host name or an IP address, because people sometimes write a whole address with a password there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(String);

impl Host {
    /// Without the brackets of an IPv6 address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for Host {
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_host = bare.parse::<IpAddr>().is_ok()
            || (text.len() <= MAX_CHARACTERS
                && text.split('.').all(|label| label.len() < 64)
                && text.chars().all(is_name));
        is_host.then(|| Self(bare.to_owned())).ok_or_else(|| {
            "is not a host name or IP address alone, without scheme, user, port and path".to_owned()
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(&self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_alone() {
        for (text, shown) in [
            ("db", "db"),
            ("db.prod.svc.", "db.prod.svc."),
            ("my_db", "my_db"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "[::1]"),
            ("[fe80::1]", "[fe80::1]"),
        ] {
            assert_eq!(Host::from_text(text).unwrap().to_string(), shown);
        }
        let long = "x".repeat(64);
        for other in [
            "smtp://u:hunter2@mail",
            "mail:25",
            "u:hunter2@mail",
            "mail/x",
            "a b",
            "/run/mysqld.sock",
            "[mail]",
            "",
            &long,
        ] {
            if let Err(error) = Host::from_text(other) {
                assert!(!error.contains("hunter2"), "{error}");
            } else {
                assert_eq!(other, "", "an empty value never comes here");
            }
        }
    }
}
