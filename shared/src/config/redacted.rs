//! Removes secrets from the answers of other servers, because servers repeat what they were sent, such as a wrong
//! path or a refused user.

use super::{Environment, FromText, Host};

/// Shorter values may be words of any sentence, so they are not removed.
const FEWEST_CHARACTERS: usize = 4;

/// Secret values, and the variable name that replaces each.
#[derive(Default)]
pub struct Redaction(Vec<(String, &'static str)>);

impl Redaction {
    /// The values of these variables; of an address, the parts that may be secret.
    pub fn new(environment: &Environment, names: &[&'static str]) -> Self {
        let mut found: Vec<(String, &'static str)> = names
            .iter()
            .filter_map(|name| Some((*name, environment.get(name)?)))
            .filter(|(name, value)| *name != "NATS_SERVER" || !are_hosts(value))
            .flat_map(|(name, value)| parts(value).into_iter().map(move |part| (part, name)))
            .filter(|(part, _)| part.chars().count() >= FEWEST_CHARACTERS)
            .collect();
        // Longest first, because a value may contain another one.
        found.sort_by_key(|(part, _)| std::cmp::Reverse(part.len()));
        Self(found)
    }

    /// The text without these values.
    pub fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (part, name)| text.replace(part, &format!("[{name}]")))
    }
}

/// Whether these are addresses of servers and nothing else. Errors name them.
fn are_hosts(value: &str) -> bool {
    let is_host = |one: &str| {
        let one = one.trim().trim_end_matches('/');
        let server = one.split_once("://").map_or(one, |(_, server)| server);
        let host = match server.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => server,
        };
        Host::from_text(host).is_ok()
    };
    value.split(',').all(is_host)
}

/// The value, and if it is an address, also user, password, the parts of its path and the values of its query.
fn parts(value: &str) -> Vec<String> {
    let mut parts = vec![value.to_owned()];
    if let Ok(url) = reqwest::Url::parse(value) {
        let path = url.path_segments().into_iter().flatten();
        let texts = [url.username(), url.password().unwrap_or_default()].into_iter().chain(path);
        parts.extend(texts.map(str::to_owned));
        parts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        parts.extend(url.query().map(str::to_owned));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_of_a_secret_is_not_shown() {
        let environment = Environment::from_pairs([
            ("DB_USER", "hunter-user"),
            ("HOOK", "https://ann:hunter1@hooks.example/services/T0HUNTER?key=hunter3"),
            ("DB_NAME", "db"),
        ]);
        let redaction = Redaction::new(&environment, &["DB_USER", "HOOK", "DB_NAME", "OTHER"]);
        assert_eq!(
            redaction.apply("Access denied for user 'hunter-user'@'db'; hooks.example: no /services/T0HUNTER?key=hunter3, hunter1"),
            "Access denied for user '[DB_USER]'@'db'; hooks.example: no /[HOOK]/[HOOK]?[HOOK], [HOOK]"
        );
        let of_servers = |value: &str| {
            let environment = Environment::from_pairs([("NATS_SERVER", value)]);
            Redaction::new(&environment, &["NATS_SERVER"]).apply(&format!("cannot reach {value}"))
        };
        for value in ["nats.example:4222", "127.0.0.1", "nats://a:1, b", "[::1]:4222"] {
            assert_eq!(of_servers(value), format!("cannot reach {value}"));
        }
        assert_eq!(of_servers("hunter2@nats.example"), "cannot reach [NATS_SERVER]");
    }
}
