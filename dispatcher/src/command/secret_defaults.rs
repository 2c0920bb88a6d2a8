//! Options from variables. Like workers, the dispatcher reads the variables of the process, and below them the files of
//! `CONFIG_DIR`, and both are cleaned alike.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use shared::config::Environment;

/// Reads a command line. Options that it leaves out are read from their variables, which an error then names. Neither
/// help nor an error shows a value, because any of them may be a secret in the wrong place.
pub(super) fn parse(
    command: Command,
    environment: &Environment,
    line: &[OsString],
) -> Result<ArgMatches, clap::Error> {
    let matches = match without_variables(command.clone()).try_get_matches_from(line) {
        Ok(given) => completed(command, &given, environment)
            .and_then(|command| without_variables(command).try_get_matches_from(line)),
        Err(error) => Err(help(command, line).filter(|help| help.kind() == error.kind()).unwrap_or(error)),
    };
    matches.map_err(without_value)
}

/// The help that this line asks for, with the names of the variables.
fn help(command: Command, line: &[OsString]) -> Option<clap::Error> {
    fn without_values(command: Command) -> Command {
        command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(without_values)
    }
    let answer = without_values(command).try_get_matches_from(line).err()?;
    let is_help =
        matches!(answer.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
    is_help.then_some(answer)
}

/// The command that reads no variables by itself: it would neither clean them nor name them in errors.
fn without_variables(command: Command) -> Command {
    command.mut_args(|argument| argument.env(Resettable::Reset)).mut_subcommands(without_variables)
}

/// The command with the variables as defaults of the options that this line leaves out.
fn completed(
    mut command: Command,
    given: &ArgMatches,
    environment: &Environment,
) -> Result<Command, clap::Error> {
    let arguments: Vec<Arg> = command.get_arguments().cloned().collect();
    for argument in arguments {
        let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { continue };
        if is_given(given, &argument) {
            continue;
        }
        let value = environment
            .given(name)
            .map_err(|error| clap::Error::raw(ErrorKind::InvalidValue, format!("{error}\n")))?;
        if let Some(value) = value {
            let value = checked(&argument, name, value)?;
            // Leaked on purpose: it lives as long as the command line, until the process ends.
            command = command.mut_arg(argument.get_id(), |argument| argument.default_value(&*value.leak()));
        }
    }
    if let Some((name, given)) = given.subcommand()
        && let Some(below) = command.find_subcommand(name).cloned()
    {
        let below = completed(below, given, environment)?;
        command = command.mut_subcommand(name, |_| below);
    }
    Ok(command)
}

/// Whether the line has this option.
fn is_given(given: &ArgMatches, argument: &Arg) -> bool {
    given.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
        || (argument.is_global_set()
            && given.subcommand().is_some_and(|(_, below)| is_given(below, argument)))
}

/// The default that this value of a variable means.
fn checked(argument: &Arg, name: &str, value: &str) -> Result<String, clap::Error> {
    let option = format!("--{}", argument.get_long().unwrap_or_default());
    let both = format!("{name} ({option})");
    if !argument.get_action().takes_values() {
        let words =
            format!("invalid value '…' for '{both}': it must be true or false (or yes, no, on, off, 1, 0)\n");
        let is_set = boolean(value).ok_or_else(|| clap::Error::raw(ErrorKind::InvalidValue, words))?;
        return Ok(is_set.to_string());
    }
    let alone = Command::new("dispatcher").no_binary_name(true).arg(argument.clone().env(Resettable::Reset));
    match alone.try_get_matches_from([format!("{option}={value}")]) {
        Ok(_) => Ok(value.to_owned()),
        Err(mut error) => {
            error.insert(ContextKind::InvalidArg, ContextValue::String(both));
            Err(error)
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The same error without the invalid value.
fn without_value(mut error: clap::Error) -> clap::Error {
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
    use super::super::Arguments;
    use super::*;
    use clap::{ArgAction, CommandFactory};

    /// What a command makes of its line and these variables.
    fn read(line: &[&str], variables: &[(&str, &str)]) -> Result<ArgMatches, clap::Error> {
        let line: Vec<_> = ["dispatcher"].iter().chain(line).map(OsString::from).collect();
        let matches =
            parse(Arguments::command(), &Environment::from_pairs(variables.iter().copied()), &line)?;
        Ok(matches.subcommand().unwrap().1.clone())
    }

    fn raw(matches: &ArgMatches, id: &str) -> String {
        let values = matches.get_raw(id).unwrap().map(|value| value.to_str().unwrap());
        values.collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_value_that_is_not_valid_is_not_shown() {
        for (command, option, variable) in [
            ("run", "listen", "DISPATCHER_LISTEN"),
            ("run", "backend", "DISPATCHER_BACKEND"),
            ("run", "max-running", "DISPATCHER_MAX_RUNNING"),
            ("run", "grace", "DISPATCHER_GRACE"),
            ("run", "lease", "BUS_LEASE"),
            ("run", "nats-connect-timeout", "NATS_CONNECT_TIMEOUT"),
            ("status", "output", ""),
            ("status", "limit", ""),
        ] {
            let wrong = |line: &[&str], variables: &[(&str, &str)]| {
                let words = read(line, variables).unwrap_err().to_string();
                assert!(words.contains("invalid value") && !words.contains("hunter2"), "{words}");
                assert!(
                    ["it must be", "write", "possible values"].iter().any(|said| words.contains(said)),
                    "{words}"
                );
                words
            };
            let words = wrong(&[command, &format!("--{option}=hunter2")], &[]);
            assert!(words.contains(&format!("--{option}")), "{words}");
            if !variable.is_empty() {
                let words = wrong(&[command], &[(variable, "hunter2")]);
                assert!(words.contains(&format!("{variable} (--{option})")), "{words}");
                assert!(read(&["migrate"], &[(variable, "hunter2")]).is_ok(), "no variable of this command");
            }
        }
    }

    #[test]
    fn a_range_is_said_whether_an_option_or_a_variable_breaks_it() {
        for (variable, value, said) in [
            (
                "DISPATCHER_MAX_RUNNING",
                "0",
                "DISPATCHER_MAX_RUNNING (--max-running)': it must be a whole number from 1 to",
            ),
            ("DISPATCHER_GRACE", "30s", "DISPATCHER_GRACE (--grace)': it must be a whole number from 0 to"),
            ("BUS_LEASE", "0", "it must be a number of seconds from 0."),
            ("NATS_REPLICAS", "0", "it must be a whole number from 1 to 5"),
            ("ALLOWED_NAMESPACES", "a,A_b", "lower-case letters"),
            ("DISPATCHER_MANIFEST_NAMESPACES", "A_b", "lower-case letters"),
            ("ALLOWED_POD_FIELDS", "nodeName,foo", "no field of a Pod"),
            ("DISPATCHER_SECRETS", "x", "write it as NAME=PATH"),
            ("CLUSTER_LABELS", "x", "KEY=VALUE"),
        ] {
            let words = read(&["run"], &[(variable, value)]).unwrap_err().to_string();
            assert!(words.contains(said) && words.contains(variable), "{words}");
        }
    }

    #[test]
    fn variables_are_cleaned_and_blank_ones_are_not_set() {
        for (variable, id, usual) in [
            ("DISPATCHER_MAX_RUNNING", "max_running", ""),
            ("DISPATCHER_BACKEND", "backend", "process"),
            ("NATS_CONNECT_TIMEOUT", "nats_connect_timeout", "60"),
            ("CLUSTER_LABELS", "cluster_labels", "role=deploy"),
        ] {
            for blank in ["", " ", "\n", "\u{feff}"] {
                let matches = read(&["run"], &[(variable, blank)]).unwrap();
                let found = if usual.is_empty() { String::new() } else { raw(&matches, id) };
                assert_eq!(
                    (found.as_str(), matches.contains_id(id)),
                    (usual, !usual.is_empty()),
                    "{variable}"
                );
            }
        }
        let matches = read(
            &["run"],
            &[
                ("DISPATCHER_MAX_RUNNING", " 4 "),
                ("ALLOWED_NAMESPACES", "a, b"),
                ("DISPATCHER_BACKEND", "docker\n"),
            ],
        )
        .unwrap();
        assert_eq!(raw(&matches, "max_running"), "4");
        assert_eq!(raw(&matches, "backend"), "docker");
        let namespaces: Vec<&String> = matches.get_many("namespaces").unwrap().collect();
        assert_eq!(namespaces, ["a", "b"]);
    }

    #[test]
    fn the_process_itself_is_not_read() {
        for one in without_variables(Arguments::command()).get_subcommands() {
            assert!(one.get_arguments().all(|argument| argument.get_env().is_none()), "{}", one.get_name());
        }
    }

    #[test]
    fn a_variable_of_a_flag_is_true_or_false() {
        let mut flags = 0;
        for one in Arguments::command().get_subcommands() {
            for flag in
                one.get_arguments().filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue))
            {
                let Some(variable) = flag.get_env().and_then(|name| name.to_str()) else { continue };
                flags += 1;
                let line: &[&str] = match one.get_name() {
                    "publish" => &["publish", "-"],
                    "explain" => &["explain", "-"],
                    name => &[name],
                };
                for (value, meant) in [
                    ("true", true),
                    ("1", true),
                    ("YES", true),
                    ("false", false),
                    ("0", false),
                    ("no", false),
                    ("", false),
                ] {
                    let matches = read(line, &[(variable, value)]).unwrap();
                    assert_eq!(matches.get_flag(flag.get_id().as_str()), meant, "{variable}={value}");
                }
                let words = read(line, &[(variable, "hunter2")]).unwrap_err().to_string();
                assert!(
                    words.contains(variable) && words.contains("true or false") && !words.contains("hunter2"),
                    "{words}"
                );
                let option = format!("--{}", flag.get_long().unwrap());
                let matches = read(&[line, &[&option]].concat(), &[(variable, "hunter2")]).unwrap();
                assert!(matches.get_flag(flag.get_id().as_str()), "an option wins");
            }
        }
        assert!(flags > 4, "{flags}");
    }

    #[test]
    fn a_mounted_value_is_taken_an_option_wins_and_help_shows_neither() {
        let mounted = [
            ("PARTNER_LISTEN", "127.0.0.1:1234"),
            ("NATS_PASSWORD", "hunter2"),
            ("DISPATCHER_LOG_FORMAT", "hunter2"),
        ];
        let wins = ["--log-format", "json"];
        let listen = |line: &[&str]| raw(&read(&[line, &wins].concat(), &mounted).unwrap(), "listen");
        assert_eq!(listen(&["partner"]), "127.0.0.1:1234");
        assert_eq!(listen(&["partner", "--listen", "127.0.0.1:1"]), "127.0.0.1:1");
        let help = read(&["run", "--help"], &mounted).unwrap_err();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        let run = help.to_string();
        assert!(run.contains("[env: NATS_PASSWORD]") && !run.contains("hunter2"), "{run}");
    }
}
