//! A container as the engine knows it.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::engine::{command, try_run};

/// The state of a container at one moment.
pub struct Container(Value);

impl Container {
    /// Containers with these ids. One may be gone since they were listed; the engine then returns the others.
    pub fn look_at(ids: &[&str]) -> Vec<Self> {
        let looked = try_run(&mut command("docker", &[&["container", "inspect"], ids].concat()));
        let found: Vec<Value> = serde_json::from_slice(&looked.stdout).unwrap_or_default();
        found.into_iter().map(Self).collect()
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.text("/Id")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.text("/Name")
    }

    /// The value of a label; empty if it does not have the label.
    pub fn label(&self, name: &str) -> &str {
        self.0["Config"]["Labels"][name].as_str().unwrap_or_default()
    }

    /// Whether its program runs.
    pub fn is_running(&self) -> bool {
        self.0["State"]["Running"] == true
    }

    /// How its program ended.
    pub fn exit_code(&self) -> i64 {
        self.0["State"]["ExitCode"].as_i64().unwrap_or(-1)
    }

    /// When the engine created it.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.time("/Created")
    }

    /// When its program was started; in the year 1 if it was not.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.time("/State/StartedAt")
    }

    fn time(&self, pointer: &str) -> DateTime<Utc> {
        self.text(pointer).parse().expect("a time")
    }

    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}
