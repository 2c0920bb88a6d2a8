//! The standard variables of OpenTelemetry for an exporter of spans.
//!
//! Reads `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_[TRACES_]{ENDPOINT,HEADERS,TIMEOUT,PROTOCOL,COMPRESSION,CERTIFICATE}`,
//! `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER[_ARG]`,
//! `OTEL_BSP_{MAX_QUEUE_SIZE,MAX_EXPORT_BATCH_SIZE,SCHEDULE_DELAY}`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use shared::config::Environment;
use shared::error::{Error, Result};

use super::sampler::Sampler;

const SERVICE: &str = "knapscen-dispatcher";
const TIMEOUT_MS: u64 = 10_000;
const DELAY_MS: u64 = 5_000;
const BATCH: usize = 512;

/// The default size of the queue: the spans of about three thousand Jobs, in about 8 MB.
const QUEUE: usize = 32_768;

/// Where and how spans are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the collector.
    pub endpoint: Url,
    /// Headers of each request. They may contain a secret, and are marked as sensitive.
    pub headers: HeaderMap,
    /// The time limit of one request.
    pub timeout: Duration,
    /// A PEM file with a private authority.
    pub certificate: Option<PathBuf>,
    /// The resource that the spans belong to: `service.name` and configured attributes.
    pub resource: Vec<(String, String)>,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// The most spans in the queue.
    pub queue: usize,
    /// The approximate number of spans in one request.
    pub batch: usize,
    /// How long to wait for more spans before sending.
    pub delay: Duration,
}

impl Settings {
    /// `None` if no endpoint is set, or tracing is off.
    pub fn read(environment: &Environment) -> Result<Option<Self>> {
        let is = |name: &str, value: &str| {
            environment.get(name).is_some_and(|set| set.trim().eq_ignore_ascii_case(value))
        };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let Some(endpoint) = endpoint(environment)? else { return Ok(None) };
        only(environment, "OTEL_TRACES_EXPORTER", environment.get("OTEL_TRACES_EXPORTER"), &["otlp"])?;
        only(environment, "PROTOCOL", otlp(environment, "PROTOCOL"), &["http/protobuf"])?;
        only(environment, "COMPRESSION", otlp(environment, "COMPRESSION"), &["none"])?;
        let number = |name, default| number(name, environment.get(name), default);
        let queue = number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE as u64)?;
        let batch = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH as u64)?;
        Ok(Some(Self {
            endpoint,
            headers: headers(otlp(environment, "HEADERS").unwrap_or_default())?,
            timeout: Duration::from_millis(self::number(
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                otlp(environment, "TIMEOUT"),
                TIMEOUT_MS,
            )?),
            certificate: otlp(environment, "CERTIFICATE").map(PathBuf::from),
            resource: resource(environment)?,
            sampler: Sampler::read(environment)?,
            queue: usize::try_from(queue).unwrap_or(usize::MAX).max(1),
            batch: usize::try_from(batch).unwrap_or(usize::MAX).max(1),
            delay: Duration::from_millis(number("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS)?),
        }))
    }
}

/// The variable for traces, or the one for all signals.
fn otlp<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    environment
        .get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
        .or_else(|| environment.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
        .map(str::trim)
}

fn endpoint(environment: &Environment) -> Result<Option<Url>> {
    let (name, text) = match environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some(whole) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", whole.trim().to_owned()),
        None => match environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") {
            Some(base) => {
                ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", base.trim().trim_end_matches('/')))
            }
            None => return Ok(None),
        },
    };
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // The value may be a secret, so only name the variable.
    let wrong = || {
        Error::configuration(format!("{name} is not an http or https address, such as http://collector:4318"))
    };
    url.map(Some).ok_or_else(wrong)
}

fn only(environment: &Environment, name: &str, value: Option<&str>, known: &[&str]) -> Result<()> {
    match value {
        Some(value) if !known.contains(&value) => {
            let name = if name.starts_with("OTEL") {
                name.to_owned()
            } else if environment.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}")).is_some() {
                format!("OTEL_EXPORTER_OTLP_TRACES_{name}")
            } else {
                format!("OTEL_EXPORTER_OTLP_{name}")
            };
            Err(Error::configuration(format!("{name} is {value:?}; only {} is there", known.join(", "))))
        }
        _ => Ok(()),
    }
}

fn number(name: &str, value: Option<&str>, default: u64) -> Result<u64> {
    let Some(value) = value else { return Ok(default) };
    u64::from_str(value.trim()).map_err(|error| {
        Error::configuration(format!("{name} is {value:?}, which is not a whole number")).because(error)
    })
}

/// `name=value,name=value`, percent-encoded, as in W3C Baggage.
fn pairs(variable: &str, text: &str) -> Result<Vec<(String, String)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let wrong =
        || Error::configuration(format!("{variable} is not a list of name=value separated by commas"));
    entries
        .map(|entry| {
            let (name, value) = entry.split_once('=').ok_or_else(wrong)?;
            let decoded = decoded(value.trim()).ok_or_else(wrong)?;
            Ok((name.trim().to_owned(), decoded))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

fn headers(text: &str) -> Result<HeaderMap> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    // The value may be a secret, so it is not shown.
    let wrong = |name: &str| Error::configuration(format!("{NAME}: {name:?} cannot be sent as a header"));
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(NAME, text)? {
        let mut value = HeaderValue::from_str(&value).map_err(|_| wrong(&name))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_str(&name).map_err(|_| wrong(&name))?, value);
    }
    Ok(headers)
}

fn resource(environment: &Environment) -> Result<Vec<(String, String)>> {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let mut resource = pairs(NAME, environment.get(NAME).unwrap_or_default())?;
    if let Some(name) = environment.get("OTEL_SERVICE_NAME") {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".to_owned(), name.trim().to_owned()));
    }
    for (name, value) in [("service.name", SERVICE), ("service.version", env!("CARGO_PKG_VERSION"))] {
        if !resource.iter().any(|(key, _)| key == name) {
            resource.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Settings>> {
        Settings::read(&Environment::from_pairs(pairs.iter().copied()))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn without_an_endpoint_or_when_switched_off_there_are_no_traces() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap().is_none());
        assert!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
        assert!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "false")]).unwrap().is_some());
    }

    #[test]
    fn the_general_endpoint_gets_the_path_and_the_one_for_traces_is_taken_as_it_is() {
        let general = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(general.endpoint.as_str(), "http://collector:4318/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://other/otlp");
        assert_eq!(read(&[ENDPOINT, own]).unwrap().unwrap().endpoint.as_str(), "https://other/otlp");
    }

    #[test]
    fn headers_and_attributes_are_decoded_and_headers_are_secret() {
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20s3cret , x-scope=a=b"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=ignored"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.headers["authorization"], "Bearer s3cret");
        assert_eq!(settings.headers["x-scope"], "a=b");
        assert!(!format!("{settings:?}").contains("s3cret"));
        let attribute = |name: &str| {
            settings.resource.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(attribute("service.name"), Some("mine"));
        assert_eq!(attribute("deployment.environment.name"), Some("test"));
        assert_eq!(settings.timeout, Duration::from_millis(250));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_the_name_of_its_variable() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "no pair"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
        ] {
            let error = read(&[ENDPOINT, (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
