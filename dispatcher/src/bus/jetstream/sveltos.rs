//! The Secret `sveltos-nats`: how Sveltos is told where NATS is, read instead of our own variables.
//!
//! Reads one file: the JSON itself, the mounted Secret (a folder with the key `sveltos-nats`), or the manifest of the Secret. Both
//! generations of the JSON are known: `subjects` beside the address, and `streams` with subjects each. `nats` beside or instead
//! of `jetstream` gives address, login and subjects too, for here every subject is in a stream.

use std::borrow::Cow;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;
use serde_json::Value;

use crate::bus::settings::{Pem, Secret};
use crate::bus::{Error, Result, Settings};

/// The key of the Secret.
const KEY: &str = "sveltos-nats";

#[derive(Deserialize)]
struct Messaging {
    nats: Option<Part>,
    jetstream: Option<Part>,
}

#[derive(Deserialize)]
struct Part {
    configuration: Configuration,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    url: String,
    #[serde(default)]
    subjects: Option<Vec<String>>,
    #[serde(default)]
    streams: Option<Vec<Stream>>,
    #[serde(default)]
    authorization: Option<Authorization>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    subjects: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Authorization {
    user: Option<User>,
    token: Option<Secret>,
    client_cert: Option<ClientCertificate>,
    #[serde(rename = "rootCA")]
    root_ca: Option<Secret>,
}

#[derive(Deserialize)]
struct User {
    user: String,
    password: Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientCertificate {
    cert_pem: Secret,
    key_pem: Secret,
}

/// The settings with what the file says in place of servers, login, TLS, stream and subjects; as they are without a file.
pub(super) fn applied(settings: &Settings) -> Result<Cow<'_, Settings>> {
    let Some(path) = settings.sveltos_nats.as_deref().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(Cow::Borrowed(settings));
    };
    let fail = |message: String| Error::Configuration(format!("SVELTOS_NATS: {}: {message}", path.display()));
    let messaging = parse(&read(path).map_err(fail)?).map_err(fail)?;
    apply(messaging, settings).map(Cow::Owned).map_err(fail)
}

fn apply(messaging: Messaging, settings: &Settings) -> std::result::Result<Settings, String> {
    let (part, name) = match (messaging.jetstream, messaging.nats) {
        (Some(part), other) => {
            if other.is_some_and(|other| other.configuration.url != part.configuration.url) {
                return Err("nats and jetstream name different servers, and only one can be read".to_owned());
            }
            (part, "jetstream")
        }
        (None, Some(part)) => (part, "nats"),
        (None, None) => return Err("has neither jetstream nor nats".to_owned()),
    };
    let Configuration { url, subjects, streams, authorization } = part.configuration;
    if url.trim().is_empty() {
        return Err(format!("{name}.configuration.url is not set"));
    }
    let Authorization { user, token, client_cert, root_ca } = authorization.unwrap_or_default();
    let place = |field: &str| format!("{name}.configuration.authorization.{field}");
    let certificate = match client_cert {
        Some(pair) => Some((
            pem(&pair.cert_pem, &place("clientCert.certPem"))?,
            pem(&pair.key_pem, &place("clientCert.keyPem"))?,
        )),
        None => None,
    };
    let authority = root_ca.map(|text| pem(&text, &place("rootCA"))).transpose()?;
    let mut stream = settings.nats_stream.clone();
    let mut all: Vec<String> = subjects.unwrap_or_default();
    if let Some(chosen) = choose(streams.unwrap_or_default(), &settings.nats_stream)? {
        stream = chosen.name;
        all.extend(chosen.subjects.unwrap_or_default());
    }
    let (nats_user, nats_password) = user.map(|user| (user.user, user.password)).unzip();
    Ok(Settings {
        nats_server: Secret::from(url),
        nats_stream: stream,
        nats_user,
        nats_password,
        nats_token: token,
        nats_creds: None,
        nats_cert: None,
        nats_key: None,
        nats_ca: None,
        pem: Pem { authority, certificate },
        subjects: all,
        ..settings.clone()
    })
}

/// The one stream that is listed, or of several the one that is asked for.
fn choose(mut streams: Vec<Stream>, wanted: &str) -> std::result::Result<Option<Stream>, String> {
    if streams.len() <= 1 {
        return Ok(streams.pop());
    }
    let names: Vec<_> = streams.iter().map(|stream| stream.name.clone()).collect();
    let found = streams.into_iter().find(|stream| stream.name == wanted);
    found.map(Some).ok_or_else(|| {
        format!("lists the streams {}: say with NATS_STREAM which one it is", names.join(", "))
    })
}

/// A certificate or key, in base64 as Go writes bytes; as it is where people put it so.
fn pem(text: &Secret, place: &str) -> std::result::Result<Secret, String> {
    if text.reveal().trim_start().starts_with("-----BEGIN ") {
        return Ok(text.clone());
    }
    let packed: String = text.reveal().split_whitespace().collect();
    let bytes = BASE64_STANDARD.decode(packed).map_err(|_| format!("{place} is not base64"))?;
    let pem = String::from_utf8(bytes).ok().filter(|pem| pem.contains("-----BEGIN "));
    pem.map(Secret::from).ok_or_else(|| format!("{place} is not PEM in base64"))
}

fn read(path: &Path) -> std::result::Result<String, String> {
    let file = if path.is_dir() { path.join(KEY) } else { path.to_owned() };
    std::fs::read_to_string(&file).map_err(|error| format!("cannot be read: {}", error.kind()))
}

/// Errors name the field and never what stands in it: half of the file is secrets.
fn parse(text: &str) -> std::result::Result<Messaging, String> {
    let value: Value = serde_saphyr::from_str_with_options(text, crate::template::yaml_options())
        .map_err(|_| "is neither JSON nor the manifest of a Secret".to_owned())?;
    let value = if value.get("kind").is_some() { unwrapped(&value)? } else { value };
    let mut track = serde_path_to_error::Track::new();
    Messaging::deserialize(serde_path_to_error::Deserializer::new(value, &mut track))
        .map_err(|_| format!("{} is not what Sveltos reads there", track.path()))
}

/// What the manifest of a Secret holds under its key.
fn unwrapped(manifest: &Value) -> std::result::Result<Value, String> {
    if manifest["kind"] != "Secret" {
        return Err("is a manifest, but not of a Secret".to_owned());
    }
    let text = match (manifest["stringData"][KEY].as_str(), manifest["data"][KEY].as_str()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(packed)) => {
            let bytes = BASE64_STANDARD.decode(packed.split_whitespace().collect::<String>()).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            text.ok_or_else(|| format!("data.{KEY} is not text in base64"))?
        }
        (None, None) => return Err(format!("the Secret has no key {KEY}")),
    };
    serde_json::from_str(&text).map_err(|_| format!("the key {KEY} of the Secret is not JSON"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied_to(settings: Settings, text: &str) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, text).unwrap();
        applied(&Settings { sveltos_nats: Some(path), ..settings }).map(Cow::into_owned)
    }

    fn settings(value: &Value) -> Result<Settings> {
        applied_to(Settings::default(), &value.to_string())
    }

    fn problem(value: &Value) -> String {
        settings(value).unwrap_err().to_string()
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better at the calls")]
    fn jetstream(fields: Value) -> Value {
        let mut configuration = json!({"url": "nats://nats.example:4222"});
        configuration.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"jetstream": {"configuration": configuration}})
    }

    #[test]
    fn both_generations_give_server_subjects_and_stream() {
        let first = settings(&jetstream(json!({"subjects": ["a", "b"]}))).unwrap();
        assert_eq!(first.nats_server.reveal(), "nats://nats.example:4222");
        assert_eq!(
            (first.nats_stream.as_str(), first.subjects),
            ("customer-onboarding", vec!["a".into(), "b".into()])
        );
        let second =
            settings(&jetstream(json!({"streams": [{"name": "orders", "subjects": ["a"]}]}))).unwrap();
        assert_eq!((second.nats_stream.as_str(), second.subjects), ("orders", vec!["a".into()]));
        let core = settings(&json!({"nats": {"configuration": {"url": "x", "subjects": ["s"]}}})).unwrap();
        assert_eq!((core.nats_server.reveal(), core.subjects), ("x", vec!["s".into()]));
    }

    #[test]
    fn of_several_streams_one_must_be_chosen() {
        let two = jetstream(
            json!({"streams": [{"name": "a", "subjects": ["x"]}, {"name": "b", "subjects": ["y"]}]}),
        );
        assert!(problem(&two).contains("a, b: say with NATS_STREAM"), "{}", problem(&two));
        let chosen = Settings { nats_stream: "b".to_owned(), ..Settings::default() };
        assert_eq!(applied_to(chosen, &two.to_string()).unwrap().subjects, ["y"]);
    }

    #[test]
    fn the_login_replaces_our_own_variables_and_never_shows() {
        let own = Settings {
            nats_user: Some("own".to_owned()),
            nats_creds: Some("/own".into()),
            nats_token: Some(Secret::from("own".to_owned())),
            ..Settings::default()
        };
        let login = jetstream(json!({"authorization": {"user": {"user": "u", "password": "pa55"}}}));
        let settings = applied_to(own.clone(), &login.to_string()).unwrap();
        assert_eq!(settings.nats_user.as_deref(), Some("u"));
        assert_eq!(settings.nats_password.as_ref().map(Secret::reveal), Some("pa55"));
        assert!(settings.nats_creds.is_none() && settings.nats_token.is_none());
        assert!(!format!("{settings:?}").contains("pa55"));
        let token = jetstream(json!({"authorization": {"token": "t0ken"}}));
        let settings = applied_to(own, &token.to_string()).unwrap();
        assert_eq!(
            (settings.nats_user, settings.nats_token.as_ref().map(Secret::reveal)),
            (None, Some("t0ken"))
        );
    }

    #[test]
    fn certificates_come_in_base64_or_as_they_are() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        for text in [certificate.to_owned(), BASE64_STANDARD.encode(certificate)] {
            let fields =
                json!({"authorization": {"rootCA": text, "clientCert": {"certPem": text, "keyPem": text}}});
            let pem = settings(&jetstream(fields)).unwrap().pem;
            assert_eq!(pem.authority.as_ref().map(Secret::reveal), Some(certificate));
            assert!(pem.certificate.is_some_and(|(_, key)| key.reveal() == certificate));
        }
        let bad = jetstream(json!({"authorization": {"rootCA": "???"}}));
        assert!(problem(&bad).ends_with("authorization.rootCA is not base64"));
    }

    #[test]
    fn the_manifest_of_the_secret_and_the_mounted_secret_are_read() {
        let text = jetstream(json!({"authorization": {"token": "t"}})).to_string();
        let manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sveltos-nats"},
            "data": {"sveltos-nats": BASE64_STANDARD.encode(&text)}});
        assert!(settings(&manifest).unwrap().nats_token.is_some());
        let plain = format!("apiVersion: v1\nkind: Secret\nstringData:\n  sveltos-nats: |\n    {text}\n");
        assert!(applied_to(Settings::default(), &plain).unwrap().nats_token.is_some());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(KEY), text).unwrap();
        let mounted = Settings { sveltos_nats: Some(folder.path().to_owned()), ..Settings::default() };
        assert!(applied(&mounted).unwrap().nats_token.is_some());
    }

    #[test]
    fn a_mistake_names_the_field_and_never_what_stands_in_it() {
        let of = |value: Value| problem(&value);
        let password =
            of(jetstream(json!({"authorization": {"user": {"user": "u", "password": 5_551_212}}})));
        assert!(
            password.contains("jetstream.configuration.authorization.user.password is not"),
            "{password}"
        );
        let shape = of(jetstream(json!({"authorization": "hunter2"})));
        assert!(shape.contains("configuration.authorization is not"), "{shape}");
        for text in [password, shape, of(json!("hunter2")), of(json!({"kind": "hunter2"}))] {
            assert!(!text.contains("hunter2") && !text.contains("5551212"), "{text}");
        }
        assert!(of(json!({})).contains("neither jetstream nor nats"));
        assert!(of(json!({"jetstream": {"configuration": {}}})).contains("url is not set"));
        let part = |url: &str| json!({"configuration": {"url": url}});
        assert!(of(json!({"nats": part("a"), "jetstream": part("b")})).contains("different servers"));
        let missing = Settings { sveltos_nats: Some("/nowhere/at/all".into()), ..Settings::default() };
        assert!(
            applied(&missing)
                .unwrap_err()
                .to_string()
                .contains("SVELTOS_NATS: /nowhere/at/all: cannot be read")
        );
    }
}
