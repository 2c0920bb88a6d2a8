//! Short fingerprints of texts: 32 hex digits, fit for a label.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// A hash over several texts. Moving bytes from one text to the next changes it.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}
