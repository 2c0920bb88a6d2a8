//! The program of this step's image.

use std::process::ExitCode;

fn main() -> ExitCode {
    order_swag::main()
}
