//! The MySQL protocol as far as it must be spoken: handshake with `mysql_native_password`, text queries, their ends.

use std::io::{Read, Write};
use std::net::TcpStream;

use sha1::{Digest, Sha1};

use crate::Result;

const OK: u8 = 0x00;
const EOF: u8 = 0xfe;
const ERROR: u8 = 0xff;

/// Long password, protocol 4.1, transactions, secure connection, several statements and results, database, plugin.
const CAPABILITIES: u32 = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x1_0000 | 0x2_0000 | 0x8_0000;
const MORE_RESULTS: u16 = 0x8;
const UTF8MB4: u8 = 45;

pub(crate) struct Connection {
    stream: TcpStream,
    /// What was read and not used yet.
    read: Vec<u8>,
    used: usize,
}

impl Connection {
    /// Connects and logs in.
    pub(crate) fn open(address: &str, user: &str, password: &str, database: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, read: Vec::with_capacity(4096), used: 0 };
        let greeting = connection.packet()?;
        let nonce = nonce(&greeting).ok_or("the greeting is not understood")?;
        let mut answer = Vec::new();
        answer.extend(CAPABILITIES.to_le_bytes());
        answer.extend(0x0100_0000_u32.to_le_bytes());
        answer.push(UTF8MB4);
        answer.extend([0; 23]);
        answer.extend([user.as_bytes(), &[0, 20], &scrambled(password, &nonce)].concat());
        answer.extend([database.as_bytes(), b"\0mysql_native_password\0"].concat());
        connection.send(1, &answer)?;
        connection.ended()?;
        Ok(connection)
    }

    /// Runs one or several text queries, and reads all results.
    pub(crate) fn run(&mut self, sql: &str) -> Result<()> {
        self.send(0, &[b"\x03", sql.as_bytes()].concat())?;
        while self.ended()? & MORE_RESULTS != 0 {}
        Ok(())
    }

    /// Reads one result to its end and returns the status in it.
    fn ended(&mut self) -> Result<u16> {
        let first = self.packet()?;
        match first.first() {
            Some(&OK) => Ok(status_of_ok(&first)),
            Some(&ERROR) | None => Err(String::from_utf8_lossy(&first).into()),
            // Columns, an EOF, rows, an EOF.
            Some(_) => {
                let mut ends = 0;
                loop {
                    let packet = self.packet()?;
                    if packet.first() == Some(&EOF) && packet.len() < 9 {
                        ends += 1;
                        if ends == 2 {
                            return Ok(u16::from_le_bytes([packet[3], packet[4]]));
                        }
                    }
                }
            }
        }
    }

    fn send(&mut self, number: u8, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(payload.len())?.to_le_bytes();
        self.stream.write_all(&[&length[..3], &[number], payload].concat())?;
        Ok(())
    }

    fn packet(&mut self) -> Result<Vec<u8>> {
        let head = self.take(4)?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.read.len() - self.used < length {
            self.read.drain(..self.used);
            self.used = 0;
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err("the database has closed the connection".into());
            }
            self.read.extend(&chunk[..count]);
        }
        self.used += length;
        Ok(self.read[self.used - length..self.used].to_vec())
    }
}

/// The 20 bytes of the greeting that the password is mixed with.
fn nonce(greeting: &[u8]) -> Option<Vec<u8>> {
    let version_end = greeting.iter().skip(1).position(|byte| *byte == 0)? + 2;
    let first = greeting.get(version_end + 4..version_end + 12)?;
    let second = greeting.get(version_end + 31..version_end + 43)?;
    Some([first, second].concat())
}

fn scrambled(password: &str, nonce: &[u8]) -> Vec<u8> {
    let once = Sha1::digest(password);
    let mixed = Sha1::new().chain_update(nonce).chain_update(Sha1::digest(once)).finalize();
    once.iter().zip(mixed).map(|(left, right)| left ^ right).collect()
}

/// After the header: affected rows and last id, each of one to nine bytes, then the status.
fn status_of_ok(packet: &[u8]) -> u16 {
    let width = |at: usize| match packet.get(at) {
        Some(0xfc) => 3,
        Some(0xfd) => 4,
        Some(0xfe) => 9,
        _ => 1,
    };
    let id = 1 + width(1);
    let at = id + width(id);
    u16::from_le_bytes([packet.get(at).copied().unwrap_or(0), packet.get(at + 1).copied().unwrap_or(0)])
}
