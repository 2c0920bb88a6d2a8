//! Sprig's functions on paths and URLs.

use std::sync::Arc;

use super::{Call, Fault, Function, Value, fault};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("base", 1, 1, |call| call.made(base(call.str(0)?))),
    Function::new("osBase", 1, 1, |call| call.made(base(call.str(0)?))),
    Function::new("dir", 1, 1, |call| call.made(dir(call.str(0)?))),
    Function::new("osDir", 1, 1, |call| call.made(dir(call.str(0)?))),
    Function::new("clean", 1, 1, |call| call.made(clean(call.str(0)?))),
    Function::new("osClean", 1, 1, |call| call.made(clean(call.str(0)?))),
    Function::new("ext", 1, 1, |call| call.made(ext(call.str(0)?))),
    Function::new("osExt", 1, 1, |call| call.made(ext(call.str(0)?))),
    Function::new("isAbs", 1, 1, |call| Ok(Value::Bool(call.str(0)?.starts_with('/')))),
    Function::new("osIsAbs", 1, 1, |call| Ok(Value::Bool(call.str(0)?.starts_with('/')))),
    Function::new("urlParse", 1, 1, url_parse),
    Function::new("urlJoin", 1, 1, url_join),
];

fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed {
        "" if path.is_empty() => ".",
        "" => "/",
        _ => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |slash| &path[..=slash]))
}

fn ext(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').map_or("", |dot| &name[dot..])
}

fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            _ => kept.push(part),
        }
    }
    match (rooted, kept.is_empty()) {
        (true, _) => format!("/{}", kept.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => kept.join("/"),
    }
}

/// The parts of a URL as RFC 3986 splits it.
fn url_parse(call: &mut Call<'_>) -> Result<Value, Fault> {
    let url = call.str(0)?;
    if url.chars().any(char::is_control) {
        return fault("the text is not a URL");
    }
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let scheme_end = rest.find(':').filter(|end| {
        let scheme = &rest[..*end];
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    });
    let (scheme, rest) = scheme_end.map_or(("", rest), |end| (&rest[..end], &rest[end + 1..]));
    let (authority, path, opaque) = match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            (&rest[..end], &rest[end..], "")
        }
        None if !scheme.is_empty() && !rest.starts_with('/') => ("", "", rest),
        None => ("", rest, ""),
    };
    let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let hostname = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let entries = [
        ("scheme", scheme.to_ascii_lowercase()),
        ("userinfo", userinfo.to_owned()),
        ("host", host.to_owned()),
        ("hostname", hostname.trim_matches(['[', ']']).to_owned()),
        ("path", path.to_owned()),
        ("query", query.to_owned()),
        ("opaque", opaque.to_owned()),
        ("fragment", fragment.to_owned()),
    ];
    Ok(Value::map(entries.into_iter().map(|(key, value)| (Arc::from(key), Value::text(value))).collect()))
}

fn url_join(call: &mut Call<'_>) -> Result<Value, Fault> {
    let map = call.map(0)?;
    let part = |name: &str| match map.get(name) {
        Some(Value::Text(text)) => text.text.to_string(),
        _ => String::new(),
    };
    let mut url = String::new();
    if !part("scheme").is_empty() {
        url += &part("scheme");
        url.push(':');
    }
    if part("opaque").is_empty() {
        if !part("host").is_empty() {
            let user = if part("userinfo").is_empty() { String::new() } else { part("userinfo") + "@" };
            url += "//";
            url += &user;
            url += &part("host");
            if !part("path").is_empty() && !part("path").starts_with('/') {
                url.push('/');
            }
        }
        url += &part("path");
    } else {
        url += &part("opaque");
    }
    for (mark, name) in [("?", "query"), ("#", "fragment")] {
        if !part(name).is_empty() {
            url += mark;
            url += &part(name);
        }
    }
    call.made(url)
}
