//! The dispatcher and all workers in one program, so that one build is enough to see the flow.
//!
//! If it is called by the name of a worker, it is that worker, in a process of its own; otherwise it is the
//! dispatcher.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

/// The name of a worker's binary, and its `main`.
type Worker = (&'static str, fn() -> ExitCode);

const WORKERS: &[Worker] = &[
    ("create-touchpoints", create_touchpoints::main),
    ("notify-marketing", notify_marketing::main),
    ("order-swag", order_swag::main),
    ("register-corporate-customer", register_corporate_customer::main),
    ("save-customer", save_customer::main),
    ("save-user", save_user::main),
    ("send-welcome-email", send_welcome_email::main),
];

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&called).file_name();
    if let Some((_, worker)) = WORKERS.iter().find(|(name, _)| called == Some(OsStr::new(name))) {
        return worker();
    }
    let names: Vec<_> = WORKERS.iter().map(|(name, _)| *name).collect();
    dispatcher::command::main_with_workers(&names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_step_is_in_this_program() {
        let linked: BTreeSet<_> = WORKERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(linked, shared::event::steps().collect());
    }
}
