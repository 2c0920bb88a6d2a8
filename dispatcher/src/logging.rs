//! Logs: one line for each outcome, as text on a terminal and as JSON elsewhere, never with a secret.
//!
//! Reads `DISPATCHER_LOG` (a filter such as `info` or `dispatcher=debug`) and `--log-format`.

use std::fmt::Debug;
use std::io::{IsTerminal, Write};

use shared::visible;
use tracing::Level;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines: one object per line.
    Json,
}

/// Starts logging to standard error. Only the first call has an effect.
pub fn start(format: Format, filter: &str) {
    let filter: Targets =
        of_all_crates(filter).parse().unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    let on_terminal = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_target(false);
    let json = match format {
        Format::Auto => !on_terminal,
        Format::Text => false,
        Format::Json => true,
    };
    // It fails if a test has already started logging.
    let registry = tracing_subscriber::registry().with(filter);
    drop(if json {
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        registry.with(layer.with_writer(|| VisibleJson(std::io::stderr()))).try_init()
    } else {
        let layer = layer.with_ansi(on_terminal && std::env::var_os("NO_COLOR").is_none()).compact();
        registry.with(layer.fmt_fields(visible_fields()).with_writer(std::io::stderr)).try_init()
    });
}

/// The fields of a line as text. No field can look like another line, or control the terminal.
fn visible_fields() -> impl for<'w> FormatFields<'w> + 'static {
    let field = |out: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        let value = format!("{value:?}");
        match field.name() {
            "message" => write!(out, "{}", visible::line(&value)),
            name => write!(out, "{name}={}", visible::line(&value)),
        }
    };
    format::debug_fn(field).delimited(" ")
}

/// Accepts whole lines of JSON.
struct VisibleJson<W>(W);

impl<W: Write> Write for VisibleJson<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(visible::json(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The crates of the dispatcher that log, each under its own name.
const CRATES: [&str; 4] = ["backend", "bus", "history", "telemetry"];

/// The filter, in which `dispatcher` means all crates of the dispatcher.
fn of_all_crates(filter: &str) -> String {
    let mut directives: Vec<String> = Vec::new();
    for directive in filter.split(',') {
        if let Some(level) = directive.trim().strip_prefix("dispatcher=") {
            directives.extend(CRATES.map(|name| format!("{name}={level}")));
        }
        directives.push(directive.to_owned());
    }
    directives.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a subscriber writes for one event with hostile text in every kind of field.
    fn logged(json: bool) -> String {
        #[derive(Clone, Default)]
        struct Kept(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let (plain, visible) = (kept.clone(), kept.clone());
        let layer = tracing_subscriber::fmt::layer().with_ansi(false);
        let subscriber: Box<dyn tracing::Subscriber + Send + Sync> = if json {
            let layer = layer.json().flatten_event(true).with_writer(move || VisibleJson(visible.clone()));
            Box::new(tracing_subscriber::registry().with(layer))
        } else {
            let layer = layer.compact().fmt_fields(visible_fields()).with_writer(move || plain.clone());
            Box::new(tracing_subscriber::registry().with(layer))
        };
        let hostile = "a\u{1b}]0;x\u{7}\r\n\u{9b}31m\u{7f}\u{202e}\u{2028}b";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(event.id = %hostile, reason = hostile, other = ?hostile, "of {hostile}");
        });
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn no_field_and_no_message_steers_the_terminal_or_forges_a_line() {
        for json in [true, false] {
            let text = logged(json);
            let line = text.strip_suffix('\n').unwrap();
            assert_eq!(line, visible::line(line), "{json}");
            assert!(["event.id", "reason", "other"].iter().all(|name| line.contains(name)), "{line}");
            assert!(!json || serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_filter_for_the_dispatcher_is_one_for_each_of_its_crates() {
        assert_eq!(
            of_all_crates("warn,dispatcher=debug,bus=error"),
            "warn,backend=debug,bus=debug,history=debug,telemetry=debug,dispatcher=debug,bus=error"
        );
    }
}
