//! A secret as people put it into settings: one list of shapes for every program.

use std::path::Path;

/// It reads neither as a host nor as a path: those are shown.
pub const SECRET: &str = "Hunter2!x";

/// The secret alone, within addresses, in the place of a file's path, in JSON, beside a name.
const SHAPES: [&str; 13] = [
    "SECRET",
    "SECRET\n",
    "mysql://u:SECRET@127.0.0.1:1/SECRET?SECRET=SECRET",
    "mysql://u:p@ss/SECRET@127.0.0.1:1/x",
    "http://SECRET:SECRET@127.0.0.1:1/SECRET?key=SECRET#SECRET",
    "http://u:1/SECRET@127.0.0.1:1/",
    "nats://SECRET:SECRET@127.0.0.1:1",
    "wss://SECRET@127.0.0.1:1/SECRET",
    "-----BEGIN NATS USER JWT-----\nSECRET\n------END NATS USER JWT------",
    "PLACE/SECRET/x.pem",
    r#"{"data":{"password":"SECRET"},"password":"SECRET"}"#,
    r#"{"name":"SECRET","subscription_tier":"SECRET","users":[{"name":"SECRET","email":"SECRET","role":"SECRET"}]}"#,
    "knapscen-config=SECRET",
];

/// Values that hold the secret; what one of them makes is made in this folder.
pub fn values(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    SHAPES.iter().map(|shape| shape.replace("SECRET", SECRET).replace("PLACE", &folder)).collect()
}

/// Whether the text shows it, in capitals or not.
pub fn is_shown(text: &str) -> bool {
    text.to_lowercase().contains(&SECRET.to_lowercase())
}
