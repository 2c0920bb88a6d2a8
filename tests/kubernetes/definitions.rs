//! EventSources and EventTriggers as kinds of a cluster, applied with `kubectl` like a person does.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The shipped definitions; removed on drop, with every object of their kinds.
pub(crate) struct Definitions(());

impl Definitions {
    /// `None` if the kinds already exist, because then they and their objects belong to somebody.
    pub(crate) fn apply() -> Option<Self> {
        let kinds = ["eventsources", "eventtriggers"].map(|kind| format!("crd/{kind}.lib.projectsveltos.io"));
        if kinds.iter().any(|kind| kubectl(&["get", kind]).is_ok()) {
            return None;
        }
        let definitions = Self(());
        run(&["apply", "-k", &path("dispatcher/deploy/crds")]);
        run(&["wait", "--for=condition=Established", "--timeout=60s", &kinds[0], &kinds[1]]);
        Some(definitions)
    }
}

impl Drop for Definitions {
    fn drop(&mut self) {
        drop(kubectl(&["delete", "--ignore-not-found", "-k", &path("dispatcher/deploy/crds")]));
    }
}

/// Applies the shipped folder and shows its objects.
pub(crate) fn take_the_shipped_events() {
    run(&["apply", "-R", "-f", &path("events")]);
    let mut folders: Vec<_> = std::fs::read_dir(path("events"))
        .expect("events")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    for kind in ["eventsources", "eventtriggers"] {
        let shown = run(&["get", kind, "--no-headers"]);
        let mut names: Vec<_> = shown
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(|name| name.trim_end_matches("-trigger"))
            .collect();
        names.sort_unstable();
        assert_eq!(names, folders, "{kind}");
    }
    run(&["delete", "-R", "-f", &path("events")]);
}

/// Removes all objects of these kinds. Only if this test has created the kinds.
pub(crate) fn clear() {
    run(&["delete", "eventsources,eventtriggers", "--all"]);
}

fn path(of_repository: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of_repository);
    path.display().to_string()
}

fn run(arguments: &[&str]) -> String {
    kubectl(arguments).unwrap_or_else(|said| panic!("kubectl {arguments:?}: {said}"))
}

/// The output or the error of `kubectl` on the cluster that KUBECONFIG names.
fn kubectl(arguments: &[&str]) -> Result<String, String> {
    let done = Command::new("kubectl").args(arguments).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}
