//! The program of this step's image.

use std::process::ExitCode;

fn main() -> ExitCode {
    save_user::main()
}
