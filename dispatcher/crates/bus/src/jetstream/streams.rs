//! All streams that are consumed: our own, or those that the Secret `sveltos-nats` names. Those of the Secret are
//! only changed if the settings ask for it.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::{Mutex, MutexGuard};

use super::api::Api;
use super::stream::Wanted;
use crate::{Error, Result, Settings};
use shared::nats::takes;

#[derive(Debug)]
pub(super) struct Streams {
    /// The stream that has the dead letters and gets added subjects.
    pub(super) home: Wanted,
    /// The other streams.
    others: Vec<Wanted>,
    /// For each stream that the Secret names: the subjects that it lists. Empty without a Secret.
    named: BTreeMap<String, Vec<String>>,
    may_add: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Each subject of the streams, possibly with wildcards, and the stream's name, as of the last look.
    kept: BTreeMap<String, String>,
    /// Subjects that no stream takes, as last reported in the log.
    untaken: BTreeSet<String>,
}

impl Streams {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self> {
        let home = Wanted::from_settings(settings)?;
        let others = settings.named.iter().filter(|stream| stream.name != home.name);
        let others = others.map(|stream| Wanted::called(settings, &stream.name)).collect::<Result<_>>()?;
        let named = settings.named.iter().map(|stream| (stream.name.clone(), stream.subjects.clone()));
        Ok(Self {
            home,
            others,
            named: named.collect(),
            may_add: settings.nats_add_subjects,
            seen: Mutex::default(),
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Wanted> {
        [&self.home].into_iter().chain(&self.others)
    }

    /// Checks the streams that exist.
    pub(super) async fn check(&self, api: &Api) -> Result<()> {
        for stream in self.all() {
            stream.check(api).await?;
        }
        Ok(())
    }

    /// The subjects of all streams, sorted.
    pub(super) async fn subjects(&self, api: &Api) -> Result<Vec<String>> {
        let mut kept = BTreeMap::new();
        for stream in self.all() {
            kept.extend(by_stream(stream.subjects(api).await?.unwrap_or_default(), stream));
        }
        self.seen().kept = kept;
        Ok(self.kept())
    }

    /// The subjects as of the last look, sorted.
    pub(super) fn kept(&self) -> Vec<String> {
        self.seen().kept.keys().cloned().collect()
    }

    /// Whether a stream took this subject at the last look.
    pub(super) fn takes(&self, subject: &str) -> bool {
        self.seen().kept.keys().any(|kept| takes(kept, subject))
    }

    /// The stream that takes this subject; the home stream if none is known to.
    pub(super) async fn of(&self, api: &Api, subject: &str) -> Result<&Wanted> {
        if self.others.is_empty() {
            return Ok(&self.home);
        }
        if !self.takes(subject) {
            self.subjects(api).await?;
        }
        let seen = self.seen();
        let name = seen.kept.iter().find(|(kept, _)| takes(kept, subject)).map(|(_, name)| name);
        Ok(self.others.iter().find(|stream| Some(&stream.name) == name).unwrap_or(&self.home))
    }

    /// Makes the streams take these subjects, as far as we may change them.
    pub(super) async fn ensure(&self, api: &Api, subjects: &BTreeSet<String>) -> Result<()> {
        if self.named.is_empty() {
            let kept = self.home.ensure(api, subjects).await?;
            self.seen().kept = by_stream(kept, &self.home).collect();
            return Ok(());
        }
        let mut kept = BTreeMap::new();
        for stream in self.all() {
            let found = match stream.subjects(api).await? {
                Some(found) => found,
                None => self.create(api, stream, subjects).await?,
            };
            kept.extend(by_stream(found, stream));
        }
        self.seen().kept = kept;
        let listed = self.named.values().flatten().chain(subjects);
        let untaken: BTreeSet<_> = listed.filter(|subject| !self.takes(subject)).cloned().collect();
        if self.may_add {
            if !untaken.is_empty() {
                let kept = self.home.ensure(api, &untaken).await?;
                self.seen().kept.extend(by_stream(kept, &self.home));
            }
            return Ok(());
        }
        let mut seen = self.seen();
        if !untaken.is_empty() && seen.untaken != untaken {
            tracing::warn!(
                subjects = ?untaken,
                "no stream that the Secret sveltos-nats names takes these subjects: events on them are refused; add them to one \
                 (nats stream edit {} --subjects=...), or start with --nats-add-subjects", self.home.name
            );
        }
        seen.untaken = untaken;
        Ok(())
    }

    /// A stream that does not exist is created from what the Secret says, and is ours from then on.
    async fn create(&self, api: &Api, stream: &Wanted, subjects: &BTreeSet<String>) -> Result<Vec<String>> {
        let listed = self.named.get(&stream.name).filter(|listed| !listed.is_empty());
        let is_only = self.others.is_empty();
        let mut wanted: BTreeSet<_> = listed.into_iter().flatten().cloned().collect();
        if listed.is_none() && !(is_only && self.may_add) {
            return Err(Error::Configuration(format!(
                "SVELTOS_NATS: there is no NATS stream {}: create it (nats stream add); a list under jetstream.configuration.subjects \
                 holds names of streams, not subjects",
                stream.name
            )));
        }
        if is_only {
            wanted.extend(subjects.iter().cloned());
        }
        stream.ensure(api, &wanted).await
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock()
    }
}

fn by_stream(subjects: Vec<String>, stream: &Wanted) -> impl Iterator<Item = (String, String)> {
    subjects.into_iter().map(|subject| (subject, stream.name.clone()))
}
