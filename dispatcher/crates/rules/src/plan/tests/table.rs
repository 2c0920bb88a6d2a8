//! `SVELTOS.md`: every row names tests, and every test that it names exists.

use std::collections::BTreeSet;
use std::path::Path;

use super::fs;

/// The names of all test functions, and of the tests that tables of tests name.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                let name =
                    line.split_once("fn ").map(|(_, rest)| rest.split(['(', '<']).next().unwrap_or_default());
                if let Some(name) = name {
                    if is_test {
                        found.insert(name.to_owned());
                    }
                    is_test = false;
                }
                // The behaviours that both buses share are in a list.
                if let Some((_, name)) = line.split_once("::").filter(|_| line.ends_with(',')) {
                    found.insert(name.trim_end_matches(',').to_owned());
                }
            }
        }
    }
}

#[test]
fn every_row_of_the_sveltos_table_names_tests_that_exist() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut tests = BTreeSet::new();
    for folder in ["src", "crates", "../tests"] {
        tests_below(&here.join(folder), &mut tests);
    }
    let text = fs::read_to_string(here.join("SVELTOS.md")).unwrap();
    let rows: Vec<_> =
        text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Sveltos |")).collect();
    for row in &rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let named: Vec<_> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            assert!(tests.contains(name), "there is no test {name}: {row}");
        }
    }
    assert!(rows.len() >= 50, "{}", rows.len());
}
