//! The program of this step's image.

use std::process::ExitCode;

fn main() -> ExitCode {
    send_welcome_email::main()
}
