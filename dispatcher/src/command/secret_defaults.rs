//! Options from a mounted Secret: like workers, the dispatcher reads variables that are not set from the files of
//! `CONFIG_DIR`.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use shared::config::Environment;

/// The command with these values as defaults of its options, by the names of their variables. A variable of the
/// process wins, because the command reads it by itself. Help shows no values, neither these nor those of the
/// process's variables, because any of them may be a secret in the wrong place.
pub(super) fn with_environment(command: Command, environment: &Environment) -> Command {
    command
        .mut_args(|argument| {
            let argument = argument.hide_env_values(true);
            let name = argument.get_env().and_then(|name| name.to_str());
            match name.and_then(|name| environment.get(name)) {
                // Leaked on purpose: it lives as long as the command line, until the process ends.
                Some(value) => argument.default_value(&*value.to_owned().leak()).hide_default_value(true),
                None => argument,
            }
        })
        .mut_subcommands(|command| with_environment(command, environment))
}

/// The same error without the invalid value.
pub(super) fn without_value(mut error: clap::Error) -> clap::Error {
    if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue)
        && error.get(ContextKind::InvalidValue).is_some()
    {
        error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
        error.remove(ContextKind::SuggestedValue);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::super::{Arguments, Command as Chosen};
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

    #[test]
    fn a_value_that_is_not_valid_is_not_shown() {
        let command = with_environment(Arguments::command(), &Environment::default());
        for line in [
            ["dispatcher", "run", "--listen=hunter2"],
            ["dispatcher", "run", "--backend=hunter2"],
            ["dispatcher", "run", "--max-running=-hunter2"],
            ["dispatcher", "status", "--output=hunter2"],
            ["dispatcher", "status", "--limit=hunter2"],
        ] {
            let error = without_value(command.clone().try_get_matches_from(line).unwrap_err());
            let words = error.to_string();
            assert!(
                words.contains("invalid value") && words.contains("--") && !words.contains("hunter2"),
                "{words}"
            );
        }
    }

    #[test]
    fn a_mounted_value_is_taken_an_option_wins_and_help_shows_neither() {
        let mounted = [("PARTNER_LISTEN", "127.0.0.1:1234"), ("NATS_PASSWORD", "hunter2")];
        let command = with_environment(Arguments::command(), &Environment::from_pairs(mounted));
        let listen = |line: &[&str]| {
            let matches = command.clone().try_get_matches_from(line).unwrap();
            match Arguments::from_arg_matches(&matches).unwrap().command {
                Chosen::Partner(partner) => partner.listen().to_string(),
                _ => panic!("not the command that was asked for"),
            }
        };
        assert_eq!(listen(&["dispatcher", "partner"]), "127.0.0.1:1234");
        assert_eq!(listen(&["dispatcher", "partner", "--listen", "127.0.0.1:1"]), "127.0.0.1:1");
        let mut help = command.clone();
        help.build();
        let run = help.find_subcommand_mut("run").unwrap().render_long_help().to_string();
        assert!(run.contains("NATS_PASSWORD") && !run.contains("hunter2"), "{run}");
    }
}
