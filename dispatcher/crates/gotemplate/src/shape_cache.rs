//! The last text that a template rendered with tokens, and the documents in it.
//!
//! With tokens in place of its texts, one event renders like the next, so the YAML need not be parsed again. For
//! this, the tokens of one rendering are used in the next one. They never leave a rendering, and guessing one would
//! not help a sender: a text of the event is replaced once and not searched again.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value as Json;

use super::Names;
use super::placeholder::Tokens;

/// Longer texts are parsed each time.
const KEPT: usize = 64 << 10;

/// A rendered text and what is in it.
#[derive(Debug)]
pub(super) struct Skeleton {
    nonce: String,
    text: String,
    /// With the result of the check of their names, if no name comes from the event: such a name would differ the
    /// next time.
    documents: Vec<(Json, Option<Names>)>,
}

/// The last skeleton of a template.
#[derive(Debug, Default)]
pub(super) struct Last(Mutex<Option<Arc<Skeleton>>>);

impl Last {
    pub(super) fn get(&self) -> Option<Arc<Skeleton>> {
        self.0.lock().clone()
    }

    pub(super) fn keep(&self, tokens: &Tokens, text: String, documents: &[(Json, Names)]) {
        if text.len() <= KEPT {
            let known = |(document, names): &(Json, Names)| {
                (document.clone(), (!tokens.occur_in_keys(document)).then(|| names.clone()))
            };
            let documents = documents.iter().map(known).collect();
            let skeleton = Skeleton { nonce: tokens.nonce().to_owned(), text, documents };
            *self.0.lock() = Some(Arc::new(skeleton));
        }
    }
}

impl Skeleton {
    /// New tokens, written like those of this skeleton.
    pub(super) fn tokens(&self) -> Tokens {
        Tokens::with_nonce(self.nonce.clone())
    }

    /// The documents, if `text` is the text of this skeleton.
    pub(super) fn documents_of(&self, text: &str) -> Option<Vec<(Json, Names)>> {
        let with_names =
            |(document, names): &(Json, Option<Names>)| (document.clone(), names.clone().unwrap_or_default());
        (self.text == text).then(|| self.documents.iter().map(with_names).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Template;

    #[test]
    fn the_same_skeleton_gives_each_event_its_own_texts() {
        let template =
            Template::parse("t", "a: {{ .name }}\n{{ if .more }}b: {{ .more }}\n{{ end }}").unwrap();
        for (context, expected) in [
            (json!({"name": "x", "more": ""}), json!({"a": "x"})),
            (json!({"name": "y: z", "more": ""}), json!({"a": "y: z"})),
            (json!({"name": "y", "more": "m"}), json!({"a": "y", "b": "m"})),
            (json!({"name": "7", "more": "m"}), json!({"a": "7", "b": "m"})),
            (json!({"name": "n", "more": "7"}), json!({"a": "n", "b": "7"})),
            (json!({"name": "x", "more": ""}), json!({"a": "x"})),
        ] {
            assert_eq!(template.render_documents(&context).unwrap(), [expected]);
        }
    }

    #[test]
    fn a_token_of_the_rendering_before_is_only_text() {
        let template = Template::parse("t", "a: {{ .name }}\nb: {{ .other }}\n").unwrap();
        template.render_documents(&json!({"name": "secret", "other": "b"})).unwrap();
        let nonce = template.skeleton.get().unwrap().nonce.clone();
        let context = json!({"name": format!("{nonce}1z"), "other": format!("{nonce}0z")});
        let documents = template.render_documents(&context).unwrap();
        assert_eq!(documents, [json!({"a": context["name"], "b": context["other"]})]);
        assert_eq!(template.skeleton.get().unwrap().nonce, nonce, "it was used again");
    }

    #[test]
    fn names_are_known_from_event_to_event_but_not_those_that_come_from_it() {
        for (text, known) in
            [("a: {{ .x }}", true), ("{{ .x }}: a", false), ("- b: [{ {{ .x }}: a }]", false)]
        {
            let template = Template::parse("t", text).unwrap();
            let render = |x: &str| template.render(&json!({ "x": x })).unwrap().remove(0).names;
            assert!(!render("one").are_fine());
            render("one").found_fine();
            assert_eq!(render("two").are_fine(), known, "{text}");
        }
    }
}
