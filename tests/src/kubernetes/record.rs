//! The calls, in order.

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// `POST jobs/a`.
    pub(super) words: String,
    pub(super) query: String,
    pub(super) asked: Asked,
    /// The header `User-Agent`.
    pub(super) agent: String,
    /// The answer's status, once it is known.
    pub(super) code: Option<u16>,
}

/// A call in the words of a Role's rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Such as `list`.
    pub verb: String,
    /// The API group; empty for the core.
    pub group: String,
    /// The resource and the subresource: `pods/log`.
    pub resource: String,
    /// The namespace; empty for all of them, and for resources without one.
    pub namespace: String,
}

/// All calls, in the order in which they were carried out.
#[derive(Debug, Default)]
pub(super) struct Record(Vec<Call>);

impl Record {
    /// A call is about to be carried out. Returns its number.
    pub(super) fn begin(&mut self, call: Call) -> usize {
        self.0.push(call);
        self.0.len() - 1
    }

    /// It was answered.
    pub(super) fn end(&mut self, number: usize, code: u16) {
        self.0[number].code = Some(code);
    }

    /// All of them; `None` while one is being carried out.
    pub(super) fn whole(&self) -> Option<Vec<Call>> {
        self.0.iter().all(|call| call.code.is_some()).then(|| self.0.clone())
    }
}

impl Call {
    /// `POST jobs/a 201`.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.words, self.code.unwrap_or_default())
    }
}
