//! The stream and the dead-letter stream: created if they do not exist, otherwise checked. Subjects are added;
//! nothing is ever removed or changed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Api, Refusal, STREAM_NAME_IN_USE, STREAM_NOT_FOUND};
use crate::{Error, Result, Settings};
use shared::nats::takes;

/// A second dead letter for the same message inside this time is the same one.
const DEAD_LETTER_WINDOW: Duration = Duration::from_hours(24);

/// Longer than all attempts of an event take.
const TRIES_KEPT: Duration = Duration::from_hours(7 * 24);

/// The shortest duplicate window that covers a repeated publish after a crash.
const SHORTEST_WINDOW: Duration = Duration::from_mins(2);

/// How often two dispatchers that add subjects at the same time may undo each other's change.
const TRIES: u32 = 10;

/// The streams as we would create them.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    replicas: u8,
    max_age: Duration,
    duplicate_window: Duration,
}

impl Wanted {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self> {
        let name = settings.nats()?.stream().to_owned();
        let duplicate_window = settings.duplicate_window;
        if duplicate_window < SHORTEST_WINDOW {
            return Err(Error::Configuration("BUS_DUPLICATE_WINDOW is shorter than 120 seconds".to_owned()));
        }
        let max_age = settings.nats_max_age;
        if !max_age.is_zero() && max_age < duplicate_window {
            return Err(Error::Configuration("NATS_MAX_AGE is shorter than BUS_DUPLICATE_WINDOW".to_owned()));
        }
        Ok(Self { name, replicas: settings.nats_replicas, max_age, duplicate_window })
    }

    /// Another stream, with the same settings.
    pub(super) fn called(settings: &Settings, name: &str) -> Result<Self> {
        Self::from_settings(&Settings { nats_stream: name.to_owned(), ..settings.clone() })
    }

    pub(super) fn dead_letter_stream(&self) -> String {
        format!("{}-dead-letters", self.name)
    }

    /// The subject of dead letters from this subject; `>` for all.
    pub(super) fn dead_letter_subject(&self, subject: &str) -> String {
        format!("{}.dead-letters.{subject}", self.name)
    }

    /// The subject of the parts of a dead letter that is too large for one message; `*` for all.
    pub(super) fn part_subject(&self, letter: &str, part: &str) -> String {
        format!("{}.dead-letter-parts.{letter}.{part}", self.name)
    }

    /// Whether this is the subject of a part of a dead letter.
    pub(super) fn is_part(&self, subject: &str) -> bool {
        subject.starts_with(&format!("{}.dead-letter-parts.", self.name))
    }

    pub(super) fn attempts_stream(&self) -> String {
        format!("{}-tries", self.name)
    }

    /// The subject on which the attempts of the message with this number are recorded.
    pub(super) fn attempts_subject(&self, sequence: u64) -> String {
        format!("{}.tries.{sequence}", self.name)
    }

    /// Creates the stream of the counted attempts.
    pub(super) async fn ensure_attempts(&self, api: &Api) -> Result<()> {
        let name = self.attempts_stream();
        let subjects = [format!("{}.tries.*", self.name)];
        let mut config = self.config(&name, &subjects, SHORTEST_WINDOW, TRIES_KEPT);
        config["max_msgs_per_subject"] = json!(1);
        create(api, &config).await
    }

    /// Checks the stream if it exists.
    pub(super) async fn check(&self, api: &Api) -> Result<()> {
        match info(api, &self.name).await? {
            Some(info) => self.check_config(&info["config"]),
            None => Ok(()),
        }
    }

    /// The subjects of the stream; `None` if it does not exist.
    pub(super) async fn subjects(&self, api: &Api) -> Result<Option<Vec<String>>> {
        Ok(info(api, &self.name).await?.map(|info| subjects_of(&info["config"])))
    }

    /// Creates the stream, or adds the subjects that it does not take yet. Returns all that it takes afterwards.
    pub(super) async fn ensure(&self, api: &Api, subjects: &BTreeSet<String>) -> Result<Vec<String>> {
        if subjects.is_empty() {
            return Ok(self.subjects(api).await?.unwrap_or_default());
        }
        // The server has no compare-and-set for configurations: read, add, and read again until all subjects are
        // taken.
        for attempt in 1..=TRIES {
            let Some(mut info) = info(api, &self.name).await? else {
                let all: Vec<_> = subjects.iter().cloned().collect();
                create(api, &self.config(&self.name, &all, self.duplicate_window, self.max_age)).await?;
                continue;
            };
            let mut config = info["config"].take();
            let mut known = subjects_of(&config);
            let missing: Vec<_> = subjects
                .iter()
                .filter(|subject| !known.iter().any(|filter| takes(filter, subject)))
                .cloned()
                .collect();
            if missing.is_empty() {
                return Ok(known);
            }
            tracing::info!(nats.stream = %self.name, subjects = ?missing, "adding subjects to the stream");
            known.extend(missing);
            config["subjects"] = json!(known);
            match api.call(&format!("STREAM.UPDATE.{}", self.name), &config).await? {
                Ok(_) => {}
                Err(refusal) => return Err(self.refused(&refusal, &known)),
            }
            tokio::time::sleep(Duration::from_millis(20 * u64::from(attempt))).await;
        }
        Err(Error::Unavailable(format!(
            "another client keeps changing the subjects of the NATS stream {}",
            self.name
        )))
    }

    /// Creates the stream of the dead letters, or makes an older one take the parts of large letters.
    pub(super) async fn ensure_dead_letters(&self, api: &Api) -> Result<()> {
        let name = self.dead_letter_stream();
        let subjects = [self.dead_letter_subject(">"), self.part_subject("*", "*")];
        let Some(mut info) = info(api, &name).await? else {
            return create(api, &self.config(&name, &subjects, DEAD_LETTER_WINDOW, Duration::ZERO)).await;
        };
        let mut config = info["config"].take();
        let mut known = subjects_of(&config);
        if subjects.iter().all(|subject| known.iter().any(|filter| takes(filter, subject))) {
            return Ok(());
        }
        known.extend(subjects);
        known.sort();
        known.dedup();
        config["subjects"] = json!(known);
        match api.call(&format!("STREAM.UPDATE.{name}"), &config).await? {
            Ok(_) => Ok(()),
            Err(refusal) => {
                Err(refusal.error(&format!("the subjects {} of stream {name}", known.join(", "))))
            }
        }
    }

    fn config(&self, name: &str, subjects: &[String], window: Duration, max_age: Duration) -> Value {
        json!({
            "name": name,
            "subjects": subjects,
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "num_replicas": self.replicas,
            "max_age": nanoseconds(max_age),
            "duplicate_window": nanoseconds(window),
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
        })
    }

    fn check_config(&self, config: &Value) -> Result<()> {
        let name = &self.name;
        let wrong = |what: &str, remedy: &str| {
            Err(Error::Configuration(format!(
                "the NATS stream {name} has {what}: {remedy}, or set NATS_STREAM to another"
            )))
        };
        if config["retention"] != "limits" {
            let has = format!("retention {} instead of \"limits\"", config["retention"]);
            return wrong(&has, &format!("back it up, delete it and restart (`nats stream rm {name}`)"));
        }
        if config["no_ack"] == true {
            return wrong(
                "acknowledgements switched off (no_ack)",
                &format!("`nats stream edit {name} --ack`"),
            );
        }
        if config["sealed"] == true || config.get("mirror").is_some_and(|mirror| !mirror.is_null()) {
            return wrong("no room for new messages (it is sealed or a mirror)", "take its origin");
        }
        let window = config["duplicate_window"].as_u64().unwrap_or(0);
        if window < nanoseconds(SHORTEST_WINDOW) {
            let seconds = Duration::from_nanos(window).as_secs_f64();
            tracing::warn!(
                nats.stream = %name,
                "the stream's duplicate_window is {seconds} s, shorter than 120 s: a repeat of an event may be handled \
                 twice; remedy: nats stream edit {name} --dupe-window=2m"
            );
        }
        if config["storage"] != "file" {
            tracing::warn!(
                nats.stream = %name,
                "the stream is not stored in files: events are lost when the server stops; storage cannot be changed, \
                 create the stream again"
            );
        }
        let replicas = config["num_replicas"].as_u64().unwrap_or(1);
        if replicas < u64::from(self.replicas) {
            tracing::warn!(
                nats.stream = %name,
                "the stream has {replicas} replicas, NATS_REPLICAS says {}; remedy: nats stream edit {name} --replicas={}",
                self.replicas, self.replicas
            );
        }
        let max_age = config["max_age"].as_u64().unwrap_or(0);
        if max_age != nanoseconds(self.max_age) {
            tracing::warn!(
                nats.stream = %name,
                "the stream keeps messages for {} s, NATS_MAX_AGE says {} s (0 is for ever); remedy: nats stream edit \
                 {name} --max-age={}s",
                Duration::from_nanos(max_age).as_secs(), self.max_age.as_secs(), self.max_age.as_secs()
            );
        }
        Ok(())
    }

    fn refused(&self, refusal: &Refusal, subjects: &[String]) -> Error {
        let name = &self.name;
        if refusal.description.contains("overlap") {
            return Error::Configuration(format!(
                "the NATS stream {name} cannot take all of {}: another stream has one of them; take it out of that \
                 stream (`nats stream ls --subject=…`), or set NATS_STREAM to it",
                subjects.join(", ")
            ));
        }
        refusal.error(&format!("the subjects {} of stream {name}", subjects.join(", ")))
    }
}

/// Information on a stream; `None` if it does not exist.
pub(super) async fn info(api: &Api, name: &str) -> Result<Option<Value>> {
    ask(api, name, &Value::Null).await
}

/// The same, with the number of messages on each subject that matches the filter.
pub(super) async fn info_of(api: &Api, name: &str, filter: &str) -> Result<Option<Value>> {
    ask(api, name, &json!({"subjects_filter": filter})).await
}

async fn ask(api: &Api, name: &str, request: &Value) -> Result<Option<Value>> {
    match api.call(&format!("STREAM.INFO.{name}"), request).await? {
        Ok(info) => Ok(Some(info)),
        Err(refusal) if refusal.err_code == STREAM_NOT_FOUND => Ok(None),
        Err(refusal) => Err(refusal.error(&format!("information on stream {name}"))),
    }
}

async fn create(api: &Api, config: &Value) -> Result<()> {
    let name = config["name"].as_str().unwrap_or_default();
    match api.call(&format!("STREAM.CREATE.{name}"), config).await? {
        Ok(_) => {
            tracing::info!(nats.stream = %name, "created the stream");
            Ok(())
        }
        Err(refusal) if refusal.err_code == STREAM_NAME_IN_USE => Ok(()), // another replica was first
        Err(refusal) if refusal.description.contains("overlap") => Err(Error::Configuration(format!(
            "the NATS stream {name} cannot be created: another stream has one of the subjects {}; take it out of that \
             stream, or set NATS_STREAM to it",
            config["subjects"]
        ))),
        Err(refusal) => {
            let about_replicas = refusal.description.contains("replicas");
            let setting = if about_replicas {
                format!(" with NATS_REPLICAS={}", config["num_replicas"])
            } else {
                String::new()
            };
            Err(refusal.error(&format!("to create stream {name}{setting}")))
        }
    }
}

fn subjects_of(config: &Value) -> Vec<String> {
    let subjects = config["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    subjects.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The stream that takes this subject.
pub(super) async fn name_of(api: &Api, subject: &str) -> Result<Option<String>> {
    match api.call("STREAM.NAMES", &json!({"subject": subject})).await? {
        Ok(answer) => Ok(answer["streams"][0].as_str().map(str::to_owned)),
        Err(refusal) => Err(refusal.error("the names of the streams")),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::takes;

    #[test]
    fn wildcards_take_what_nats_says() {
        for (filter, subject, expected) in [
            ("item-saved", "item-saved", true),
            ("item-saved", "item-saved.x", false),
            ("item.*", "item.saved", true),
            ("item.*", "item.saved.now", false),
            ("item.>", "item.saved.now", true),
            ("item.>", "item", false),
            (">", "anything", true),
            ("*", "a.b", false),
        ] {
            assert_eq!(takes(filter, subject), expected, "{filter} {subject}");
        }
    }
}
