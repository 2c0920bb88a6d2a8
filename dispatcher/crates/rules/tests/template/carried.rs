//! Sends every hostile text, and thousands of generated ones, through every careless template.

use gotemplate::Template;
use rules::plan::IncomingEvent;
use serde_json::json;

use super::careless::{Careless, HOSTILE, all};
use super::random::Random;

fn failures<'a>(pairs: impl Iterator<Item = (&'a Careless, String)>) -> Vec<String> {
    let failed = pairs.filter_map(|(one, text)| {
        let problem = one.check(&text).err()?;
        let shown: String = text.chars().take(100).collect();
        Some(format!("{shown:?} in\n{}\n{problem}", one.name))
    });
    failed.take(5).collect()
}

#[test]
fn every_hostile_text_arrives_exactly_through_every_careless_template() {
    let all = all();
    let pairs = all.iter().flat_map(|one| HOSTILE.iter().map(move |text| (one, (*text).to_owned())));
    assert_eq!(failures(pairs), Vec::<String>::new());
    // An event with more does not come this far. The longest texts stand in several places, and a template may copy too much of them.
    let long = ["\"\n---\n".repeat(9_000), "😀".repeat(15_000), "x".repeat(128 << 10), "\"\\x".repeat(1_600)];
    let pairs = all.iter().step_by(7).flat_map(|one| long.iter().map(move |text| (one, text.clone())));
    assert_eq!(failures(pairs), Vec::<String>::new());
}

/// `FUZZ_ROUNDS` and `FUZZ_SEED` make it longer and change the texts.
#[test]
fn made_texts_arrive_exactly_through_every_careless_template() {
    let number =
        |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let all = all();
    let mut random = Random(number("FUZZ_SEED", 0x005e_ed0f_5ca1_ab1e).max(1));
    let pairs = (0..number("FUZZ_ROUNDS", 1_500)).map(|_| {
        let one = &all[random.below(all.len())];
        (one, random.text())
    });
    assert_eq!(failures(pairs), Vec::<String>::new());
}

#[test]
fn bytes_that_are_no_text_stay_base64_and_decoding_them_harms_nothing() {
    let event = json!({"specversion": "1.0", "id": "i", "source": "s", "type": "t", "datacontenttype": "image/png",
        "data_base64": "/wD+gA=="});
    let event = IncomingEvent::parse("s", &[], event.to_string().as_bytes()).unwrap();
    let context = json!({"CloudEvent": event.view()});
    let render = |source: &str| Template::parse("t", source).unwrap().render_documents(&context);
    assert_eq!(render("a: {{ .CloudEvent.data_base64 }}").unwrap(), [json!({"a": "/wD+gA=="})]);
    let decoded = render("a: {{ .CloudEvent.data_base64 | b64dec }}\nb: 1");
    assert!(decoded.is_err() || decoded.unwrap()[0]["b"] == 1);
}
