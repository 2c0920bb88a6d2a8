//! Each image contains only its program, and describes itself.

use std::fs;

use serde_json::{Value, json};
use shared::event::steps;

use tests::engine::{build_images, command, docker, revision, root, run};

/// All programs with the names of their images; those of the steps are in the ConfigMaps.
fn images() -> Vec<(&'static str, String)> {
    let manifests = rules::manifest::load(&root().join("events")).expect("the manifests of the flow");
    let maps = manifests.config_maps.iter().flat_map(|map| &map.entries);
    let named: Vec<&str> =
        maps.filter_map(|entry| entry.text.split("image: ").nth(1)?.split_whitespace().next()).collect();
    let image = |step| {
        let suffix = format!("{step}:latest");
        let of_step = named.iter().find(|image| image.ends_with(&suffix));
        (step, of_step.unwrap_or_else(|| panic!("no image of {step}")).to_string())
    };
    steps().map(image).chain([("dispatcher", "knapscen/dispatcher:latest".to_owned())]).collect()
}

const MEGABYTE: u64 = 1_000_000;

fn inspect(image: &str) -> Value {
    serde_json::from_str(&docker(&["image", "inspect", "--format", "{{json .}}", image])).expect("JSON")
}

/// The paths of all files in an image.
fn files(image: &str) -> Vec<String> {
    let container = docker(&["create", "--label", "disco.knapscen.test", image]);
    let listed = run(command("sh", &["-c", "docker export \"$0\" | tar -t", &container]));
    docker(&["rm", &container]);
    // The engine adds mount points, and empty folders for them.
    let of_engine = [
        "dev/",
        "etc/",
        "proc/",
        "sys/",
        "etc/hostname",
        "etc/hosts",
        "etc/resolv.conf",
        "etc/mtab",
        ".dockerenv",
    ];
    let listed = listed.lines().map(str::to_owned);
    listed.filter(|path| !of_engine.contains(&path.as_str()) && !path.starts_with("dev/")).collect()
}

#[test]
fn every_image_holds_one_program_runs_as_nobody_and_says_what_it_is() {
    build_images();
    for (program, image) in images() {
        let found = inspect(&image);
        let config = &found["Config"];
        assert_eq!(config["User"], "65532:65532", "{image}");
        assert_eq!(config["Entrypoint"], json!([format!("/{program}")]), "{image}");
        for label in ["title", "description", "source", "revision", "version", "licenses"] {
            let label = format!("org.opencontainers.image.{label}");
            assert!(
                config["Labels"][&label].as_str().is_some_and(|text| !text.is_empty()),
                "{image}: {label}"
            );
        }
        assert_eq!(config["Labels"]["org.opencontainers.image.title"], program);
        assert_eq!(config["Labels"]["org.opencontainers.image.revision"], revision());
        let health = &config["Healthcheck"]["Test"];
        let mut expected = vec![program, "etc/ssl/", "etc/ssl/certs/", "etc/ssl/certs/ca-certificates.crt"];
        if program == "dispatcher" {
            assert_eq!(*health, json!(["CMD", "/dispatcher", "healthcheck"]));
            expected.push("dispatcher-state/");
        } else {
            assert_eq!(*health, Value::Null, "{image}");
        }
        let mut held = files(&image);
        held.sort_unstable();
        expected.sort_unstable();
        assert_eq!(held, expected, "{image}");
    }
}

#[test]
fn a_worker_is_at_most_5_megabytes_and_all_images_together_45() {
    build_images();
    let names = images();
    let images: Vec<_> = names.iter().map(|(_, image)| inspect(image)).collect();
    let sizes: Vec<_> = images.iter().map(|image| image["Size"].as_u64().expect("a size")).collect();
    // The layer with the certificates exists once.
    let first_layer = |image: &Value| image["RootFS"]["Layers"][0].clone();
    assert!(images.iter().all(|image| first_layer(image) == first_layer(&images[0])), "no common layer");
    let layers = docker(&["history", "--human=false", "--format", "{{.Size}}", &names[0].1]);
    let layers: Vec<u64> = layers.lines().map(|size| size.parse().expect("a size")).collect();
    let common = layers.iter().rfind(|size| **size > 0).expect("a layer");
    let total = sizes.iter().sum::<u64>() - common * (sizes.len() as u64 - 1);
    let large =
        names.iter().zip(&sizes).any(|((program, _), size)| *program != "dispatcher" && *size > 5 * MEGABYTE);
    assert!(!large && total <= 45 * MEGABYTE, "{total} in all: {sizes:?}");
}

#[test]
fn every_program_says_what_it_reads_in_a_read_only_container_without_rights_or_network() {
    build_images();
    for (program, image) in images() {
        let help = docker(&[
            "run",
            "--rm",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--network",
            "none",
            &image,
            "--help",
        ]);
        assert!(help.contains(program), "{help}");
    }
}

#[test]
fn the_variables_that_the_readme_names_are_those_of_the_programs() {
    build_images();
    let readme = fs::read_to_string(root().join("docker/README.md")).expect("the README");
    for (_, image) in images() {
        let name = image.trim_end_matches(":latest");
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("no row of {name}"));
        let is_variable = |word: &&str| word.contains('_') && word.to_uppercase() == **word;
        let named: Vec<_> = row.split('`').filter(is_variable).collect();
        let help: &[&str] = if name.ends_with("dispatcher") { &["run", "--help"] } else { &["--help"] };
        let help = docker(&[&["run", "--rm", "--network", "none", &image], help].concat());
        assert!(!named.is_empty(), "{row}");
        assert!(named.iter().all(|variable| help.contains(variable)), "{named:?}\n{help}");
    }
}

#[test]
fn every_program_carries_the_list_of_its_crates() {
    build_images();
    // As scanners do it: the inflated section is JSON.
    let read = r#"cd "$(mktemp -d)"; trap 'rm -r "$PWD"' EXIT; docker cp "$0:$1" program
        objcopy --dump-section .dep-v0=crates program /dev/null
        python3 -c 'import sys, zlib; sys.stdout.buffer.write(zlib.decompress(open("crates", "rb").read()))'"#;
    for (program, image) in images() {
        let container = docker(&["create", "--label", "disco.knapscen.test", &image]);
        let crates = run(command("bash", &["-euc", read, &container, &format!("/{program}")]));
        docker(&["rm", &container]);
        let crates: Value = serde_json::from_str(&crates).expect("JSON");
        let names: Vec<_> =
            crates["packages"].as_array().into_iter().flatten().map(|one| &one["name"]).collect();
        for expected in ["tokio", "rustls", program] {
            assert!(
                names.iter().any(|name| **name == expected),
                "{image}: {expected} is not among {names:?}"
            );
        }
    }
}
