//! The output of commands: tables for people, JSON for programs, progress only on a terminal.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use shared::visible;

/// Writes text to standard output. A closed pipe is not our failure.
pub(super) fn line(text: impl AsRef<str>) {
    drop(writeln!(std::io::stdout(), "{}", visible::lines(text.as_ref())));
}

/// Prints one value as JSON on one line.
pub(super) fn json(value: &Value) {
    drop(writeln!(std::io::stdout(), "{}", visible::json(&value.to_string())));
}

/// Prints an error to standard error. Further lines are indented, so that they cannot look like another message.
pub(super) fn problem(text: &str) {
    let text = visible::lines(text).lines().map(str::trim_end).collect::<Vec<_>>().join("\n  ");
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// A table with columns as wide as they need to be, each row on one line.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    let rows: Vec<Vec<_>> =
        rows.iter().map(|row| row.iter().map(|cell| visible::line(cell)).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|title| title.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(padded.join("  ").trim_end());
    };
    print(&mut head.iter().copied());
    for row in &rows {
        print(&mut row.iter().map(|cell| &**cell));
    }
}

/// The same with a table below it, which is the message of the bar.
pub(super) fn progress_with_table(length: u64, what: &str) -> ProgressBar {
    let bar = progress(length, "");
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:40}] {pos}/{len} {elapsed}\n\n{msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what.to_owned());
    bar
}

/// A progress bar on a terminal; hidden elsewhere.
pub(super) fn progress(length: u64, what: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {per_sec} {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar
}
