//! What the compose files define, without starting anything.

use std::fs;

use serde_json::Value;

use tests::engine::{build_images, docker, root};

const FILES: [&str; 3] = ["docker/compose.yaml", "docker/compose.cluster.yaml", "docker/compose.proxy.yaml"];

/// The services of a file, as Compose reads it.
fn services(file: &str) -> Vec<(String, Value)> {
    build_images();
    let read = docker(&["compose", "--file", file, "config", "--format", "json"]);
    let read: Value = serde_json::from_str(&read).expect("JSON");
    let services = read["services"].as_object().expect("services");
    services.iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a file")
}

#[test]
fn no_port_is_open_beyond_this_machine() {
    for file in FILES {
        let ports = services(file).into_iter().flat_map(|(name, service)| {
            assert_ne!(service["network_mode"], "host", "{file}: {name}");
            service["ports"].as_array().cloned().unwrap_or_default()
        });
        let ports: Vec<_> = ports.collect();
        assert!(ports.len() >= 4, "{file}: {ports:?}");
        assert!(ports.iter().all(|port| port["host_ip"] == "127.0.0.1"), "{file}: {ports:?}");
    }
}

#[test]
fn no_password_is_in_a_committed_file() {
    for file in FILES {
        for (name, service) in services(file) {
            let variables = service["environment"].as_object().cloned().unwrap_or_default();
            for (variable, value) in variables {
                let is_secret = ["PASS", "TOKEN", "KEY"].iter().any(|word| variable.contains(word));
                let is_told_elsewhere = variable.ends_with("_FILE") || value == "yes";
                assert!(!is_secret || is_told_elsewhere, "{file}: {name}: {variable}");
            }
        }
    }
    for file in ["docker/nats.conf", "docker/nats-cluster.conf"] {
        assert!(!text(file).contains("password"), "{file}");
    }
}

#[test]
fn the_compilers_image_is_the_same_everywhere() {
    let pinned = |path: &str, before: &str| {
        let text = text(path);
        let found = text.lines().find_map(|line| line.strip_prefix(before)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("{path} does not say {before}"))
    };
    let image = pinned("docker/images.env", "RUST_IMAGE=");
    assert_eq!(pinned("docker/Dockerfile", "ARG RUST_IMAGE="), image);
    let built: Vec<_> = services("docker/compose.yaml")
        .into_iter()
        .filter(|(_, service)| service["build"].is_object())
        .map(|(_, service)| service["build"]["args"]["RUST_IMAGE"].clone())
        .collect();
    assert!(built.len() >= 8 && built.iter().all(|built| *built == image), "{built:?}");
}

#[test]
fn behind_the_proxy_the_dispatcher_has_no_socket_and_is_not_root() {
    let services = services("docker/compose.proxy.yaml");
    let service = |name: &str| &services.iter().find(|(known, _)| known == name).expect("a service").1;
    let (dispatcher, proxy) = (service("dispatcher"), service("socket-proxy"));
    assert_eq!(dispatcher["user"], "65532:65532");
    assert!(!dispatcher["volumes"].to_string().contains("docker.sock"), "{dispatcher}");
    // No other service is on the proxy's network.
    let on_it = services.iter().filter(|(_, service)| service["networks"].get("socket").is_some());
    assert_eq!(on_it.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["dispatcher", "socket-proxy"]);
    assert!(proxy["networks"].get("default").is_none() && proxy["ports"].is_null(), "{proxy}");
}
