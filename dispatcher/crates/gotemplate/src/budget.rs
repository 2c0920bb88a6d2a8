//! What one rendering may cost, so that no template and no event can block a thread or fill the memory.

use jiff::{SignedDuration, Timestamp};

use super::error::{Fault, fault};
use super::value::Value;

/// Function calls, loop turns and visited parts of values in one rendering.
const STEPS: usize = 1_000_000;
/// Bytes that the texts and lists of one rendering may have at a time, including the size of the values around them. What nobody
/// holds any more is given back, but only when a variable or an argument of a call held it.
const TEXT: usize = 4 << 20;
/// The size that a text in a list or map counts in addition to its bytes.
const VALUE: usize = 80;
/// The size of an existing value that is put into one more list.
const SLOT: usize = 48;
/// The size that a map with entries counts in addition to them: it reserves memory for more.
const MAP: usize = 640;
/// The largest rendered text, in bytes, with the texts of the event in it. No server takes a larger object.
pub(super) const OUTPUT: usize = 2 << 20;
/// The deepest nesting of values, blocks and template calls.
pub(super) const DEPTH: usize = 100;

/// How far a second rendering of the same event moves the clock: some of every unit.
const LATER: SignedDuration = SignedDuration::from_secs(397 * 86_400 + 3_661);

/// Counts down while a template runs, and keeps the clock.
pub(super) struct Budget {
    steps: usize,
    text: usize,
    later: bool,
    /// Whether the result depends on the clock or on randomness.
    pub(super) is_nondeterministic: bool,
}

impl Budget {
    /// `later`: with a later clock.
    pub(super) fn new(later: bool) -> Self {
        Self { steps: STEPS, text: TEXT, later, is_nondeterministic: false }
    }

    pub(super) fn now(&mut self) -> Timestamp {
        self.is_nondeterministic = true;
        let now = Timestamp::now();
        if self.later { now.checked_add(LATER).unwrap_or(now) } else { now }
    }

    /// Pays for `count` steps.
    pub(super) fn steps(&mut self, count: usize) -> Result<(), Fault> {
        match self.steps.checked_sub(count) {
            Some(rest) => {
                self.steps = rest;
                Ok(())
            }
            None => fault(format!("the template takes more than {STEPS} steps")),
        }
    }

    /// Pays for `bytes` of text before they are made.
    pub(super) fn text(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.text.checked_sub(bytes) {
            Some(rest) => {
                self.text = rest;
                Ok(())
            }
            None => fault(format!("the template makes more than {} MiB of text", TEXT >> 20)),
        }
    }

    /// Checks that a text of `bytes` may be made. It is paid for when it is complete.
    pub(super) fn room(&mut self, bytes: usize) -> Result<(), Fault> {
        self.text(bytes)?;
        self.text += bytes;
        Ok(())
    }

    /// Pays for a text that a function has made. A text that another value shares is paid for already.
    pub(super) fn made(&mut self, value: &Value) -> Result<(), Fault> {
        match value {
            Value::Text(text) => self.text(text.own_bytes()),
            _ => Ok(()),
        }
    }

    /// Gives back what a text or a list took if no other value shares it. It must be dropped after this.
    pub(super) fn gone(&mut self, value: &Value) {
        let bytes = match value {
            Value::Text(text) => text.own_bytes(),
            Value::List(list) if list.is_unshared() => list.items().len().saturating_mul(SLOT),
            _ => 0,
        };
        self.text = self.text.saturating_add(bytes).min(TEXT);
    }

    /// Pays for this many new values before they are made.
    pub(super) fn values(&mut self, count: usize) -> Result<(), Fault> {
        self.text(count.saturating_mul(VALUE))
    }

    /// Pays for this many new maps, in addition to their values, before they are made.
    pub(super) fn maps(&mut self, count: usize) -> Result<(), Fault> {
        self.text(count.saturating_mul(MAP))
    }

    /// Checks that this many values, and these maps among them, may be copied for the time of a call.
    pub(super) fn room_of_copies(&mut self, values: usize, maps: usize) -> Result<(), Fault> {
        self.room(values.saturating_mul(SLOT).saturating_add(maps.saturating_mul(MAP)))
    }

    /// Checks that a list of this many values may be made.
    pub(super) fn room_of_slots(&mut self, count: usize) -> Result<(), Fault> {
        self.room(count.saturating_mul(SLOT))
    }

    /// Pays for a list of existing values.
    pub(super) fn slots(&mut self, count: usize) -> Result<(), Fault> {
        self.text(count.saturating_mul(SLOT))
    }

    /// Whether a value or a call may be nested `depth` levels deep.
    pub(super) fn depth(depth: usize) -> Result<(), Fault> {
        if depth > DEPTH { fault(format!("nested deeper than {DEPTH} levels")) } else { Ok(()) }
    }
}
