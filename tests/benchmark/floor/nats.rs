//! One message to JetStream: connect, publish with an id, read the acknowledgement.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::Result;

/// A connection whose greeting has not been read yet.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Opens it and says hello.
    pub(crate) fn start(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"lang\":\"floor\",\"version\":\"0\",\"protocol\":1}\r\n";
        (&stream).write_all(format!("{hello}SUB _INBOX.floor 1\r\nPING\r\n").as_bytes())?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Publishes, and returns when the stream has acknowledged.
    pub(crate) fn publish(&mut self, subject: &str, id: &str, payload: &[u8]) -> Result<()> {
        let headers = format!(
            "NATS/1.0\r\nNats-Msg-Id: {id}\r\nContent-Type: application/cloudevents+json; charset=utf-8\r\n\r\n"
        );
        let head = format!(
            "HPUB {subject} _INBOX.floor {} {}\r\n{headers}",
            headers.len(),
            headers.len() + payload.len()
        );
        self.stream.get_ref().write_all(&[head.as_bytes(), payload, b"\r\n"].concat())?;
        let mut line = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            if line.starts_with("MSG ") {
                let length: usize = line.trim_end().rsplit(' ').next().unwrap_or_default().parse()?;
                let mut answer = vec![0; length];
                self.stream.read_exact(&mut answer)?;
                let answer = String::from_utf8_lossy(&answer).into_owned();
                return if answer.contains("\"stream\"") { Ok(()) } else { Err(answer.into()) };
            }
            if line.is_empty() || line.starts_with("-ERR") {
                return Err(format!("NATS: {line:?}").into());
            }
        }
    }
}
