//! A real browser: headless Chromium, driven by chromedriver over plain HTTP as the `WebDriver` standard says.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::process::Process;
use crate::scratch::Scratch;
use crate::{http, port, wait};

/// The key of elements in `WebDriver` answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How long the browser may take for one command on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// A browser with one window; closed on drop.
#[derive(Debug)]
pub struct Browser {
    port: u16,
    session: String,
    // The order matters: the driver ends before the directory is removed together with the browser.
    _driver: Process,
    _scratch: Scratch,
}

impl Browser {
    /// Starts one with an empty profile and a window for a wide screen.
    pub fn start() -> Self {
        let scratch = Scratch::new("browser");
        let port = port::free();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).current_dir(scratch.path()).env("HOME", scratch.path());
        let mut driver = Process::spawn("chromedriver", command, &scratch.join("log"));
        driver.until("ready", || {
            try_call(port, "GET", "/status", &Value::Null).ok().filter(|status| status["ready"] == true)
        });
        let profile = format!("--user-data-dir={}", scratch.join("profile").display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            "--hide-scrollbars",
            "--window-size=1280,900",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let answer = call(port, "POST", "/session", &wanted);
        let session =
            answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}")).to_owned();
        Self { port, session, _driver: driver, _scratch: scratch }
    }

    /// Loads a page.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// The address that is shown.
    pub fn address(&self) -> String {
        let path = format!("/session/{}/url", self.session);
        call(self.port, "GET", &path, &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// Clicks on the first element that the CSS selector finds.
    pub fn click(&self, selector: &str) {
        self.act(selector, "click", &json!({}));
    }

    /// Types into an element.
    pub fn fill(&self, selector: &str, text: &str) {
        self.act(selector, "value", &json!({ "text": text }));
    }

    /// The visible text of the first element that the selector finds; empty if there is none.
    pub fn text(&self, selector: &str) -> String {
        let found = self.post("elements", &json!({"using": "css selector", "value": selector}));
        let Some(element) = found.get(0).and_then(|element| element[ELEMENT].as_str()) else {
            return String::new();
        };
        let path = format!("/session/{}/element/{element}/text", self.session);
        // It may have been replaced meanwhile: the next look finds the new one.
        try_call(self.port, "GET", &path, &Value::Null)
            .ok()
            .and_then(|text| text.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// Waits until an element's text contains this.
    pub fn until_text(&self, selector: &str, text: &str) {
        let found = wait::within(wait::LIMIT, || self.text(selector).contains(text).then_some(()));
        found.unwrap_or_else(|| {
            panic!("{selector} never says {text:?} but {:?} at {}", self.text(selector), self.address())
        });
    }

    /// The result of a script.
    pub fn script(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": []}))
    }

    /// A command of the browser's own protocol.
    pub fn command(&self, name: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({"cmd": name, "params": parameters}))
    }

    /// Dark or light, like the setting of the visitor's system.
    pub fn scheme(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.command("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// The window's size, as on another device.
    pub fn size(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.command("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Whether pages may run scripts.
    pub fn scripts(&self, allowed: bool) {
        self.command("Emulation.setScriptExecutionDisabled", &json!({ "value": !allowed }));
    }

    /// The whole page as a picture in a file.
    pub fn picture(&self, path: &Path) {
        let shot =
            self.command("Page.captureScreenshot", &json!({"format": "png", "captureBeyondViewport": true}));
        let bytes = BASE64_STANDARD.decode(shot["data"].as_str().unwrap_or_default()).expect("a picture");
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a picture in its file");
    }

    /// Messages of the browser since the last call: errors of scripts, and what the policy forbade.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({"type": "browser"}));
        let entries = entries.as_array().cloned().unwrap_or_default();
        let message = |entry: &Value| format!("{}: {}", entry["level"], entry["message"]);
        entries.iter().filter(|entry| entry["level"] != "INFO").map(message).collect()
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("element", &json!({"using": "css selector", "value": selector}));
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("no {selector} at {}", self.address())).to_owned()
    }

    // A live page may replace an element after it was found. Then nothing was done, and the new one exists.
    fn act(&self, selector: &str, what: &str, body: &Value) {
        let done = wait::within(wait::LIMIT, || {
            let path = format!("/session/{}/element/{}/{what}", self.session, self.element(selector));
            match try_call(self.port, "POST", &path, body) {
                Err(error) if error.contains("stale element") => None,
                answer => Some(answer),
            }
        });
        match done {
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("{what} {selector} at {}: {error}", self.address()),
            None => panic!("{what} {selector}: always replaced before it is done, at {}", self.address()),
        }
    }

    fn post(&self, what: &str, body: &Value) -> Value {
        call(self.port, "POST", &format!("/session/{}/{what}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session; anything left ends with its directory.
        let _ = try_call(self.port, "DELETE", &format!("/session/{}", self.session), &Value::Null);
    }
}

fn call(port: u16, method: &str, path: &str, body: &Value) -> Value {
    try_call(port, method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
}

fn try_call(port: u16, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("Content-Type", "application/json; charset=utf-8")];
    let answer = http::request_1_1(LIMIT, port, method, path, &headers, body.as_bytes())
        .map_err(|error| error.to_string())?;
    let value = answer.json()["value"].take();
    if answer.status == 200 { Ok(value) } else { Err(value["message"].to_string()) }
}
