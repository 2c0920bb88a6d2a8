//! `dispatcher healthcheck`: exits with 0 if a dispatcher answers. For images without a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use shared::config::{FromText, Host};
use shared::error::{Error, Result};

/// Ask a running dispatcher whether it is alive
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Address to ask [default: /healthz where the dispatcher listens]
    #[arg(long, env = "HEALTHCHECK_URL")]
    url: Option<String>,
    /// Where the dispatcher listens
    #[arg(long, env = "DISPATCHER_LISTEN", default_value = "127.0.0.1:8080", value_parser = super::address::address)]
    listen: SocketAddr,
}

impl Arguments {
    fn url(&self) -> Result<reqwest::Url> {
        let mut address = self.listen;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let url = self.url.clone().unwrap_or_else(|| format!("http://{address}/healthz"));
        super::publish::http_address("--url", &url)
    }
}

pub(super) async fn execute(arguments: Arguments) -> Result<ExitCode> {
    let client = super::publish::http_client(Duration::from_secs(3))?;
    let url = arguments.url()?;
    let host = Host::from_text(url.host_str().unwrap_or_default());
    let host = host.map_or_else(|_| "the dispatcher".to_owned(), |host| host.to_string());
    let failed = |error: reqwest::Error| {
        Error::unavailable(format!("{host} does not answer")).because(error.without_url())
    };
    let answer = client.get(url).send().await.map_err(failed)?;
    answer.error_for_status().map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_where_the_dispatcher_listens_unless_one_is_given() {
        let asked = |url: Option<&str>, listen: &str| {
            Arguments { url: url.map(str::to_owned), listen: listen.parse().unwrap() }
                .url()
                .unwrap()
                .to_string()
        };
        assert_eq!(asked(None, "0.0.0.0:9999"), "http://127.0.0.1:9999/healthz");
        assert_eq!(asked(None, "[::]:8080"), "http://[::1]:8080/healthz");
        assert_eq!(asked(None, "10.1.2.3:80"), "http://10.1.2.3/healthz");
        assert_eq!(asked(Some("http://partner:9000/healthz"), "0.0.0.0:80"), "http://partner:9000/healthz");
    }
}
