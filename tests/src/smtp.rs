//! A real SMTP server, with or without TLS and login, that keeps what it accepts and misbehaves on demand.

use std::fs;

use serde::Deserialize;

use crate::authority::Authority;
use crate::client::python;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::{Setting, port, settings, wait};

/// An SMTP server; killed on drop. Its port and mails survive a stop and a new start.
#[derive(Debug)]
pub struct Smtp {
    process: Option<Process>,
    port: u16,
    security: Security,
    login: Option<(String, String)>,
    scratch: Scratch,
}

/// How the connection is protected. The certificate comes from [`Authority::shared`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not protected.
    Plain,
    /// Upgraded by STARTTLS, which is required.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// What it does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Accepts it.
    Accept,
    /// Refuses it temporarily.
    Refuse4xx,
    /// Refuses it temporarily if it goes to `marketing@`, and otherwise accepts it.
    RefuseMarketing,
    /// Refuses it for good.
    Refuse5xx,
    /// Never answers, and does not store it.
    Hang,
    /// Stores it and never answers.
    AcceptThenHang,
    /// Stores it and ends the connection without an answer.
    AcceptThenClose,
    /// Stores it; the answer comes when the mode changes.
    AcceptThenWait,
    /// Accepts it, and never answers QUIT.
    HangAtQuit,
}

/// A message that was accepted.
#[derive(Debug, Clone, Deserialize)]
pub struct Mail {
    /// Envelope sender.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// `Message-ID` header.
    pub message_id: String,
    /// `From` header.
    pub from: String,
    /// `To` header.
    pub to: String,
    /// `Subject` header, decoded.
    pub subject: String,
    /// The plain text part, decoded.
    pub text: Option<String>,
    /// The HTML part, decoded.
    pub html: Option<String>,
    /// When it was accepted, in seconds since 1970.
    pub at: f64,
    /// Whether the sender was told that it was accepted.
    pub answered: bool,
    /// The source.
    pub raw: String,
}

impl Smtp {
    /// A plain server without login.
    pub fn start() -> Self {
        Self::start_with(Security::Plain, None)
    }

    /// A server with this protection and login.
    pub fn start_with(security: Security, login: Option<(&str, &str)>) -> Self {
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let scratch = Scratch::new("smtp");
        fs::create_dir(scratch.join("mails")).expect("a directory");
        let mut server = Self { process: None, port: port::free(), security, login, scratch };
        server.set(Mode::Accept);
        server.start_again();
        server
    }

    /// Starts it again after [`Self::stop`], on the same port.
    pub fn start_again(&mut self) {
        let ready = self.scratch.join("ready");
        let _ = fs::remove_file(&ready);
        let mut command = python("smtp.py");
        command.arg(self.scratch.path()).arg(self.port.to_string());
        command.arg(match self.security {
            Security::Plain => "plain",
            Security::StartTls => "starttls",
            Security::Tls => "tls",
        });
        if self.security != Security::Plain {
            let authority = Authority::shared();
            command.args([authority.server_certificate(), authority.server_key()]);
        }
        if let Some((user, password)) = &self.login {
            command.args(["--login", user, password]);
        }
        let mut process = Process::spawn("smtp.py", command, &self.scratch.join("log"));
        process.until("listens", || ready.exists().then_some(()));
        self.process = Some(process);
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Whether a message was affected by the mode.
    pub fn reached(&self) -> bool {
        self.scratch.join("reached").exists()
    }

    /// Changes what it does from the next message on.
    pub fn set(&self, mode: Mode) {
        let word = match mode {
            Mode::Accept => "accept",
            Mode::Refuse4xx => "refuse-4xx",
            Mode::RefuseMarketing => "refuse-marketing",
            Mode::Refuse5xx => "refuse-5xx",
            Mode::Hang => "hang",
            Mode::AcceptThenHang => "accept-then-hang",
            Mode::AcceptThenClose => "accept-then-close",
            Mode::AcceptThenWait => "accept-then-wait",
            Mode::HangAtQuit => "hang-at-quit",
        };
        let next = self.scratch.write("mode.next", word);
        fs::rename(next, self.scratch.join("mode")).expect("a mode file");
        let _ = fs::remove_file(self.scratch.join("reached"));
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a worker needs to reach it.
    pub fn settings(&self) -> Vec<Setting> {
        self.settings_through(self.port)
    }

    /// The same with another port: that of a proxy before the server.
    pub fn settings_through(&self, port: u16) -> Vec<Setting> {
        let (security, host) = match self.security {
            Security::Plain => ("none", "127.0.0.1"),
            Security::StartTls => ("starttls", "localhost"),
            Security::Tls => ("tls", "localhost"),
        };
        let mut found = settings([
            ("SMTP_SERVER", host),
            ("SMTP_PORT", &port.to_string()),
            ("SMTP_TLS", security),
            ("SMTP_FROM", "Knapscen <hello@knapscen.example>"),
        ]);
        if self.security != Security::Plain {
            found.extend(settings([("SMTP_CA", &Authority::shared().certificate().display().to_string())]));
        }
        if let Some((user, password)) = &self.login {
            found.extend(settings([("SMTP_USER", user), ("SMTP_PASS", password)]));
        }
        found
    }

    /// Everything accepted so far, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        let entries = fs::read_dir(self.scratch.join("mails")).expect("the mails").flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.sort();
        files
            .iter()
            .map(|file| serde_json::from_slice(&fs::read(file).expect("a mail")).expect("a mail"))
            .collect()
    }

    /// Waits until this many mails were accepted.
    pub fn until_mails(&self, count: usize) -> Vec<Mail> {
        wait::until(wait::LIMIT, &format!("{count} mails are accepted"), || {
            let mails = self.mails();
            (mails.len() >= count).then_some(mails)
        })
    }
}
