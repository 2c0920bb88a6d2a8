//! The Secret `sveltos-nats`, which tells Sveltos where NATS is. It is read in place of our own variables.
//!
//! Reads one file: the JSON itself, the mounted Secret (a folder with the key `sveltos-nats`), or the manifest of the
//! Secret. It reads all layouts of the JSON. Under `jetstream` are `streams`, each with subjects, or a list
//! `subjects` whose entries are names of streams. Under `nats` is a list `subjects` of subjects, which our own stream
//! keeps, because here every subject is in a stream.

use std::borrow::Cow;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;
use serde_json::Value;
use shared::config::shown;

use crate::settings::{Named, Pem, Secret};
use crate::{Error, Result, Settings};

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

/// The settings, with servers, login, TLS, stream and subjects from the file. Without a file they stay as they are.
pub(super) fn applied(settings: &Settings) -> Result<Cow<'_, Settings>> {
    let Some(path) = settings.sveltos_nats.as_deref().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(Cow::Borrowed(settings));
    };
    let fail = |message: String| Error::Configuration(format!("SVELTOS_NATS: {}: {message}", shown(path)));
    let messaging = parse(&read(path).map_err(fail)?).map_err(fail)?;
    apply(messaging, settings).map(Cow::Owned).map_err(fail)
}

fn apply(messaging: Messaging, settings: &Settings) -> std::result::Result<Settings, String> {
    let Messaging { jetstream, nats } = messaging;
    let (jetstream, nats) = (jetstream.map(|part| part.configuration), nats.map(|part| part.configuration));
    if let (Some(one), Some(other)) = (&jetstream, &nats)
        && one.url != other.url
    {
        return Err("nats and jetstream name different servers, and only one can be read".to_owned());
    }
    let named = streams(jetstream.as_ref())?;
    let subjects = nats.as_ref().and_then(|part| part.subjects.clone()).unwrap_or_default();
    let (part, name) = match (jetstream, nats) {
        (Some(part), _) => (part, "jetstream"),
        (None, Some(part)) => (part, "nats"),
        (None, None) => return Err("has neither jetstream nor nats".to_owned()),
    };
    let Configuration { url, authorization, .. } = part;
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
    let is_own = |stream: &&Named| stream.name == settings.nats_stream;
    let home = named.iter().find(is_own).or_else(|| named.first()).map(|stream| stream.name.clone());
    let (nats_user, nats_password) = user.map(|user| (user.user, user.password)).unzip();
    Ok(Settings {
        nats_server: Secret::from(url),
        nats_stream: home.unwrap_or_else(|| settings.nats_stream.clone()),
        nats_user,
        nats_password,
        nats_token: token,
        nats_creds: None,
        nats_cert: None,
        nats_key: None,
        nats_ca: None,
        pem: Pem { authority, certificate },
        subjects,
        named,
        ..settings.clone()
    })
}

/// The streams that the part `jetstream` names, without repeats.
fn streams(jetstream: Option<&Configuration>) -> std::result::Result<Vec<Named>, String> {
    let Some(part) = jetstream else { return Ok(Vec::new()) };
    let listed = part.streams.iter().flatten().map(|stream| Named {
        name: stream.name.clone(),
        subjects: stream.subjects.clone().unwrap_or_default(),
    });
    let names = part.subjects.iter().flatten();
    let names = names.map(|name| Named { name: name.clone(), subjects: Vec::new() });
    let mut all: Vec<Named> = Vec::new();
    for stream in listed.chain(names) {
        if stream.name.trim().is_empty() {
            return Err("names a stream without a name".to_owned());
        }
        match all.iter_mut().find(|known| known.name == stream.name) {
            Some(known) => known.subjects.extend(stream.subjects),
            None => all.push(stream),
        }
    }
    Ok(all)
}

/// A certificate or key: in base64, as Go writes bytes, or as plain PEM, which people write.
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

/// Errors name the field and never quote its value, because half of the file is secret.
fn parse(text: &str) -> std::result::Result<Messaging, String> {
    let value: Value = serde_saphyr::from_str_with_options(text, kyaml::options())
        .map_err(|_| "is neither JSON nor the manifest of a Secret".to_owned())?;
    let value = if value.get("kind").is_some() { unwrapped(&value)? } else { value };
    let mut track = serde_path_to_error::Track::new();
    Messaging::deserialize(serde_path_to_error::Deserializer::new(value, &mut track))
        .map_err(|_| format!("{} is not what Sveltos reads there", track.path()))
}

/// The value under the Secret's key in its manifest.
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
    fn every_layout_gives_server_streams_and_subjects() {
        let names = |settings: &Settings| -> Vec<String> {
            settings
                .named
                .iter()
                .map(|stream| format!("{}: {}", stream.name, stream.subjects.join(" ")))
                .collect()
        };
        let first = settings(&jetstream(json!({"subjects": ["a", "b"]}))).unwrap();
        assert_eq!(first.nats_server.reveal(), "nats://nats.example:4222");
        assert_eq!((first.nats_stream.as_str(), names(&first)), ("a", vec!["a: ".into(), "b: ".into()]));
        assert!(first.subjects.is_empty(), "they are names of streams");
        let second =
            settings(&jetstream(json!({"streams": [{"name": "orders", "subjects": ["a"]}]}))).unwrap();
        assert_eq!((second.nats_stream.as_str(), names(&second)), ("orders", vec!["orders: a".into()]));
        let core = settings(&json!({"nats": {"configuration": {"url": "x", "subjects": ["s"]}}})).unwrap();
        assert_eq!((core.nats_server.reveal(), core.subjects.as_slice()), ("x", &["s".to_owned()][..]));
        assert_eq!((core.nats_stream.as_str(), core.named.len()), (shared::nats::DEFAULT_STREAM, 0));
    }

    #[test]
    fn of_several_streams_that_of_nats_stream_has_the_dead_letters_else_the_first() {
        let two = jetstream(
            json!({"streams": [{"name": "a", "subjects": ["x"]}, {"name": "b", "subjects": ["y"]}]}),
        );
        assert_eq!(settings(&two).unwrap().nats_stream, "a");
        let chosen = Settings { nats_stream: "b".to_owned(), ..Settings::default() };
        let chosen = applied_to(chosen, &two.to_string()).unwrap();
        assert_eq!((chosen.nats_stream.as_str(), chosen.named.len()), ("b", 2));
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
