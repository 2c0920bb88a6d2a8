//! Benchmarks: each figure and its comparison are measured alternately in one run, so that a busy machine slows both.
//!
//! usage: benchmarks [--small] [--json FILE] [NAME...]
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

mod bare;
mod docker;
mod flow;
mod growth;
mod history;
mod kubernetes;
mod latency;
mod measure;
mod memory;
mod page;
mod rate;
mod render;
mod report;
mod restart;
mod slow;
mod stage;
mod startup;
mod statement;
mod storage;
mod worker;

use std::process::ExitCode;

use serde_json::json;

use report::Figure;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    small: bool,
}

impl Size {
    /// The first number is for a quick look, the second for reliable figures.
    pub(crate) fn pick<T>(self, small: T, full: T) -> T {
        if self.small { small } else { full }
    }
}

type Benchmark = fn(Size) -> Vec<Figure>;

/// Name, what it measures, and how.
const BENCHMARKS: &[(&str, &str, Benchmark)] = &[
    ("worker", "one save-user process: from start to exit, and its memory", worker::measure),
    (
        "latency",
        "from an event's publication to its Job's start, p50 and p99, by where the history is kept",
        latency::measure,
    ),
    (
        "rate",
        "null Jobs in a second, working off a backlog, by where history and state are kept",
        rate::measure,
    ),
    ("flow", "registrations until all customers are onboarded", flow::measure),
    ("history", "the whole flow with the history in its database, beside one in memory", history::measure),
    ("page", "a page with 100,000 customers behind it", page::measure),
    ("render", "one message to one Job, in memory", render::measure),
    ("memory", "the dispatcher's memory while events wait", memory::measure),
    ("slow", "a dispatcher under 1,000 slow clients of every kind", slow::measure),
    ("startup", "the dispatcher's start", startup::measure),
    ("restart", "what a killed dispatcher had fetched, on each backend, and a burst", restart::measure),
    ("kubernetes", "Jobs on a cluster whose API server is a stand-in", kubernetes::measure),
    (
        "docker",
        "containers: a save-user alone, how soon those of the stack start, and a cold start of the stack",
        docker::measure,
    ),
    (
        "growth",
        "how times grow with customers, waiting events, users of one event, and rules",
        growth::measure,
    ),
];

fn main() -> ExitCode {
    let (mut size, mut file, mut names) = (Size { small: false }, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--small" => size.small = true,
            "--json" => file = arguments.next(),
            name if BENCHMARKS.iter().any(|(known, ..)| *known == name) => names.push(argument),
            _ => return usage(),
        }
    }
    let chosen =
        BENCHMARKS.iter().filter(|(name, ..)| names.is_empty() || names.iter().any(|wanted| wanted == name));
    let mut all = Vec::new();
    println!("{}", machine());
    for (name, about, benchmark) in chosen {
        println!("\n{name}: {about}");
        let figures = benchmark(size);
        print!("{}", report::table(&figures));
        all.push(json!({"name": name, "about": about, "load": load(), "figures": figures.iter().map(Figure::json).collect::<Vec<_>>()}));
    }
    let report = json!({"machine": machine(), "small": size.small, "benchmarks": all});
    if let Some(file) = file {
        std::fs::write(&file, format!("{report:#}\n")).expect("the report's file");
        println!("\nalso in {file}");
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: benchmarks [--small] [--json FILE] [NAME...]");
    for (name, about, _) in BENCHMARKS {
        eprintln!("  {name:10} {about}");
    }
    ExitCode::from(78)
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get);
    format!("{cores} cores, load {} before", load())
}

/// Programs that run or want to run, averaged over a minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
