//! The proxies of the usual variables: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower
//! case. Never for loopback.

use std::net::IpAddr;

use reqwest::{NoProxy, Proxy, Url};

use crate::config::{Described, Environment, Secret, Variables};
use crate::error::{Error, Result};

/// Hosts that are never reached through a proxy.
const LOOPBACK: &str = "localhost,.localhost,127.0.0.0/8,::1";

/// The proxies, each with the name of its variable.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    plain: Option<(&'static str, Secret)>,
    encrypted: Option<(&'static str, Secret)>,
    except: String,
}

impl Variables for Proxies {
    fn settings() -> Vec<Described> {
        vec![
            ("HTTP_PROXY", "the proxy for http:// addresses, never for loopback"),
            ("HTTPS_PROXY", "the proxy for https:// addresses; ALL_PROXY is for both"),
            ("NO_PROXY", "hosts, domains and networks that are called directly"),
        ]
    }

    fn secrets() -> Vec<&'static str> {
        vec!["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    }

    /// Upper case wins.
    fn read(environment: &Environment) -> Result<Self> {
        let one = |names: [&'static str; 4]| -> Result<Option<(&'static str, Secret)>> {
            for name in names {
                if let Some(text) = environment.given(name)? {
                    return Ok(Some((name, address(name, text)?)));
                }
            }
            Ok(None)
        };
        let given = environment.given("NO_PROXY")?.or(environment.given("no_proxy")?).unwrap_or_default();
        let given: Vec<_> = given.split(',').map(entry).collect();
        Ok(Self {
            plain: one(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])?,
            encrypted: one(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?,
            except: format!("{LOOPBACK},{}", given.join(",")),
        })
    }
}

impl Proxies {
    /// In the form that the client needs.
    pub(super) fn for_client(&self) -> Result<Vec<Proxy>> {
        let wrong = |name: &str| Error::configuration(format!("{name} is not the address of a proxy"));
        let mut proxies = Vec::new();
        for (given, make) in [
            (&self.plain, (|url: &str| Proxy::http(url)) as fn(&str) -> reqwest::Result<Proxy>),
            (&self.encrypted, |url: &str| Proxy::https(url)),
        ] {
            if let Some((name, url)) = given {
                // The library's message would show the address, and with it a password.
                let proxy = make(url.expose()).map_err(|_| wrong(name))?;
                proxies.push(proxy.no_proxy(NoProxy::from_string(&self.except)));
            }
        }
        Ok(proxies)
    }

    /// The variable whose proxy is used for this address, for errors.
    pub(super) fn asked_for(&self, url: &Url) -> Option<&'static str> {
        let given = if url.scheme() == "https" { &self.encrypted } else { &self.plain };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let excepted = self.except.split(',').map(|entry| entry.trim_start_matches('.')).any(|entry| {
            match host.parse::<IpAddr>() {
                Ok(host) => is_in(host, entry),
                Err(_) if entry.is_empty() => false,
                Err(_) => entry == "*" || host == entry || host.ends_with(&format!(".{entry}")),
            }
        });
        given.as_ref().map(|(name, _)| *name).filter(|_| !excepted)
    }
}

/// An entry of `NO_PROXY` in the form that the library understands: `*.Vendor.example:80` is `vendor.example`.
fn entry(given: &str) -> String {
    let entry = given.trim();
    if entry == "*" {
        return "*,0.0.0.0/0,::/0".to_owned();
    }
    if entry.is_empty() || entry.contains('/') || entry.parse::<IpAddr>().is_ok() {
        return entry.to_owned();
    }
    let name = entry.strip_prefix('*').unwrap_or(entry).trim_start_matches('.');
    let url = Url::parse(&format!("http://{name}")).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or(name);
    host.trim_matches(['[', ']']).trim_end_matches('.').to_owned()
}

/// Whether the address is this one, or in this network, such as `10.0.0.0/8`.
fn is_in(host: IpAddr, entry: &str) -> bool {
    let (network, length) = entry.split_once('/').unwrap_or((entry, "128"));
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let ((host_bits, _), (network_bits, most)) = (bits(host), bits(network));
    let shift = 128 - length.min(most);
    let upper = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
    host.is_ipv4() == network.is_ipv4() && upper(host_bits) == upper(network_bits)
}

/// Adds the scheme if it is missing. Only proxies that speak HTTP.
fn address(name: &str, text: &str) -> Result<Secret> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = super::address(&text).ok_or_else(|| {
        Error::configuration(format!("{name} is not the address of a proxy, such as http://proxy:3128"))
    })?;
    match url.scheme() {
        "http" | "https" => Ok(Secret::from(text)),
        scheme if scheme.starts_with("socks") => Err(Error::configuration(format!(
            "{name} names a SOCKS proxy; only proxies that speak HTTP are asked: http://proxy:3128"
        ))),
        _ => Err(Error::configuration(format!("{name} is neither an http nor an https address"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Proxies> {
        Proxies::read(&Environment::from_pairs(pairs.iter().copied()))
    }

    fn asked(pairs: &[(&str, &str)], url: &str) -> Option<&'static str> {
        read(pairs).unwrap().asked_for(&Url::parse(url).unwrap())
    }

    #[test]
    fn the_usual_variables_name_the_proxies_and_loopback_is_never_asked_through_one() {
        let both = [("HTTP_PROXY", "proxy:3128"), ("https_proxy", "http://u:p@proxy:3129")];
        assert_eq!(asked(&both, "http://vendor/orders"), Some("HTTP_PROXY"));
        assert_eq!(asked(&both, "https://vendor/orders"), Some("https_proxy"));
        assert_eq!(asked(&[("ALL_PROXY", "proxy:3128")], "https://vendor"), Some("ALL_PROXY"));
        for local in [
            "http://127.0.0.1:1/",
            "http://localhost/",
            "http://x.localhost/",
            "http://[::1]:8080/",
            "http://127.9.9.9/",
        ] {
            assert_eq!(asked(&both, local), None, "{local}");
        }
        assert_eq!(asked(&[], "http://vendor"), None);
        for except in [
            "vendor.corp",
            ".corp",
            "other, corp",
            "*",
            "*.corp",
            "Vendor.CORP",
            "a.b, vendor.corp:80",
            "vendor.corp.",
        ] {
            let pairs = [("HTTP_PROXY", "proxy:3128"), ("NO_PROXY", except)];
            assert_eq!(asked(&pairs, "http://vendor.corp/orders"), None, "{except}");
        }
        for (except, direct) in [
            ("10.0.0.0/8", true),
            ("10.1.2.3:80", true),
            ("10.1.2.3", true),
            ("*", true),
            ("10.2.0.0/16", false),
        ] {
            let pairs = [("HTTP_PROXY", "proxy:3128"), ("NO_PROXY", except)];
            assert_eq!(asked(&pairs, "http://10.1.2.3/").is_none(), direct, "{except}");
        }
        for except in ["[fd00::1]:80", "fd00::1", "fd00::/8"] {
            let pairs = [("HTTP_PROXY", "proxy:3128"), ("NO_PROXY", except)];
            assert_eq!(asked(&pairs, "http://[fd00::1]/"), None, "{except}");
        }
        for except in ["", ",", "endor.corp", "*.other"] {
            let pairs = [("HTTP_PROXY", "proxy:3128"), ("NO_PROXY", except)];
            assert_eq!(asked(&pairs, "http://vendor.corp/"), Some("HTTP_PROXY"), "{except}");
        }
        assert_eq!(read(&both).unwrap().for_client().unwrap().len(), 2);
    }

    #[test]
    fn a_proxy_that_cannot_be_asked_is_a_configuration_error_that_never_shows_it() {
        for (name, text, said) in [
            ("HTTPS_PROXY", "socks5://u:hunter2@proxy:1080", "SOCKS"),
            ("HTTP_PROXY", "ftp://u:hunter2@proxy", "neither an http nor an https address"),
            ("ALL_PROXY", "http://", "is not the address of a proxy"),
            ("HTTP_PROXY", "proxy:0", "is not the address of a proxy"),
        ] {
            let error = read(&[(name, text)]).unwrap_err();
            let text = error.to_string();
            assert!(
                error.class().exit_code() == 78 && text.starts_with(name) && text.contains(said),
                "{text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
