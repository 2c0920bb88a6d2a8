//! Checks the parts of `DATABASE_URL`. An error says which part is wrong and quotes none of it.

use crate::config::{FromText, Host};
use crate::error::{Error, Result};

/// The options of TLS that have an effect, in lower case and without `_` and `-`.
const TLS_OPTIONS: &[&str] = &["sslmode", "sslca", "sslcert", "sslkey"];

/// Checks the address of a server before it is parsed, because a wrongly parsed address could show a password as a
/// host.
pub(super) fn check(url: &str) -> Result<()> {
    let (_, rest) = url.split_once("://").ok_or_else(|| wrong("has no // after its scheme"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let before_query = rest.split('?').next().unwrap_or_default();
    let later = before_query.get(authority.len()..).unwrap_or_default();
    let cut_short = !authority.contains('@') && rest.contains('@');
    if authority.matches('@').count() > 1 || later.contains('@') || cut_short {
        return Err(wrong(
            "has a special character in its user or password: write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23 and % as %25, \
             or use DB_USER and DB_PASSWORD",
        ));
    }
    let (user, server) = authority.rsplit_once('@').unwrap_or(("", authority));
    if has_bad_escape(user) {
        return Err(wrong(
            "has a % in its user or password that begins no escape: write it as %25, or use DB_USER and DB_PASSWORD",
        ));
    }
    let (host, port) = match server.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match server.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        },
    };
    if port.is_some_and(|port| port.contains(':')) {
        return Err(wrong(
            "has more than one colon in its host and port: an IPv6 address stands in brackets",
        ));
    }
    if host.is_empty() {
        return Err(wrong("names no host"));
    }
    if !matches!(port.map(str::parse::<u16>), None | Some(Ok(1..))) {
        return Err(wrong("has a port that is no number from 1 to 65535"));
    }
    if Host::from_text(host).is_err() {
        return Err(wrong("has a host that is no host name and no IP address, of which it takes one alone"));
    }
    let after = &rest[authority.len()..];
    let name = after.strip_prefix('/').unwrap_or_default().split(['?', '#']).next().unwrap_or_default();
    if name.is_empty() {
        return Err(wrong("names no database"));
    }
    if name.contains('/') {
        return Err(wrong("has a slash in the name of its database"));
    }
    if has_bad_escape(name) {
        return Err(wrong("has a % in the name of its database that begins no escape: write it as %25"));
    }
    // Other clients have other names for these options. Ignored, the connection could be less safe than the address asks for.
    let of_tls =
        |key: &String| (key.contains("ssl") || key.contains("tls")) && !TLS_OPTIONS.contains(&key.as_str());
    if options(url).any(|(key, _)| of_tls(&key)) {
        return Err(wrong(
            "has an option of TLS that is not known: use ssl-mode and ssl-ca, or DB_TLS and DB_CA",
        ));
    }
    Ok(())
}

/// The options of its query, with keys in lower case and without `_` and `-`.
fn options(url: &str) -> impl Iterator<Item = (String, &str)> {
    let query = url.split_once('?').and_then(|(_, query)| query.split('#').next()).unwrap_or_default();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(key, value)| (key.replace(['_', '-'], "").to_ascii_lowercase(), value))
}

/// The value of a key in its query, such as `ssl-mode`. Keys are compared without case, `_` and `-`.
pub(super) fn option<'a>(url: &'a str, wanted: &str) -> Option<&'a str> {
    let wanted = wanted.replace('-', "");
    options(url).find(|(key, _)| *key == wanted).map(|(_, value)| value)
}

pub(super) fn wrong(what: &str) -> Error {
    Error::configuration(format!("DATABASE_URL {what}; it is like mysql://user:password@host:3306/name"))
}

fn has_bad_escape(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .any(|rest| !rest.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_is_wrong_is_named_and_nothing_of_the_address_shown() {
        for (url, said) in [
            ("mysql:hunter2", "no // after its scheme"),
            ("mysql://u:hunter2@ssw/rd@127.0.0.1/k", "write @ as %40"),
            ("mysql://u:hunter2/rd@127.0.0.1/k", "/ as %2F"),
            ("mysql://u:hunter2?rd@127.0.0.1/k", "? as %3F"),
            ("mysql://u:hunter2#rd@127.0.0.1/k", "# as %23"),
            ("mysql://u:p@hunter2@127.0.0.1/k", "write @ as %40"),
            ("mysql://u:hunter2%zz@127.0.0.1/k", "write it as %25"),
            ("mysql://u:hunter2%@127.0.0.1/k", "write it as %25"),
            ("mysql://u:hunter2@/k", "names no host"),
            ("mysql://u:hunter2@:3306/k", "names no host"),
            ("mysql://u:hunter2@h:port/k", "a port that is no number"),
            ("mysql://u:hunter2@h:70000/k", "a port that is no number"),
            ("mysql://u:hunter2@h:/k", "a port that is no number"),
            ("mysql://u:hunter2@h:0/k", "a port that is no number from 1"),
            ("mysql://u:hunter2@tcp(h)/k", "no host name"),
            ("mysql://u:hunter2@a,b:3306/k", "no host name"),
            ("mysql://u:p@hunter2 x/k", "no host name"),
            ("mysql://u:hunter2@h/k?tls=true", "an option of TLS that is not known"),
            ("mysql://u:hunter2@h/k?useSSL=true&requireSSL=true", "an option of TLS that is not known"),
            ("mysql://u:hunter2@h/k?x=y&ssl_ca_file=hunter2", "use ssl-mode and ssl-ca, or DB_TLS"),
            ("mysql://u:hunter2@h/k?ssl", "an option of TLS that is not known"),
            ("mysql://u:hunter2@::1/k", "in brackets"),
            ("mysql://u:hunter2@h:3306", "names no database"),
            ("mysql://u:hunter2@h:3306/", "names no database"),
            ("mysql://u:hunter2@h?ssl-mode=required", "names no database"),
            ("mysql://u:hunter2@h/k/l", "a slash in the name"),
        ] {
            let error = check(url).unwrap_err();
            assert_eq!(error.class().exit_code(), 78);
            let text = error.to_string();
            assert!(
                text.contains(said) && !text.contains("hunter2") && !text.contains("ssw/"),
                "{url}: {text}"
            );
        }
        for url in [
            "mysql://u:p%40ss%2Fw@h/k",
            "mysql://u@[::1]:3306/k?ssl-mode=required",
            "mariadb://h/k",
            "mysql://u:p@h:3306/k?x=a@b",
            "mysql://u:p@my_db:3306/k?SSL_MODE=required&sslca=x&parseTime=true",
        ] {
            check(url).unwrap();
        }
    }

    #[test]
    fn an_option_of_the_query_is_found_whatever_its_spelling() {
        assert_eq!(option("mysql://h/k?a=b&SSL_MODE=VERIFY_CA", "ssl-mode"), Some("VERIFY_CA"));
        assert_eq!(option("mysql://h/k?sslmode=x", "ssl-mode"), Some("x"));
        assert_eq!(option("mysql://h/k", "ssl-mode"), None);
    }
}
