//! Logs: one line per outcome, text on a terminal and JSON elsewhere, addresses masked, never a secret.
//!
//! Reads `DISPATCHER_LOG` (a filter such as `info` or `dispatcher=debug`) and `--log-format`.

use std::borrow::Cow;
use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines: one object per line.
    Json,
}

/// Starts logging to standard error. The first call counts.
pub fn start(format: Format, filter: &str) {
    let filter: Targets = filter.parse().unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    let on_terminal = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let json = match format {
        Format::Auto => !on_terminal,
        Format::Text => false,
        Format::Json => true,
    };
    // Fails where a test has started it already.
    let registry = tracing_subscriber::registry().with(filter);
    drop(if json {
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        registry.with(layer).try_init()
    } else {
        let layer = layer.with_ansi(on_terminal && std::env::var_os("NO_COLOR").is_none()).compact();
        registry.with(layer).try_init()
    });
}

/// The text with every e-mail address reduced to its first letter and its domain.
pub fn masked(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let is_part = |c: char| {
        c.is_alphanumeric()
            || matches!(
                c,
                '.' | '_'
                    | '%'
                    | '+'
                    | '$'
                    | '-'
                    | '\''
                    | '!'
                    | '#'
                    | '&'
                    | '*'
                    | '='
                    | '?'
                    | '^'
                    | '`'
                    | '{'
                    | '|'
                    | '}'
                    | '~'
                    | '/'
            )
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let local_start = quoted_start(before).unwrap_or_else(|| {
            before
                .rfind(|c| !is_part(c))
                .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8))
        });
        // An image with its digest is no address.
        let has_domain =
            after.starts_with(|c: char| c.is_alphanumeric() || c == '[') && !after.starts_with("sha256:");
        out.push_str(&before[..local_start]);
        let local = &before[local_start..];
        if has_domain && !local.is_empty() {
            out.extend(local.chars().next());
            out.push_str("***");
        } else {
            out.push_str(local);
        }
        out.push('@');
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where a local part in quotation marks begins: `"ann smith"@x.io`. Marks with a backslash before them may be part of it.
fn quoted_start(before: &str) -> Option<usize> {
    // Its beginning may stand before another @.
    let mut start = before.strip_suffix('"')?.rfind('"').unwrap_or(0);
    while before[..start].ends_with('\\')
        && let Some(earlier) = before[..start].rfind('"')
    {
        start = earlier;
    }
    Some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_masked_and_nothing_else() {
        for (text, expected) in [
            ("no address", "no address"),
            ("ann@example.com is taken", "a***@example.com is taken"),
            ("users[1].email \"ann.b+c@x.io\", <bob@y.io>", "users[1].email \"a***@x.io\", <b***@y.io>"),
            ("@ alone, a @ b, image@sha256:01", "@ alone, a @ b, image@sha256:01"),
            ("é@x.io", "é***@x.io"),
            ("to \"ann smith\"@x.io, too", "to \"***@x.io, too"),
            (r#""a\"b c"@x.io {\"ann s\"@x.io"#, r#""***@x.io {\"***@x.io"#),
            (r#""a@b"@x.io"#, r#""a***@b***@x.io"#),
            ("a$b@x.io", "a***@x.io"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }
}
