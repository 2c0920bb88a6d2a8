//! Checks the parts of `DATABASE_URL`. An error says which part is wrong and quotes none of it.

use crate::config::{FromText, Host};
use crate::error::{Error, Result};

/// The options of TLS that have an effect, in lower case and without `_` and `-`.
const TLS_OPTIONS: &[&str] = &["sslmode", "sslca", "sslcert", "sslkey"];
/// The longest key of an option that a message quotes.
#[cfg(feature = "sqlite")]
const LONGEST_KEY: usize = 20;

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
    if !is_utf8(user) {
        return Err(wrong("has an escape in its user or password that is not UTF-8: write é as %C3%A9"));
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
    if !is_utf8(name) {
        return Err(wrong("has an escape in the name of its database that is not UTF-8: write é as %C3%A9"));
    }
    if option(url, "statement-cache-capacity").is_some_and(|value| value.parse::<u32>().is_err()) {
        return Err(wrong("has a statement-cache-capacity in its query that is no whole number"));
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
    pairs.map(|(key, value)| (spelt(key), value))
}

/// The value of a key in its query, such as `ssl-mode`. Keys are compared without case, `_` and `-`.
pub(super) fn option<'a>(url: &'a str, wanted: &str) -> Option<&'a str> {
    let wanted = wanted.replace('-', "");
    options(url).find(|(key, _)| *key == wanted).map(|(_, value)| value)
}

/// The address without a key of its query.
pub(super) fn without(url: &str, unwanted: &str) -> String {
    let unwanted = unwanted.replace('-', "");
    let Some((address, query)) = url.split_once('?') else { return url.to_owned() };
    let pairs = query.split('#').next().unwrap_or_default().split('&');
    let is_kept = |pair: &&str| spelt(pair.split('=').next().unwrap_or_default()) != unwanted;
    format!("{address}?{}", pairs.filter(is_kept).collect::<Vec<_>>().join("&"))
}

/// A key in lower case and without `_` and `-`.
fn spelt(key: &str) -> String {
    key.replace(['_', '-'], "").to_ascii_lowercase()
}

pub(super) fn wrong(what: &str) -> Error {
    Error::configuration(format!("DATABASE_URL {what}; it is like mysql://user:password@host:3306/name"))
}

fn has_bad_escape(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .any(|rest| !rest.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())))
}

/// Whether its escapes stand for UTF-8.
fn is_utf8(text: &str) -> bool {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for (hex, rest) in parts.filter_map(|part| part.split_at_checked(2)) {
        bytes.extend(u8::from_str_radix(hex, 16));
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).is_ok()
}

/// The address of an SQLite file, checked, with its scheme in lower case. Nothing in it is secret.
#[cfg(feature = "sqlite")]
pub(super) fn check_file(url: &str) -> Result<String> {
    let wrong = |what: String| {
        Error::configuration(format!("DATABASE_URL {what}; it is like sqlite:///path/of/file.db"))
    };
    let (_, rest) = url.split_once(':').unwrap_or(("", url));
    let path = rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default();
    if path.is_empty() {
        return Err(wrong("has no path of a file".to_owned()));
    }
    // A % that begins no escape is one.
    if !is_utf8(path) {
        return Err(wrong("has an escape in its path that is not UTF-8: write % as %25".to_owned()));
    }
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    for (key, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
        let allowed: &[&str] = match key {
            "mode" => &["rwc", "rw", "memory"],
            "cache" => &["private", "shared"],
            // What is read-only cannot be used.
            "immutable" => &["false", "0"],
            "" | "vfs" => continue,
            _ if key.len() <= LONGEST_KEY && key.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                return Err(wrong(format!(
                    "has an option {key}: only mode, cache, immutable and vfs are known"
                )));
            }
            _ => {
                let words = "has an option that is not known: only mode, cache, immutable and vfs are";
                return Err(wrong(words.to_owned()));
            }
        };
        if !allowed.contains(&value) {
            return Err(wrong(format!("has an option {key} that is not one of {}", allowed.join(", "))));
        }
    }
    Ok(format!("sqlite:{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "sqlite")]
    fn the_address_of_a_file_has_a_path_and_known_options() {
        for (url, said) in [
            ("sqlite://", "has no path of a file"),
            ("sqlite:", "has no path of a file"),
            ("sqlite://?mode=rwc", "has no path of a file"),
            ("sqlite://x.db?mode=zz", "an option mode that is not one of rwc, rw, memory"),
            ("sqlite://x.db?mode=ro", "an option mode that is not one of rwc, rw, memory"),
            ("sqlite://x.db?mode=rwc&immutable=true", "an option immutable that is not one of false, 0"),
            ("sqlite://x.db?cache=x", "an option cache that is not one of private, shared"),
            ("sqlite://x.db?foo=1", "an option foo: only mode"),
            ("sqlite://x.db?f%6fo=1", "an option that is not known: only mode"),
            ("sqlite://x%ff.db", "an escape in its path that is not UTF-8"),
        ] {
            let error = check_file(url).unwrap_err();
            assert_eq!(error.class().exit_code(), 78);
            assert!(error.to_string().contains(said), "{url}: {error}");
        }
        for (url, same) in [
            ("SQLITE://x.db", "sqlite://x.db"),
            ("sqlite:x.db?mode=rwc&cache=private", "sqlite:x.db?mode=rwc&cache=private"),
            ("sqlite:///100%/x%zz%c3%a9.db", "sqlite:///100%/x%zz%c3%a9.db"),
            ("sqlite::memory:", "sqlite::memory:"),
        ] {
            assert_eq!(check_file(url).unwrap(), same);
        }
    }

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
            ("mysql://u:hunter2%ff@h/k", "an escape in its user or password that is not UTF-8"),
            ("mysql://u:hunter2@h/%ff", "an escape in the name of its database that is not UTF-8"),
            ("mysql://u:p@h/k?statement-cache-capacity=hunter2", "a statement-cache-capacity"),
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
            "mysql://u:%C3%a9@h/%C3%A9?statement-cache-capacity=7",
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
        assert_eq!(without("mysql://h/k?a=b&SSL_MODE=x&c", "ssl-mode"), "mysql://h/k?a=b&c");
        assert_eq!(without("mysql://h/k", "ssl-mode"), "mysql://h/k");
    }
}
