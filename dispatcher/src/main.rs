//! The dispatcher's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    dispatcher::command::main()
}
