//! Masks e-mail addresses, because they must not appear in logs.

use std::borrow::Cow;

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
        // An image with its digest is not an address.
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

/// Where a quoted local part begins: `"ann smith"@x.io`. Quotes after a backslash may be part of it.
fn quoted_start(before: &str) -> Option<usize> {
    // Its beginning may contain another @.
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
