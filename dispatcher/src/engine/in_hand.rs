//! The messages that this process works on. If a lease expires meanwhile, the message comes a second time.

use std::collections::HashSet;

use parking_lot::Mutex;

/// The keys of the messages.
#[derive(Debug, Default)]
pub(super) struct InHand(Mutex<HashSet<String>>);

/// A message that is being worked on, until dropped.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    all: &'a InHand,
    key: String,
}

impl InHand {
    /// `None` if somebody already works on it.
    pub(super) fn take(&self, key: String) -> Option<Taken<'_>> {
        let is_new = self.0.lock().insert(key.clone());
        is_new.then_some(Taken { all: self, key })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_worked_on_once_at_a_time() {
        let all = InHand::default();
        let first = all.take("m".to_owned());
        assert!(first.is_some() && all.take("m".to_owned()).is_none() && all.take("n".to_owned()).is_some());
        drop(first);
        assert!(all.take("m".to_owned()).is_some());
    }
}
