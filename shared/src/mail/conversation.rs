//! The connection to a mail server, with answers in the one form that the mail library reads.
//!
//! The library wants UTF-8, CRLF, a text after each code, and short answers. A server that answers in another way has
//! taken the mail all the same, and a second try would send it twice.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes of a line that count.
const MAX_LINE_BYTES: usize = 500;
/// The lines of an answer that count, with the last one.
const MAX_LINES: usize = 100;
const READ_BYTES: usize = 4096;
/// The text of an answer that has none.
const NO_TEXT: &str = "-";

/// The name with which we greet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// EHLO.
    Extended,
    /// HELO, which is sent instead of the library's EHLO.
    Plain,
}

/// A connection, with or without TLS.
#[derive(Debug)]
pub(super) struct Conversation<S> {
    stream: S,
    peer: SocketAddr,
    hello: Hello,
    answers: Answers,
    has_ended: bool,
}

impl<S> Conversation<S> {
    pub(super) fn new(stream: S, peer: SocketAddr, hello: Hello) -> Self {
        Self { stream, peer, hello, answers: Answers::default(), has_ended: false }
    }

    /// After STARTTLS. The server does not greet again, but the library waits for a greeting.
    pub(super) fn greeted(stream: S, peer: SocketAddr) -> Self {
        let mut conversation = Self::new(stream, peer, Hello::Extended);
        conversation.answers.take(b"220\n");
        conversation
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream for Conversation<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Conversation<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.answers.ready.is_empty() && !this.has_ended {
            let mut space = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut space);
            let outcome = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read));
            if outcome.is_ok() && !read.filled().is_empty() {
                this.answers.take(read.filled());
                continue;
            }
            // What it has said counts, however it ends.
            this.has_ended = true;
            this.answers.end();
            if this.answers.ready.is_empty() {
                return Poll::Ready(outcome);
            }
        }
        let count = this.answers.ready.len().min(buffer.remaining());
        let given: Vec<u8> = this.answers.ready.drain(..count).collect();
        buffer.put_slice(&given);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Conversation<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let stream = Pin::new(&mut this.stream);
        match bytes.strip_prefix(b"EHLO ") {
            Some(name) if this.hello == Hello::Plain => stream.poll_write(cx, &[b"HELO ", name].concat()),
            _ => stream.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// What the server says, from its bytes to those for the library.
#[derive(Debug, Default)]
struct Answers {
    /// The line that has begun.
    line: Vec<u8>,
    /// The texts of the answer that has begun.
    texts: Vec<String>,
    /// The code of its last line.
    code: String,
    /// Complete answers for the library.
    ready: Vec<u8>,
}

impl Answers {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line();
            } else if self.line.len() < MAX_LINE_BYTES {
                self.line.push(*byte);
            }
        }
    }

    /// No more bytes will come: what has begun is complete.
    fn end(&mut self) {
        self.end_line();
        self.end_answer();
    }

    fn end_line(&mut self) {
        let readable = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            b'\t' | b'\r' => ' ',
            _ => '?',
        };
        let line: String = self.line.iter().map(readable).collect();
        self.line.clear();
        let line = line.trim_end();
        if let Some((code, is_last, text)) = parts(line) {
            if self.texts.len() == MAX_LINES {
                self.texts.pop();
            }
            self.texts.push(if text.is_empty() { NO_TEXT } else { text }.to_owned());
            self.code = code;
            if is_last {
                self.end_answer();
            }
        } else if self.texts.is_empty() && !line.is_empty() {
            // The library says that it is no answer.
            self.ready.extend_from_slice(line.as_bytes());
            self.ready.extend_from_slice(b"\r\n");
        }
    }

    /// The lines of an answer have one code. If a server mixes them, its last word counts.
    fn end_answer(&mut self) {
        let texts = std::mem::take(&mut self.texts);
        for (index, text) in texts.iter().enumerate() {
            let separator = if index + 1 == texts.len() { ' ' } else { '-' };
            // Writing to memory does not fail.
            drop(write!(self.ready, "{}{separator}{text}\r\n", self.code));
        }
    }
}

/// Code, whether it is the last line of its answer, and text.
fn parts(line: &str) -> Option<(String, bool, &str)> {
    let (code, rest) = line.split_at_checked(3)?;
    let [first @ b'2'..=b'5', second, third] = *code.as_bytes() else { return None };
    if !second.is_ascii_digit() || !third.is_ascii_digit() || rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // The library knows the second digits 0 to 5. The first one decides (RFC 5321, 4.2.1).
    let code = [first, second.min(b'5'), third].map(char::from).iter().collect();
    let (is_last, text) = match rest.strip_prefix('-') {
        Some(text) => (false, text),
        None => (true, rest),
    };
    Some((code, is_last, text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> String {
        let mut answers = Answers::default();
        for piece in pieces {
            answers.take(piece);
        }
        answers.end();
        String::from_utf8(answers.ready).unwrap()
    }

    #[test]
    fn an_answer_of_any_form_becomes_one_that_the_library_reads() {
        for (said, wanted) in [
            ("250 ok\r\n", "250 ok\r\n"),
            ("250\r\n", "250 -\r\n"),
            ("250 \r\n", "250 -\r\n"),
            ("250-\r\n250\r\n", "250--\r\n250 -\r\n"),
            ("250\tok\r\n", "250 ok\r\n"),
            ("250 ok\n354 go\n", "250 ok\r\n354 go\r\n"),
            ("250-a\n250 b\n", "250-a\r\n250 b\r\n"),
            ("\r\n250 ok\r\r\n", "250 ok\r\n"),
            ("250 a\rb\0\u{1b}\r\n", "250 a b??\r\n"),
            ("250 \u{fc}bernommen\r\n", "250 ??bernommen\r\n"),
            ("250-a\r\nand so on\r\n250 b\r\n", "250-a\r\n250 b\r\n"),
            ("250-a\r\n421 down\r\n", "421-a\r\n421 down\r\n"),
            ("290 ok\r\n", "250 ok\r\n"),
            // The connection ends.
            ("250 ok", "250 ok\r\n"),
            ("250", "250 -\r\n"),
            ("250-a\r\n", "250 a\r\n"),
            ("25", "25\r\n"),
            // What is no answer stays one.
            ("HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 400 Bad Request\r\n"),
            ("2500 ok\r\n", "2500 ok\r\n"),
            ("150 ok\r\n", "150 ok\r\n"),
            ("", ""),
        ] {
            assert_eq!(read(&[said.as_bytes()]), wanted, "{said:?}");
            let bytes: Vec<_> = said.as_bytes().chunks(1).collect();
            assert_eq!(read(&bytes), wanted, "{said:?} byte by byte");
        }
        assert_eq!(read(&[b"250 \xfcbernommen\r\n"]), "250 ?bernommen\r\n");
    }

    #[test]
    fn an_answer_of_any_length_keeps_its_code_and_its_last_line() {
        let long = format!("550 {}\r\n", "x".repeat(1_000_000));
        assert_eq!(read(&[long.as_bytes()]), format!("550 {}\r\n", "x".repeat(MAX_LINE_BYTES - 4)));
        let many = format!("{}250 end\r\n", "250-line\r\n".repeat(5000));
        let answer = read(&[many.as_bytes()]);
        assert_eq!(answer.lines().count(), MAX_LINES);
        assert!(answer.ends_with("\r\n250-line\r\n250 end\r\n"), "{answer}");
    }
}
