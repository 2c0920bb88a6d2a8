//! The figures, as a table and as JSON.

use std::fmt;

use serde_json::{Value, json};

/// One figure and its comparison.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    /// The comparison, measured alternately in the same run.
    pub(crate) beside: Option<(String, f64)>,
    pub(crate) goal: Option<Goal>,
}

/// The goal for a figure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// This much more than the comparison.
    BeyondAtMost(f64),
    AtMost(f64),
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { what: what.into(), unit, ours, beside: None, goal: None }
    }

    pub(crate) fn beside(mut self, name: impl Into<String>, value: f64) -> Self {
        self.beside = Some((name.into(), value));
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn ratio(&self) -> Option<f64> {
        self.beside.as_ref().map(|(_, beside)| self.ours / beside)
    }

    /// Whether the goal is met; `None` without a goal.
    pub(crate) fn met(&self) -> Option<bool> {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        let beyond = self.beside.as_ref().map_or(f64::NAN, |(_, beside)| self.ours - beside);
        Some(match self.goal? {
            Goal::RatioAtMost(limit) => ratio <= limit,
            Goal::RatioAtLeast(limit) => ratio >= limit,
            Goal::BeyondAtMost(limit) => beyond <= limit,
            Goal::AtMost(limit) => self.ours <= limit,
        })
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "what": self.what, "unit": self.unit, "value": self.ours,
            "beside": self.beside.as_ref().map(|(name, value)| json!({"what": name, "value": value})),
            "ratio": self.ratio(), "goal": self.goal.map(|goal| goal.to_string()), "met": self.met(),
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtMost(limit) => write!(formatter, "ratio at most {limit}"),
            Self::RatioAtLeast(limit) => write!(formatter, "ratio at least {limit}"),
            Self::BeyondAtMost(limit) => write!(formatter, "at most {limit} more"),
            Self::AtMost(limit) => write!(formatter, "at most {limit}"),
        }
    }
}

/// A table of figures, with columns as wide as what is in them.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut rows = vec![["", "ours", "", "beside", "", "ratio", "goal"].map(str::to_owned)];
    for figure in figures {
        let (name, beside) =
            figure.beside.clone().map_or_else(Default::default, |(name, value)| (name, number(value)));
        let verdict = figure.goal.map_or_else(String::new, |goal| {
            format!("{goal}: {}", if figure.met() == Some(true) { "met" } else { "MISSED" })
        });
        rows.push([
            figure.what.clone(),
            number(figure.ours),
            figure.unit.to_owned(),
            beside,
            name,
            figure.ratio().map_or_else(String::new, number),
            verdict,
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            // Numbers are right-aligned, words left-aligned.
            if [1, 3, 5].contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
