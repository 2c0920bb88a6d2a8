//! Reads credentials files in every form that `nsc` has written: with blank lines, carriage returns, a byte order
//! mark, more or fewer dashes.

use crate::config::{FilePath, Secret, trimmed};
use crate::error::{Error, Result};

/// The user's token for the server, and the seed of the key that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) jwt: Secret,
    pub(super) seed: Secret,
}

/// Parses a credentials file.
pub(super) fn read(path: &FilePath) -> Result<Credentials> {
    // A path contains no line break, and does not begin like a credentials file.
    let text = path.as_path().to_string_lossy();
    if text.contains(['\n', '\r']) || text.contains("-----BEGIN") || text.starts_with("eyJ") {
        return Err(Error::configuration(
            "NATS_CREDS holds credentials, and not the path of a file with them: mount the key as a file, and name that",
        ));
    }
    let bytes = std::fs::read(path.as_path()).map_err(|error| {
        Error::configuration(format!("NATS_CREDS: cannot read the credentials file {path}"))
            .because(error.kind().to_string())
    })?;
    parse(&bytes)
        .map_err(|why| Error::configuration(format!("NATS_CREDS: the credentials file {path} {why}")))
}

fn parse(bytes: &[u8]) -> std::result::Result<Credentials, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    let jwt = block(text, "JWT").filter(|jwt| jwt.matches('.').count() == 2).ok_or("holds no user JWT")?;
    let seed = block(text, "SEED").or_else(|| block(text, "NKEY")).filter(|seed| seed.starts_with("SU"));
    let seed = seed.ok_or("holds no seed of a user (SU…)")?;
    Ok(Credentials { jwt: Secret::from(jwt), seed: Secret::from(seed) })
}

/// The text between the dashed lines of a block whose name contains this word.
fn block(text: &str, word: &str) -> Option<String> {
    let is_armour = |line: &str, edge: &str| {
        let upper = line.to_ascii_uppercase();
        line.starts_with("---") && upper.contains(edge)
    };
    let mut lines = text.lines().map(trimmed);
    lines.find(|line| is_armour(line, "BEGIN") && line.to_ascii_uppercase().contains(word))?;
    let body: String = lines.take_while(|line| !is_armour(line, "END")).collect();
    Some(body).filter(|body| !body.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

    #[test]
    fn every_form_of_the_file_is_read_alike() {
        let usual = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n\n****\n"
        );
        let wanted = parse(usual.as_bytes()).unwrap();
        for other in [
            usual.replace("c2ln\n", "c2ln\n\n"),
            usual.replace("JWT-----\n", "JWT-----\n \n"),
            usual.replace('\n', "\r\n"),
            format!("\u{feff}{usual}"),
            usual.replace("------END", "-----END").replace("JWT------", "JWT-----"),
            usual.replace("-----BEGIN", "---BEGIN").replace("------END", "---END"),
            usual.replace("eyJ0.eyJq.c2ln", "  eyJ0.eyJq\n.c2ln  "),
            usual.replace("USER NKEY SEED", "USER NKEY"),
            usual.trim_end().trim_end_matches('*').trim_end().to_owned(),
        ] {
            assert_eq!(parse(other.as_bytes()), Ok(wanted.clone()), "{other:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_shown() {
        assert_eq!(parse(b"").unwrap_err(), "holds no user JWT");
        assert_eq!(parse(SEED.as_bytes()).unwrap_err(), "holds no user JWT");
        let half = "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n";
        assert_eq!(parse(half.as_bytes()).unwrap_err(), "holds no seed of a user (SU…)");
        assert_eq!(parse(b"\xff").unwrap_err(), "is not UTF-8");
    }

    #[test]
    fn credentials_in_the_place_of_a_path_are_told_and_not_shown() {
        for text in ["-----BEGIN NATS USER JWT-----\neyJ0.hunter2.x\n", "eyJ0.hunter2.x"] {
            let error = read(&FilePath::from(PathBuf::from(text))).unwrap_err();
            assert_eq!(error.class().exit_code(), 78);
            assert!(
                error.to_string().contains("path of a file") && !error.to_string().contains("hunter2"),
                "{error}"
            );
        }
        let error = read(&FilePath::from(PathBuf::from("/nowhere/user.creds"))).unwrap_err();
        assert!(
            error.to_string().contains("NATS_CREDS: cannot read the credentials file /nowhere/user.creds"),
            "{error}"
        );
    }
}
