//! Options from a mounted Secret: what the environment leaves out is taken from the files of `CONFIG_DIR`, as workers do it.

use clap::Command;
use shared::config::Environment;

/// The command whose options have these values by default, by the names of their variables. A variable of the process wins, for
/// the command reads that by itself. Help shows none of the values.
pub(super) fn with_environment(command: Command, environment: &Environment) -> Command {
    command
        .mut_args(|argument| {
            let name = argument.get_env().and_then(|name| name.to_str());
            match name.and_then(|name| environment.get(name)) {
                // It lives as long as the command line itself: to the end of the process.
                Some(value) => argument.default_value(&*value.to_owned().leak()).hide_default_value(true),
                None => argument,
            }
        })
        .mut_subcommands(|command| with_environment(command, environment))
}

#[cfg(test)]
mod tests {
    use super::super::{Arguments, Command as Chosen};
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

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
