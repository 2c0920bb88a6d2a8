//! What one rendering may cost: so that no template and no event can hold a thread or fill the memory.

use super::error::{Fault, fault};

/// Function calls, loop turns and visited parts of values in one rendering.
const STEPS: usize = 1_000_000;
/// Bytes that all functions together may make in one rendering.
const TEXT: usize = 32 << 20;
/// Bytes of one rendered text.
pub(super) const OUTPUT: usize = 4 << 20;
/// Levels of values, blocks and template calls.
pub(super) const DEPTH: usize = 100;

/// Counts down while a template runs.
pub(super) struct Budget {
    steps: usize,
    text: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { steps: STEPS, text: TEXT }
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

    /// Whether a value or a call may be nested `depth` levels deep.
    pub(super) fn depth(depth: usize) -> Result<(), Fault> {
        if depth > DEPTH { fault(format!("nested deeper than {DEPTH} levels")) } else { Ok(()) }
    }
}
