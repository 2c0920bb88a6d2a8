//! The fuzz targets compile, and take what they begin with. Here they are modules, and `libfuzzer_sys` is this file: libFuzzer itself
//! needs a second build of everything.

#![expect(clippy::expect_used, clippy::panic, reason = "a fuzz target says what it found by a panic")]
#![expect(
    clippy::default_trait_access,
    reason = "the type of the metrics has no name outside the dispatcher"
)]

extern crate self as libfuzzer_sys;

/// Modules of the targets, and each with its name.
macro_rules! targets {
    ($($name:ident in $path:literal),*) => {
        $(#[path = $path] #[expect(unused_attributes, reason = "a target has no main function of its own")] mod $name;)*

        #[cfg(test)]
        const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::take)),*];
    };
}

targets!(
    http_head in "../fuzz/fuzz_targets/http_head.rs",
    rendering in "../fuzz/fuzz_targets/rendering.rs",
    secret_file in "../fuzz/fuzz_targets/secret_file.rs",
    template in "../fuzz/fuzz_targets/template.rs"
);

/// Makes of a target a function that takes its bytes.
#[macro_export]
macro_rules! fuzz_target {
    (|$data:ident: &[u8]| $body:block) => {
        pub(crate) fn take($data: &[u8]) $body
    };
}

#[cfg(test)]
mod fuzz {
    use std::fs;
    use std::path::Path;

    use super::TARGETS;

    /// What no word of the dictionary is: whole inputs.
    const INPUTS: &[&str] = &[
        "",
        "\0\u{feff}text",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer guess\r\nContent-Length: 2\r\n\r\n{}",
        "POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "KEY=value\n# kind\nexport OTHER='quoted'\n",
        "kind: Secret\nmetadata: {name: a}\ndata: {KEY: dmFsdWU=}\n",
        "{{ range .CloudEvent.data.names }}{{ . | quote }}{{ end }}",
    ];

    fn folder() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
    }

    /// The bytes of a line of the dictionary.
    fn word(line: &str) -> Option<Vec<u8>> {
        let mut rest = line.strip_prefix('"')?.strip_suffix('"')?;
        let mut bytes = Vec::new();
        while let Some(letter) = rest.chars().next() {
            let hex = rest.strip_prefix("\\x").and_then(|hex| hex.get(..2));
            bytes.extend(
                hex.map_or(letter.to_string().into_bytes(), |hex| vec![u8::from_str_radix(hex, 16).unwrap()]),
            );
            rest = &rest[hex.map_or(letter.len_utf8(), |_| 4)..];
        }
        Some(bytes)
    }

    #[test]
    fn every_target_takes_whole_inputs_and_the_words_of_the_dictionary() {
        let words = fs::read_to_string(folder().join("words.dict")).unwrap();
        let words: Vec<_> = words.lines().filter_map(word).collect();
        assert!(words.len() > 50, "{words:?}");
        let inputs: Vec<_> = INPUTS.iter().map(|text| text.as_bytes().to_vec()).chain(words).collect();
        for (_, take) in TARGETS {
            for input in &inputs {
                // The first byte chooses in some targets.
                take(input);
                take(&[&[7], input.as_slice()].concat());
            }
        }
    }

    #[test]
    fn every_target_is_built_and_run_each_week() {
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let files = fs::read_dir(folder().join("fuzz_targets")).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        let manifest = read(&folder().join("Cargo.toml"));
        for name in &names {
            assert!(manifest.contains(&format!("name = {name:?}\n")), "{name}");
        }
        let weekly = read(&folder().join("../../.github/workflows/weekly.yaml"));
        assert!(weekly.contains(&format!("target: [{}]\n", names.join(", "))), "{names:?}");
    }
}
