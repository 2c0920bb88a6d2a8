//! Helpers for the tests of workers: a step is read from valid variables with a few changes.

use std::collections::BTreeMap;

use crate::config::{Environment, Variables};
use crate::event::Cause;
use crate::{Result, Step};

/// Valid variables of a step.
pub struct Valid(pub &'static [(&'static str, &'static str)]);

impl Valid {
    /// Reads the step with these changes; an empty value removes a variable.
    pub fn read<S: Step>(&self, changes: &[(&str, &str)]) -> Result<S> {
        let variables: BTreeMap<&str, &str> = self.0.iter().chain(changes).copied().collect();
        let environment = Environment::from_pairs(variables);
        let cause = Cause::read(&environment, S::NAME, &[])?;
        S::read(S::Input::read(&environment)?, &environment, &cause)
    }

    /// The exit code of a worker with these changes; 0 if they are valid.
    pub fn exit_code<S: Step>(&self, changes: &[(&str, &str)]) -> u8 {
        self.read::<S>(changes).map_or_else(|error| error.class().exit_code(), |_| 0)
    }

    /// Checks that every change alone ends with this code.
    ///
    /// # Panics
    /// If one ends with another.
    pub fn each_ends_with<S: Step>(&self, code: u8, changes: &[(&str, &str)]) {
        for change in changes {
            assert_eq!(self.exit_code::<S>(&[*change]), code, "{change:?}");
        }
    }

    /// Checks that a step about a customer takes its id and name and then `more`, and has an id even if the Job gives
    /// none.
    ///
    /// # Panics
    /// If it does not.
    pub fn is_about_a_customer<S: Step>(&self, more: &[&str]) {
        // The order is part of the identity of an event without an id. With another order, a repeat would be a new
        // event.
        let names: Vec<_> = S::Input::job().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [&["CUSTOMER_ID", "CUSTOMER_NAME"], more].concat());
        let long = "x".repeat(65);
        let wrong = [("CUSTOMER_NAME", &*long), ("CUSTOMER_NAME", "a\u{7}b"), ("SUBSCRIPTION_TIER", "gold")];
        self.each_ends_with::<S>(65, &wrong);
        self.each_ends_with::<S>(78, &[("CUSTOMER_NAME", ""), ("SUBSCRIPTION_TIER", "")]);
        let of = |name| {
            let step = self.read::<S>(&[("CUSTOMER_ID", ""), ("CUSTOMER_NAME", name)]);
            step.unwrap_or_else(|error| panic!("{name}: {error}")).customer()
        };
        assert_eq!(of("TechCorp"), of("TechCorp"));
        assert_ne!(of("TechCorp"), of("Helios"));
    }

    /// Checks that the step refuses bad values of the event and of the customer.
    ///
    /// # Panics
    /// If it accepts one of them.
    pub fn refuses_bad_input<S: Step>(&self, more: &[(&str, &str)]) {
        self.each_ends_with::<S>(65, &[("EVENT_TIME", "noon"), ("HOP_COUNT", "-1"), ("CUSTOMER_ID", "7")]);
        self.each_ends_with::<S>(65, more);
    }
}
