//! The program of this step's image.

use std::process::ExitCode;

fn main() -> ExitCode {
    register_corporate_customer::main()
}
