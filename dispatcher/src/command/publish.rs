//! `dispatcher publish`: publishes events from files, from standard input or generated. Each is acknowledged before
//! it counts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use cloudevents::AttributesReader;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use shared::Uuid;
use shared::config::shown;
use shared::error::{Error, Result};
use shared::event::{CONTENT_TYPE, Event, Kind, SOURCE, parse, to_json};

use super::bus_access::BusArguments;
use super::number::{MOST, whole};
use super::{bus_access, event_file, print};
use crate::size;
use bus::{Bus, Message};

/// Publish events, each acknowledged
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  dispatcher publish events/customer-saved/sample.cloudevent\n  dispatcher publish --generate 20\n  \
    dispatcher publish --to http://127.0.0.1:8080/events - < event.json"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    bus: BusArguments,
    /// Files with one CloudEvent (JSON) each; - is standard input
    #[arg(required_unless_present = "generate")]
    files: Vec<PathBuf>,
    /// Make up this many customer registrations instead
    #[arg(long, value_name = "N", conflicts_with = "files", value_parser = whole(0..=MOST))]
    generate: Option<u64>,
    /// Users of each generated customer
    #[arg(long, default_value = "3", value_parser = whole(1..=50_u64))]
    users: u64,
    /// Publish to this NATS subject instead of the one of the event's type
    #[arg(long)]
    subject: Option<String>,
    /// Post to a dispatcher's /events instead
    #[arg(
        long,
        value_name = "URL",
        help = "Post to a dispatcher's /events instead (with EVENTS_TOKEN from the environment, if set)"
    )]
    to: Option<String>,
}

enum Target {
    Bus(Bus),
    Http(reqwest::Client, reqwest::Url, Option<HeaderValue>),
}

/// The header that admits the publisher.
fn token() -> Result<Option<HeaderValue>> {
    let given = std::env::var("EVENTS_TOKEN").unwrap_or_default();
    let given = given.trim();
    if given.is_empty() {
        return Ok(None);
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {given}"))
        .map_err(|_| Error::configuration("EVENTS_TOKEN has a character that no HTTP header can have"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let events = match arguments.generate {
        Some(count) => (0..count).map(|number| registration(number, arguments.users)).collect(),
        None => arguments.files.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?,
    };
    let events = events
        .iter()
        .map(|event| prepared(event, arguments.subject.as_deref()))
        .collect::<Result<Vec<_>>>()?;
    let target = match arguments.to {
        Some(url) => {
            let url = http_address("--to", &url)?;
            Target::Http(http_client(Duration::from_secs(30))?, url, token()?)
        }
        None => Target::Bus(bus_access::visit(&arguments.bus).await?),
    };
    let bar = print::progress(events.len() as u64, "publishing");
    let mut duplicates = 0;
    for message in events {
        duplicates += u64::from(target.publish(message).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let repeated =
        if duplicates > 0 { format!(", {duplicates} of them known already") } else { String::new() };
    print::line(format!("{} published and acknowledged{repeated}", bar.position()));
    Ok(ExitCode::SUCCESS)
}

impl Target {
    /// Whether the message was known already.
    async fn publish(&self, message: Message) -> Result<bool> {
        match self {
            Self::Bus(bus) => {
                bus.publish(message).await.map(|receipt| receipt.duplicate).map_err(bus_access::failed)
            }
            Self::Http(client, url, token) => {
                let mut url = url.clone();
                url.query_pairs_mut().append_pair("subject", &message.subject);
                let mut request = client.post(url).header("Content-Type", CONTENT_TYPE).body(message.payload);
                if let Some(token) = token {
                    request = request.header(AUTHORIZATION, token);
                }
                let away = |error: reqwest::Error| {
                    Error::unavailable("the dispatcher does not answer").because(error.without_url())
                };
                let answer = request.send().await.map_err(away)?;
                let status = answer.status();
                let words = answer.text().await.unwrap_or_default();
                match status.as_u16() {
                    202 => Ok(false),
                    // A login page, or another service instead of the dispatcher: the event was not stored.
                    200..300 => {
                        let message =
                            format!("{status} was answered: a dispatcher that keeps an event says 202");
                        Err(Error::unavailable(message).because(words))
                    }
                    401 | 403 => {
                        Err(Error::configuration(format!("the dispatcher answered {status}")).because(words))
                    }
                    400..500 => Err(Error::input(format!("the dispatcher answered {status}")).because(words)),
                    _ => Err(Error::unavailable(format!("the dispatcher answered {status}")).because(words)),
                }
            }
        }
    }
}

pub(super) fn http_address(option: &str, text: &str) -> Result<reqwest::Url> {
    let wrong = || {
        Error::configuration(format!(
            "{option} is not an http or https address: write it as http://127.0.0.1:8080/events"
        ))
    };
    let url: reqwest::Url = text.trim().parse().map_err(|_| wrong())?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(wrong()) }
}

/// A client for short calls to a dispatcher.
pub(super) fn http_client(timeout: Duration) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(shared::tls::client_config(None, None)?)
        .no_proxy()
        .timeout(timeout)
        .build()
        .map_err(|error| Error::bug("cannot build the HTTP client").because(error))
}

fn read(path: &Path) -> Result<Event> {
    let cannot = |error: std::io::Error| Error::input(format!("cannot read {}", shown(path))).because(error);
    let bytes = event_file::read(path).map_err(cannot)?;
    parse(&[], &bytes).map_err(|error| Error::input(format!("{}: {error}", shown(path))))
}

fn prepared(event: &Event, subject: Option<&str>) -> Result<Message> {
    let of_type = || Kind::from_type(event.ty()).map(Kind::subject);
    let Some(subject) = subject.or_else(of_type) else {
        return Err(Error::input(format!(
            "{:?} is no type of the onboarding flow; name a --subject",
            event.ty()
        )));
    };
    let payload = to_json(event)?;
    size::check(event, &payload)?;
    Ok(Message {
        subject: subject.to_owned(),
        id: Some(event.id().to_owned()),
        headers: vec![("Content-Type".to_owned(), CONTENT_TYPE.to_owned())],
        payload: payload.into(),
    })
}

const COMPANIES: [&str; 8] =
    ["Disco", "Mirrorball", "Funk", "Groove", "Boogie", "Saturday Night", "Studio", "Bassline"];
const FORMS: [&str; 5] = ["Ltd", "& Sons", "GmbH", "Labs", "Partners"];
const PEOPLE: [&str; 6] =
    ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Edsger Dijkstra", "Barbara Liskov", "Tony Hoare"];

/// A registration with a new id.
pub(super) fn registration(number: u64, users: u64) -> Event {
    let id = Uuid::new_v4();
    let pick = |list: &[&'static str], at: u64| list[usize::try_from(at).unwrap_or(0) % list.len()];
    let company = format!(
        "{} {} {}",
        pick(&COMPANIES, number),
        pick(&FORMS, number / 8),
        &id.simple().to_string()[..6]
    );
    let tier = pick(&["basic", "groovy", "far-out"], number);
    let users: Vec<Value> = (0..users)
        .map(|user| {
            let role = match user {
                0 => "customer_account_owner",
                1 => "admin_user",
                _ => "generic_user",
            };
            let email = format!("user{user}@{}.example", &id.simple().to_string()[..12]);
            json!({ "name": pick(&PEOPLE, number + user), "email": email, "role": role })
        })
        .collect();
    let mut data = json!({ "name": company, "subscription_tier": tier, "users": users });
    // Every fifth has no address yet, so its swag order waits for one.
    if number % 5 != 4 {
        data["shipping_address"] = json!(format!("{} Mirrorball Street, 8000 Aarhus, Denmark", number + 1));
    }
    let event = json!({
        "specversion": "1.0",
        "id": Uuid::new_v4(),
        "source": SOURCE,
        "type": Kind::CustomerRegistered.ty(),
        "subject": id,
        "time": chrono::Utc::now(),
        "datacontenttype": "application/json",
        "data": data,
    });
    serde_json::from_value(event).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_its_scheme_is_refused_with_the_remedy() {
        for text in ["localhost:8080/events", "127.0.0.1:8080", "", "ftp://x/", "http:", "/events"] {
            let error = http_address("--to", text).unwrap_err();
            assert_eq!(error.class().exit_code(), 78, "{text}");
            assert!(error.to_string().contains("http://127.0.0.1:8080/events"), "{error}");
        }
        assert!(http_address("--to", " https://example.com/events ").is_ok());
    }
}
