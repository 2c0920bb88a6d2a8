//! `dispatcher migrate`: brings the database schema up to date.

use std::process::ExitCode;

use shared::config::Environment;
use shared::database::{self, Settings};
use shared::error::Result;

use super::print;

/// Bring the database schema up to date
#[derive(clap::Args)]
#[command(
    after_help = "Reads DATABASE_URL, or DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME; DB_TLS and DB_CA.\nRunning it again changes nothing; several at once are safe: one migrates, the others wait."
)]
pub(super) struct Arguments {
    /// Only say whether migrations are missing; exit code 75 if so
    #[arg(long)]
    check: bool,
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let settings = Settings::read(&Environment::from_process()?)?.creating()?;
    let mut connection = settings.connect().await?;
    if arguments.check {
        let missing = database::pending(&mut connection).await?;
        print::line(format!("{}: {missing} migrations missing", settings.shown()));
        return Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::from(75) });
    }
    let done = database::migrate(&mut connection).await?;
    for table in &done.repaired {
        print::line(format!(
            "{}: made of engine InnoDB and collation utf8mb4_bin: {table}",
            settings.shown()
        ));
    }
    match done.applied {
        0 => print::line(format!("{}: up to date", settings.shown())),
        applied => print::line(format!("{}: {applied} migrations applied", settings.shown())),
    }
    Ok(ExitCode::SUCCESS)
}
