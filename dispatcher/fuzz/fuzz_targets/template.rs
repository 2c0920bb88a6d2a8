//! Any template over a hostile event: it parses and renders, or says why not, and never quotes the event.
#![no_main]

use gotemplate::Template;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const SECRET: &str = "s3cr3t: \"{{ .x }}\"\n---\n";

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let event = json!({"CloudEvent": {"subject": SECRET, "data": {"name": SECRET, "names": [SECRET, "b"], "map": {SECRET: SECRET}, "n": 3}}});
    // A template may itself contain the text that no error may show.
    if source.contains("s3cr3t") {
        return;
    }
    match Template::parse("fuzz", source) {
        Err(error) => assert!(!error.to_string().contains("s3cr3t")),
        Ok(template) => {
            for error in [template.render_text(&event).err(), template.render_documents(&event).err()]
                .into_iter()
                .flatten()
            {
                assert!(!error.to_string().contains("s3cr3t"), "{source:?}: {error}");
            }
        }
    }
});
