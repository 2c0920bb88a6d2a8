//! Finds the value of a key in the text of a template, and whether it takes anything from the event.

/// Everything that may belong to the value of this key: the rest of its line and the lines below it.
pub(super) fn values(text: &str, key: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(rest) = after_key(line, key) else { continue };
        let indent = indent_of(line);
        let below = lines[at + 1..].iter().take_while(|line| {
            let trimmed = line.trim_start();
            trimmed.is_empty()
                || trimmed.starts_with("{{")
                || indent_of(line) > indent
                || (indent_of(line) == indent && trimmed.starts_with("- "))
        });
        let mut value: Vec<&str> = std::iter::once(rest).chain(below.copied()).collect();
        // Actions at the end belong to what follows.
        while value.len() > 1 && value.last().is_some_and(|line| line.trim_start().starts_with("{{")) {
            value.pop();
        }
        found.push(value.join("\n"));
    }
    found
}

/// Whether an action in this text prints, or repeats for, something else than a literal or a fact of the cluster.
/// Conditions may look at the event: what they choose from is written into the template.
pub(super) fn takes_data(text: &str) -> bool {
    let mut actions = text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or(rest));
    actions.any(|action| {
        let action = action.trim_matches('-').trim();
        let is_condition = matches!(
            action.split_whitespace().next(),
            Some("if" | "else" | "end" | "break" | "continue" | "/*") | None
        );
        !is_condition && !action.starts_with("/*") && names_data(&without_literals(action))
    })
}

fn names_data(action: &str) -> bool {
    let starts_a_field =
        |before: Option<char>| before.is_none_or(|one| one.is_whitespace() || "(|,".contains(one));
    action.contains('$')
        || action.match_indices('.').any(|(at, _)| {
            starts_a_field(action[..at].chars().next_back()) && !action[at + 1..].starts_with("Cluster.")
        })
}

/// Without the texts in quotes.
fn without_literals(action: &str) -> String {
    let (mut out, mut quote) = (String::with_capacity(action.len()), None);
    let mut letters = action.chars();
    while let Some(letter) = letters.next() {
        match quote {
            Some('"') if letter == '\\' => drop(letters.next()),
            Some(end) if letter == end => quote = None,
            Some(_) => {}
            None if matches!(letter, '"' | '`') => quote = Some(letter),
            None => out.push(letter),
        }
    }
    out
}

/// What follows the key and its colon in this line.
fn after_key<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.match_indices(key).find_map(|(at, _)| {
        let before = line[..at].chars().next_back();
        let begins = before.is_none_or(|one| !(one.is_alphanumeric() || "_./-".contains(one)));
        let rest = line[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
        rest.strip_prefix(':').filter(|_| begins)
    })
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_key_is_its_line_and_what_stands_below_it() {
        let text = "metadata:\n  finalizers:\n{{ range .CloudEvent.data.v }}\n  - a/b{{ . }}\n{{ end }}\n  name: x\n";
        let found = values(text, "finalizers");
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("range") && found[0].contains("a/b") && !found[0].contains("name"),
            "{found:?}"
        );
        assert_eq!(values("spec: {\"nodeName\": n{{ 1 }}}", "nodeName"), [" n{{ 1 }}}"]);
        assert_eq!(
            values("xnodeName: a\n# the nodeName of\nmy.nodeName: b\n", "nodeName"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_action_that_prints_something_of_the_event_is_known() {
        for text in [
            "n{{ .CloudEvent.data.v }}",
            "{{- .CloudEvent.data.v -}}",
            "{{ $v }}",
            "{{ range .CloudEvent.data.v }}a{{ end }}",
            "{{ range (list 1 2) }}{{ . }}{{ end }}",
            "{{ printf \"%d\" (len .CloudEvent.data.v) }}",
            "{{ toYaml .CloudEvent.data.o | nindent 4 }}",
        ] {
            assert!(takes_data(text), "{text}");
        }
        for text in [
            "plain",
            "{{ \"a.b\" }}",
            "{{ .Cluster.metadata.name }}",
            "{{ if eq .CloudEvent.data.tier \"gold\" }}high{{ else }}low{{ end }}",
            "{{/* of .CloudEvent */}}",
            "{{ printf \"%s.%s\" \"a\" `$b` }}",
        ] {
            assert!(!takes_data(text), "{text}");
        }
    }
}
