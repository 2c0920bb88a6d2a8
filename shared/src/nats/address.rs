//! Parses the addresses in `NATS_SERVER`, with the login that they may contain. An error names the problem and quotes
//! nothing.

use async_nats::ServerAddr;
use reqwest::Url;

use crate::config::{FromText, Host, Secret};
use crate::error::{Error, Result};

/// Servers, and the login in their addresses.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    pub(super) addresses: Vec<ServerAddr>,
    pub(super) login: Option<Login>,
}

/// The login of an address, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// `nats://user:password@host`.
    User(Secret, Secret),
    /// `nats://token@host`.
    Token(Secret),
}

impl Servers {
    /// Several addresses are separated by commas.
    pub(super) fn read(list: &str) -> Result<Self> {
        if list.contains(|c: char| c == ';' || c.is_whitespace())
            && list.matches("://").count() > 1
            && !list.contains(',')
        {
            return Err(wrong("holds several servers that are not separated by commas"));
        }
        let mut servers = Self { addresses: Vec::new(), login: None };
        for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let (address, login) = one(text)?;
            match (&servers.login, login) {
                (Some(known), Some(other)) if *known != other => {
                    return Err(wrong(
                        "holds addresses with different logins: use one, or NATS_USER and NATS_PASSWORD",
                    ));
                }
                (_, Some(login)) => servers.login = Some(login),
                (_, None) => {}
            }
            servers.addresses.push(address);
        }
        if servers.addresses.is_empty() { Err(wrong("names no server")) } else { Ok(servers) }
    }

    /// The servers without logins, for errors.
    pub(super) fn shown(&self) -> String {
        self.addresses.iter().map(shown).collect::<Vec<_>>().join(", ")
    }
}

/// An address without its login; an IPv6 address is in brackets.
pub fn shown(server: &ServerAddr) -> String {
    let host = server.host();
    if host.contains(':') {
        format!("[{host}]:{}", server.port())
    } else {
        format!("{host}:{}", server.port())
    }
}

fn one(text: &str) -> Result<(ServerAddr, Option<Login>)> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
    match scheme.to_ascii_lowercase().as_str() {
        "nats" | "tls" => {}
        "ws" | "wss" => {
            return Err(wrong(
                "begins with ws:// or wss://, and websockets are not spoken: use the port for nats:// or tls://",
            ));
        }
        _ => return Err(wrong("begins with a scheme that is neither nats:// nor tls://")),
    }
    let has_no_slashes = |scheme: &&str| {
        rest.strip_prefix(*scheme).is_some_and(|rest| rest.starts_with(':') || rest.starts_with("//"))
    };
    if !text.contains("://")
        && ["nats", "tls"].iter().any(|scheme| has_no_slashes(scheme) && rest.matches([':', '/']).count() > 1)
    {
        return Err(wrong("has no :// after its scheme: write it like nats://host:4222"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.matches('@').count() > 1 || rest[authority.len()..].contains('@') {
        return Err(wrong(
            "has a special character in its user, password or token: write @ as %40, / as %2F, : as %3A, ? as %3F and # as %23, \
             or use NATS_USER and NATS_PASSWORD, or NATS_TOKEN",
        ));
    }
    let (given, server) =
        authority.rsplit_once('@').map_or(("", authority), |(given, server)| (given, server));
    if !server.starts_with('[') && server.matches(':').count() > 1 {
        return Err(wrong("holds an IPv6 address without brackets: write it like nats://[::1]:4222"));
    }
    let invalid = || wrong("is not an address like nats://host:4222");
    let mut url = Url::parse(&format!("{}://{rest}", scheme.to_ascii_lowercase())).map_err(|_| invalid())?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("names no host"));
    }
    if url.port() == Some(0) {
        return Err(wrong("has the port 0, and ports are from 1 to 65535"));
    }
    // From here on it is shown.
    if url.host_str().is_some_and(|host| Host::from_text(host).is_err()) {
        return Err(invalid());
    }
    let login = match given.split_once(':') {
        Some((user, password)) => Some(Login::User(decoded(user)?, decoded(password)?)),
        None if given.is_empty() => None,
        None => Some(Login::Token(decoded(given)?)),
    };
    // The library would not send them, and would show them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok((ServerAddr::from_url(url).map_err(|_| invalid())?, login))
}

fn decoded(text: &str) -> Result<Secret> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes)
        .map(Secret::from)
        .map_err(|_| wrong("has an escape in its login that is not UTF-8"))
}

fn wrong(what: &str) -> Error {
    Error::configuration(format!("NATS_SERVER {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, password: &str) -> Login {
        Login::User(Secret::from(name.to_owned()), Secret::from(password.to_owned()))
    }

    #[test]
    fn an_address_gives_its_server_and_its_login() {
        for (text, server, login) in [
            ("nats", "nats:4222", None),
            ("host:4333", "host:4333", None),
            ("NATS://host/", "host:4222", None),
            ("tls://[::1]", "[::1]:4222", None),
            ("nats://b:b@host:4222", "host:4222", Some(user("b", "b"))),
            ("u:p%40ss%2Fw%3A%25@host", "host:4222", Some(user("u", "p@ss/w:%"))),
            ("nats://us%20er:@host", "host:4222", Some(user("us er", ""))),
            (
                "nats://s3cr%2Ft@[fe80::1]:5",
                "[fe80::1]:5",
                Some(Login::Token(Secret::from("s3cr/t".to_owned()))),
            ),
        ] {
            let servers = Servers::read(text).unwrap();
            assert_eq!((servers.shown().as_str(), &servers.login), (server, &login), "{text}");
        }
        let three = Servers::read("nats://u:p@a, tls://b:1 ,nats://u:p@[::1],").unwrap();
        assert_eq!((three.shown().as_str(), three.login), ("a:4222, b:1, [::1]:4222", Some(user("u", "p"))));
        assert!(three.addresses[1].tls_required());
    }

    #[test]
    fn what_is_no_address_of_a_server_is_named_and_not_shown() {
        for (text, said) in [
            (",", "names no server"),
            ("wss://u:hunter2@host", "websockets are not spoken"),
            ("WS://host", "websockets are not spoken"),
            ("http://u:hunter2@host", "neither nats:// nor tls://"),
            ("nats://u:hunter2@x@host", "write @ as %40"),
            ("nats://u:hunter2/x@host", "/ as %2F"),
            ("nats://::1:4222", "without brackets"),
            ("::1", "without brackets"),
            ("nats://a:4222 nats://b:4222", "not separated by commas"),
            ("nats://u:hunter2@a;nats://u:hunter2@b", "not separated by commas"),
            ("nats:a:4222", "no :// after its scheme"),
            ("nats//a:4222", "no :// after its scheme"),
            ("nats://a:0", "the port 0"),
            ("nats://u:hunter2@host:port", "is not an address like"),
            ("nats://u:hunter2@", "is not an address like"),
            ("nats://hunter2 x", "is not an address like"),
            ("nats://u:hunter2@a,nats://u:other@b", "different logins"),
        ] {
            let error = Servers::read(text).unwrap_err();
            assert_eq!(error.class().exit_code(), 78);
            let words = error.to_string();
            assert!(words.starts_with("NATS_SERVER ") && words.contains(said), "{text}: {words}");
            assert!(!words.contains("hunter2"), "{words}");
        }
    }
}
