//! The structure of the program: which crate may use which, and no circular imports.

#[cfg(test)]
mod structure {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use serde_json::Value;

    /// Each crate of the dispatcher, and which of the others it may use.
    const MAY_USE: [(&str, &[&str]); 9] = [
        ("job", &[]),
        ("kyaml", &[]),
        ("gotemplate", &["kyaml"]),
        ("rules", &["gotemplate", "job", "kyaml"]),
        ("bus", &["job", "kyaml"]),
        ("backend", &["job", "kyaml", "rules"]),
        ("history", &["job"]),
        ("telemetry", &["job"]),
        ("dispatcher", &["backend", "bus", "history", "job", "kyaml", "rules", "telemetry"]),
    ];

    /// The modules of the application, lowest first: each imports only from those before it.
    const LAYERS: [&str; 15] = [
        "size",
        "logging",
        "paint",
        "explanation",
        "onboarding",
        "manifest_source",
        "observer",
        "dead_letter_action",
        "step_counts",
        "republish",
        "engine",
        "server",
        "command",
        "lib",
        "main",
    ];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn cargo(arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn crates_use_only_those_below_them() {
        let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]);
        let metadata: Value = serde_json::from_str(&metadata).unwrap();
        for (name, allowed) in MAY_USE {
            let package = metadata["packages"].as_array().unwrap().iter().find(|one| one["name"] == name);
            let dependencies =
                package.unwrap_or_else(|| panic!("there is no crate {name}"))["dependencies"].as_array();
            for one in dependencies.unwrap().iter().filter(|one| one["kind"].is_null()) {
                let used = one["name"].as_str().unwrap();
                let is_ours = MAY_USE.iter().any(|(other, _)| *other == used);
                assert!(!is_ours || allowed.contains(&used), "{name} uses {used}");
            }
        }
    }

    #[test]
    fn the_bus_knows_no_command_line_no_web_and_no_cluster_and_the_rules_no_runtime() {
        for (name, forbidden) in [
            ("bus", ["clap", "axum", "kube"].as_slice()),
            ("rules", ["tokio", "clap", "axum", "kube", "sqlx", "async-nats"].as_slice()),
            ("gotemplate", ["tokio", "shared"].as_slice()),
            ("job", ["tokio", "shared"].as_slice()),
        ] {
            let tree =
                cargo(&["tree", "--offline", "--package", name, "--edges", "normal", "--prefix", "none"]);
            for line in tree.lines() {
                let used = line.split(' ').next().unwrap_or_default();
                assert!(!forbidden.contains(&used), "{name} needs {used}");
            }
        }
    }

    /// The product code of every module below a folder of sources, by its path in the crate.
    fn modules(folder: &Path) -> BTreeMap<Vec<String>, String> {
        fn walk(folder: &Path, at: &[String], found: &mut BTreeMap<Vec<String>, String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                if name == "tests" {
                    continue;
                }
                let inner = [at, std::slice::from_ref(&name)].concat();
                if path.is_dir() {
                    walk(&path, &inner, found);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                    let lines = product.lines().map(|line| line.split("//").next().unwrap_or_default());
                    let is_root = at.is_empty() && name == "lib";
                    found.insert(
                        if is_root { Vec::new() } else { inner },
                        lines.collect::<Vec<_>>().join("\n"),
                    );
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(folder, &[], &mut found);
        found
    }

    /// Every path in the text that begins with `crate`, `super` or `self`, with groups resolved.
    fn paths(text: &str) -> Vec<String> {
        fn expand(before: &str, text: &str, found: &mut Vec<String>) {
            let Some((head, rest)) = text.split_once('{') else {
                found.push(format!("{before}{}", text.trim()));
                return;
            };
            let before = format!("{before}{}", head.trim());
            let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
            let (mut depth, mut start) = (0, 0);
            for (index, c) in inner.char_indices().chain([(inner.len(), ',')]) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        expand(&before, &inner[start..index], found);
                        start = (index + 1).min(inner.len());
                    }
                    _ => {}
                }
            }
        }
        let mut found = Vec::new();
        let mut rest = String::new();
        for statement in text.split(';') {
            let line = statement.rfind("use ").filter(|at| !statement[*at..].contains("fn "));
            match line {
                Some(at) => expand("", &statement[at + 4..], &mut found),
                None => rest.push_str(statement),
            }
        }
        for start in ["crate::", "super::", "self::"] {
            for (at, _) in rest.match_indices(start) {
                let path =
                    rest[at..].split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':'))).next();
                found.push(path.unwrap_or_default().to_owned());
            }
        }
        found
    }

    /// Which module imports from which inside one crate.
    fn imports(modules: &BTreeMap<Vec<String>, String>) -> BTreeSet<(Vec<String>, Vec<String>)> {
        let mut found = BTreeSet::new();
        for (module, text) in modules {
            for path in paths(text) {
                let mut names = path.split("::").map(str::trim).peekable();
                let mut at = match names.peek() {
                    Some(&"crate") => Vec::new(),
                    Some(&("super" | "self")) => module.clone(),
                    _ => continue,
                };
                while let Some(name) = names.next_if(|name| matches!(*name, "crate" | "super" | "self")) {
                    if name == "super" {
                        at.pop();
                    }
                }
                for name in names {
                    at.push(name.to_owned());
                    if !modules.contains_key(&at) {
                        at.pop();
                        break;
                    }
                }
                if at != *module {
                    found.insert((module.clone(), at));
                }
            }
        }
        found
    }

    /// The two sibling modules that an import connects: those below the folder that both share.
    fn neighbours(from: &[String], to: &[String]) -> Option<(Vec<String>, String, String)> {
        let shared = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        Some((from[..shared].to_vec(), from.get(shared)?.clone(), to.get(shared)?.clone()))
    }

    #[test]
    fn no_neighbours_import_from_each_other_in_a_circle() {
        let crates = MAY_USE.iter().filter(|(name, _)| *name != "dispatcher");
        let sources = crates.map(|(name, _)| root().join("dispatcher/crates").join(name).join("src"));
        for folder in sources.chain([root().join("dispatcher/src")]) {
            let mut arrows: BTreeMap<Vec<String>, BTreeSet<(String, String)>> = BTreeMap::new();
            for (from, to) in imports(&modules(&folder)) {
                if let Some((place, from, to)) = neighbours(&from, &to) {
                    arrows.entry(place).or_default().insert((from, to));
                }
            }
            for (place, mut arrows) in arrows {
                // Modules that import from none of the rest cannot be part of a circle.
                loop {
                    let importing: BTreeSet<_> = arrows.iter().map(|(from, _)| from.clone()).collect();
                    let before = arrows.len();
                    arrows.retain(|(_, to)| importing.contains(to));
                    if arrows.len() == before {
                        break;
                    }
                }
                assert!(
                    arrows.is_empty(),
                    "{} {}: a circle in {arrows:?}",
                    folder.display(),
                    place.join("::")
                );
            }
        }
    }

    #[test]
    fn modules_of_the_application_import_only_from_those_below_them() {
        let height = |name: &str| LAYERS.iter().position(|layer| *layer == name);
        for (from, to) in imports(&modules(&root().join("dispatcher/src"))) {
            let (Some(from), Some(to)) = (from.first(), to.first()) else { continue };
            let (above, below) = (height(from), height(to));
            assert!(above.is_some() && below.is_some(), "name {from} and {to} in the list of layers");
            assert!(below <= above, "{from} imports from {to}, which lies above it");
        }
    }
}
