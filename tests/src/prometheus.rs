//! A real Prometheus that scrapes one target every two seconds.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::Process;
use crate::scratch::Scratch;
use crate::{http, port};

/// A Prometheus; killed on drop.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    port: u16,
    _scratch: Scratch,
}

impl Prometheus {
    /// Scrapes this port of 127.0.0.1 under the job name `dispatcher`, and evaluates these rules.
    pub fn start(target: u16, rules: &str) -> Self {
        let scratch = Scratch::new("prometheus");
        scratch.write("rules.yaml", rules);
        let settings = scratch.write(
            "prometheus.yaml",
            &format!(
                "global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 500ms}}\n\
                 rule_files: [rules.yaml]\n\
                 scrape_configs:\n  - job_name: dispatcher\n    static_configs: [{{targets: [\"127.0.0.1:{target}\"]}}]\n"
            ),
        );
        let port = port::free();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", settings.display()));
        command.arg(format!("--storage.tsdb.path={}", scratch.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.current_dir(scratch.path());
        let mut process = Process::spawn("prometheus", command, &scratch.join("log"));
        process.until("is ready", || http::get(port, "/-/ready").ok().filter(|answer| answer.status == 200));
        Self { process, port, _scratch: scratch }
    }

    /// The result of an instant query: one label set and one value for each series.
    pub fn query(&self, expression: &str) -> Vec<(Value, String)> {
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let body = format!("query={}", encoded(expression));
        let limit = Duration::from_secs(20);
        let answer = http::request(limit, self.port, "POST", "/api/v1/query", &form, body.as_bytes());
        let answer = answer.unwrap_or_else(|error| panic!("{error}\n{}", self.process.evidence()));
        let found = answer.json();
        assert_eq!(found["status"], "success", "{expression}\n{}", answer.body);
        let series = found["data"]["result"].as_array().cloned().unwrap_or_default();
        let value = |one: &Value| one["value"][1].as_str().unwrap_or_default().to_owned();
        series.iter().map(|one| (one["metric"].clone(), value(one))).collect()
    }

    /// The names of the alerts that fire.
    pub fn firing(&self) -> Vec<String> {
        let firing = self.query("ALERTS{alertstate=\"firing\"}");
        firing.iter().filter_map(|(labels, _)| labels["alertname"].as_str().map(str::to_owned)).collect()
    }
}

/// Percent-encoded for a form.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
