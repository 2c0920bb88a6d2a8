//! The allowed forms of names, keys and values.

/// Why a text does not fit.
pub(super) type Rule = fn(&str) -> Result<(), String>;

fn rule(is_right: bool, message: &str) -> Result<(), String> {
    if is_right { Ok(()) } else { Err(message.to_owned()) }
}

fn is_label(text: &str) -> bool {
    let edge =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
        && edge(bytes.first())
        && edge(bytes.last())
}

/// A DNS label.
pub(super) fn label(text: &str) -> Result<(), String> {
    rule(
        text.len() <= 63 && is_label(text),
        "must be at most 63 lower case letters, digits and hyphens, with none of these at its ends but letters and digits",
    )
}

/// A DNS subdomain.
pub(super) fn subdomain(text: &str) -> Result<(), String> {
    rule(
        text.len() <= 253 && text.split('.').all(is_label),
        "must be a name of lower case letters, digits, hyphens and dots, at most 253 long, that begins and ends with a letter or digit",
    )
}

/// A domain to look names up in: underscores stand where letters do.
pub(super) fn search_domain(text: &str) -> Result<(), String> {
    let name = text.strip_suffix('.').unwrap_or(text).replace('_', "a");
    if text == "." { Ok(()) } else { subdomain(&name) }
}

/// The value of a label.
pub(super) fn label_value(text: &str) -> Result<(), String> {
    rule(
        text.is_empty() || is_word(text),
        "must be at most 63 letters, digits, hyphens, underscores and dots that begin and end with a letter or digit",
    )
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && edge(bytes.first())
        && edge(bytes.last())
}

/// A key of a label: a word, optionally after a domain name and a slash.
pub(super) fn qualified(text: &str) -> Result<(), String> {
    const SHAPE: &str = "must be a word of at most 63 letters, digits, hyphens, underscores and dots, with or without a domain name and a slash before it";
    match text.split_once('/') {
        None => rule(is_word(text), SHAPE),
        Some((domain, word)) => rule(is_word(word) && subdomain(domain).is_ok(), SHAPE),
    }
}

/// A domain name, a slash, and a path.
pub(super) fn domain_and_path(text: &str) -> Result<(), String> {
    let is_right = text.split_once('/').is_some_and(|(domain, path)| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
        subdomain(domain).is_ok() && !path.is_empty() && path.bytes().all(fits)
    });
    rule(is_right, "must be a domain name, a slash and a path, such as example.com/controller")
}

/// The key of a Secret or ConfigMap.
pub(super) fn config_key(text: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    rule(
        text.len() <= 253 && text.bytes().all(fits) && text != "." && !text.starts_with(".."),
        "must be a key of letters, digits, hyphens, underscores and dots",
    )
}

/// The name of a variable, as the newest versions accept it.
pub(super) fn variable(text: &str) -> Result<(), String> {
    let fits = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    rule(text.bytes().all(fits), "must be printable ASCII without an equals sign")
}

/// The name of a port.
pub(super) fn port_name(text: &str) -> Result<(), String> {
    let is_right = text.len() <= 15
        && is_label(text)
        && !text.contains("--")
        && text.bytes().any(|byte| byte.is_ascii_lowercase());
    rule(
        is_right,
        "must be at most 15 lower case letters, digits and single hyphens, with a letter among them",
    )
}

/// The name of an HTTP header.
pub(super) fn header(text: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    rule(text.bytes().all(fits), "must be letters, digits and hyphens")
}

/// A path below something else.
pub(super) fn path_below(text: &str) -> Result<(), String> {
    rule(
        !text.starts_with('/') && !text.split('/').any(|part| part == ".."),
        "must be a relative path without ..",
    )
}

/// An IP address.
pub(super) fn ip(text: &str) -> Result<(), String> {
    rule(
        text.parse::<std::net::IpAddr>().is_ok(),
        "must be an IP address, such as 10.9.8.7 or 2001:db8::ffff",
    )
}

/// A sysctl, with dots or slashes between its parts.
pub(super) fn sysctl(text: &str) -> Result<(), String> {
    let is_part = |part: &str| {
        let edge =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
            && edge(part.bytes().next())
            && edge(part.bytes().last())
    };
    rule(
        text.len() <= 253 && text.split(['.', '/']).all(is_part),
        "must be the name of a kernel parameter, such as kernel.shm_rmid_forced",
    )
}
