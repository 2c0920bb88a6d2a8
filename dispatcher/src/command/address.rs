//! Addresses to listen on.

use std::net::{Ipv4Addr, SocketAddr};

/// `127.0.0.1:8080`, `[::1]:8080`, and as in most programs `localhost:8080` and `:8080`, which means every address.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let ip = |host: &str| match host {
        "" => Some(Ipv4Addr::UNSPECIFIED),
        "localhost" => Some(Ipv4Addr::LOCALHOST),
        _ => None,
    };
    let known = text.rsplit_once(':').and_then(|(host, port)| Some((ip(host)?, port.parse().ok()?)));
    match known {
        Some((ip, port)) => Ok(SocketAddr::from((ip, port))),
        None => Err(
            "write an IP address and a port, such as 127.0.0.1:8080, [::1]:8080, or 0.0.0.0:8080 for every address".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_most_programs_take_it() {
        for (text, meant) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:80", "[::1]:80"),
            (":8080", "0.0.0.0:8080"),
            ("localhost:0", "127.0.0.1:0"),
            (" 0.0.0.0:1 ", "0.0.0.0:1"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), meant);
        }
        for text in ["", "8080", "localhost", "example.com:80", ":http", "::1:80", ":70000", "127.0.0.1"] {
            assert!(address(text).unwrap_err().contains("0.0.0.0:8080"), "{text}");
        }
    }
}
