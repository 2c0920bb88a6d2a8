//! The command line: one file for each command, and one path from arguments to exit code.

mod address;
pub mod backend_arguments;
mod bus_access;
mod dead_letters;
mod demo;
mod event_file;
pub mod explain;
mod healthcheck;
mod migrate;
mod number;
pub mod output;
mod partner;
pub mod planning;
mod print;
mod publish;
mod republish;
mod run;
mod secret_defaults;
mod service;
mod status;
pub mod validate;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use shared::config::Environment;
use shared::error::{Error, Result};

use crate::logging;

/// Blocking calls are short, and many at once only come in bursts. More threads would cost memory and save no time.
const MOST_BLOCKING_THREADS: usize = 64;

const AFTER_HELP: &str = "\
Exit codes: 0 done, 65 bad input, 70 a bug, 75 try again later, 78 configuration.

Start here:
  dispatcher demo                        the whole flow on this machine, nothing to install
  dispatcher validate events             check a folder of manifests
  dispatcher run --events events         the service";

/// Maps NATS CloudEvents to Kubernetes Jobs, as Project Sveltos manifests say.
#[derive(Parser)]
#[command(version, about, after_help = AFTER_HELP, max_term_width = 110)]
struct Arguments {
    /// What is logged: a level, or filters such as dispatcher=debug [default: info for run, warn otherwise]
    #[arg(long, global = true, env = "DISPATCHER_LOG", help_heading = "Logging")]
    log: Option<String>,
    /// How log lines look
    #[arg(
        long,
        global = true,
        env = "DISPATCHER_LOG_FORMAT",
        value_enum,
        default_value = "auto",
        help_heading = "Logging"
    )]
    log_format: logging::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The service: take events, run Jobs, until told to stop
    Run(Box<run::Arguments>),
    /// The whole flow on this machine with nothing installed
    Demo(demo::Arguments),
    /// Publish events from files or generated ones, each acknowledged
    Publish(Box<publish::Arguments>),
    /// Where the flow stands, where each customer is, what is stuck and why
    Status(Box<status::Arguments>),
    /// List, show, replay and drop what could not be handled
    DeadLetters(Box<dead_letters::Arguments>),
    /// Publish events of the outbox again that the bus has lost
    Republish(Box<republish::Arguments>),
    /// Bring the database schema up to date
    Migrate(migrate::Arguments),
    /// Stand for vendor, webhook and CRM: keep what is posted and show it
    Partner(partner::Arguments),
    /// Check a folder of manifests
    Validate(Box<validate::Validate>),
    /// Show what an event would do: which rules match, the action, the rendered Jobs
    Explain(Box<explain::Explain>),
    /// Ask a running dispatcher whether it is alive; for container health checks
    Healthcheck(healthcheck::Arguments),
}

/// The `main` function of the dispatcher.
pub fn main() -> ExitCode {
    main_with_workers(&[])
}

/// The `main` function of a program that also contains these workers: called by a worker's name, it is that worker.
pub fn main_with_workers(workers: &[&str]) -> ExitCode {
    let environment = match Environment::from_process() {
        Ok(environment) => environment,
        Err(error) => return failed(&error),
    };
    let line: Vec<_> = std::env::args_os().collect();
    let parsed = secret_defaults::parse(Arguments::command(), &environment, &line)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() {
                ExitCode::from(&Error::configuration("usage"))
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let usual = if matches!(arguments.command, Command::Run(_)) {
        "info,async_nats=warn,kube_client=off,kube_runtime=off"
    } else {
        "warn,bus=error,kube_client=off,kube_runtime=off"
    };
    logging::start(arguments.log_format, arguments.log.as_deref().unwrap_or(usual));
    shared::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .max_blocking_threads(MOST_BLOCKING_THREADS)
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(execute(arguments.command, workers)),
        Err(error) => Err(Error::unavailable("cannot start the runtime").because(error)),
    };
    match done {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// Half of the cores: Jobs need the others, and waking further threads costs time.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

fn failed(error: &Error) -> ExitCode {
    print::problem(&format!("error: {error}"));
    ExitCode::from(error)
}

async fn execute(command: Command, workers: &[&str]) -> Result<ExitCode> {
    match command {
        Command::Run(arguments) => Box::pin(run::execute(*arguments)).await,
        Command::Demo(arguments) => demo::execute(arguments, workers).await,
        Command::Publish(arguments) => publish::execute(*arguments).await,
        Command::Status(arguments) => status::execute(*arguments).await,
        Command::DeadLetters(arguments) => dead_letters::execute(*arguments).await,
        Command::Republish(arguments) => republish::execute(*arguments).await,
        Command::Migrate(arguments) => migrate::execute(arguments).await,
        Command::Partner(arguments) => partner::execute(arguments).await,
        Command::Validate(arguments) => Ok(arguments.run()),
        Command::Explain(arguments) => Ok(arguments.run().await),
        Command::Healthcheck(arguments) => healthcheck::execute(arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The long help of a command and of all commands below it.
    fn helps(command: &mut clap::Command, all: &mut Vec<String>) {
        all.push(command.render_long_help().to_string());
        for below in command.get_subcommands_mut() {
            helps(below, all);
        }
    }

    #[test]
    fn every_command_of_the_operations_page_is_one() {
        let page = include_str!("../OPERATIONS.md");
        let lines = page.lines().filter(|line| line.starts_with("dispatcher ") && line.contains(" # "));
        let blocks = lines.filter_map(|line| line.split(" # ").next());
        let inline = page.split('`').skip(1).step_by(2).filter(|text| text.starts_with("dispatcher "));
        let commands: Vec<_> = blocks.chain(inline).collect();
        assert!(commands.len() >= 10, "{commands:?}");
        for command in commands {
            let text = command.replace("NUMBER", "7").replace('"', "");
            let parsed = Arguments::try_parse_from(text.split_whitespace());
            assert!(parsed.is_ok(), "{command}: {:?}", parsed.err().map(|error| error.to_string()));
        }
    }

    #[test]
    fn every_help_is_plain_text_and_every_option_is_explained() {
        let mut command = Arguments::command();
        command.build();
        command.clone().debug_assert();
        let mut all = Vec::new();
        helps(&mut command, &mut all);
        assert!(all.len() > 12, "{}", all.len());
        for help in &all {
            assert!(!help.contains('`'), "{help}");
            assert!(!help.lines().next().unwrap_or_default().is_empty(), "{help}");
        }
        for one in command.get_subcommands() {
            for argument in one.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", one.get_name(), argument.get_id());
            }
        }
    }
}
