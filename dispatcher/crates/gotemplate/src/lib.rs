//! Go templates for events. No text of an event can change the shape of the rendered YAML.
//!
//! A template is parsed once and can be rendered any number of times, from any number of threads. [`Template::parse`]
//! reports every error that can be found without an event: syntax, unknown functions, templates and variables.
//! [`Template::render_documents`] renders and reads YAML. A text of the event arrives in it exactly as it was sent,
//! inside quotes or not, and is never read as YAML. [`Template::render_text`] renders as Go does.
//!
//! The language is Go's text/template with `missingkey=error` and the functions of sprig 3.3 and Sveltos. There are
//! two differences: whole numbers are integers (`1000000` is printed like this, and `3` equals `3.0`), and steps,
//! text and depth of a rendering are limited.
//!
//! ```
//! use gotemplate::Template;
//! use serde_json::json;
//!
//! let template = Template::parse("job.yaml", "name: {{ .name }}\nlength: {{ len .name }}")?;
//! // A text that would be YAML of its own stays one text.
//! let event = json!({"name": "Acme\nkind: Secret"});
//! let documents = template.render_documents(&event)?;
//! assert_eq!(documents, [json!({"name": "Acme\nkind: Secret", "length": 17})]);
//! # Ok::<(), gotemplate::TemplateError>(())
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kyaml::{YamlError, parse_documents};
use serde_json::Value as Json;

mod budget;
mod compare;
mod data;
mod error;
mod function;
mod interpreter;
mod lower;
mod parse;
mod placeholder;
mod program;
mod shape_cache;
mod text;
mod value;

pub use error::TemplateError;

/// The value of `.` in a template: a map. Its values are copied only once, into the engine's own form.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    entries: Vec<(&'a str, &'a Json)>,
    later: bool,
}

impl<'a, const N: usize> From<[(&'a str, &'a Json); N]> for Context<'a> {
    fn from(entries: [(&'a str, &'a Json); N]) -> Self {
        Self { entries: entries.into(), later: false }
    }
}

impl<'a> From<&'a Json> for Context<'a> {
    /// The entries of an object; anything else is an empty map.
    fn from(json: &'a Json) -> Self {
        let entries = json.as_object().into_iter().flatten();
        Self { entries: entries.map(|(key, value)| (key.as_str(), value)).collect(), later: false }
    }
}

impl Context<'_> {
    /// The same context with a later clock. What then renders differently would also differ when an event is
    /// delivered again.
    #[must_use]
    pub fn later(self) -> Self {
        Self { later: true, ..self }
    }

    /// The fields that a program reads.
    fn value(&self, program: &program::Program) -> value::Value {
        let read = self.entries.iter().filter(|(key, _)| program.reads(key));
        let entries = read.map(|(key, json)| (Arc::from(*key), value::Value::from_json(json)));
        value::Value::map(entries.collect())
    }
}

/// A rendered document.
#[derive(Debug, Clone)]
pub struct Document {
    /// The document.
    pub value: Json,
    /// JSON pointers to texts from the context that YAML would have read as an integer or null without quotes. The
    /// type of the field decides what they are.
    pub bare: BTreeSet<String>,
    /// JSON pointers to values, and to mappings with keys, that contain a text from the context; the root if that is
    /// not known.
    pub filled: BTreeSet<String>,
    /// Whether the names in it were checked.
    pub names: Names,
    /// The result depends on randomness or the clock, so another rendering may differ.
    pub is_nondeterministic: bool,
}

/// Whether the names of a document's fields were checked and are correct. They are the same in all renderings that
/// share this.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<AtomicBool>);

impl Names {
    /// Whether they were checked.
    pub fn are_fine(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Records that they were checked.
    pub fn found_fine(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A parsed and checked template.
#[derive(Debug)]
pub struct Template {
    name: String,
    source: String,
    program: program::Program,
    skeleton: shape_cache::Last,
}

impl Template {
    /// Parses a template; `name` appears in errors.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let (top, defines) = parse::parse(text)?;
        let program = lower::lower(text, &top, &defines)?;
        Ok(Self {
            name: name.to_owned(),
            source: text.to_owned(),
            program,
            skeleton: shape_cache::Last::default(),
        })
    }

    /// The name it was parsed with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether parts of it may be left out or repeated.
    pub fn branches(&self) -> bool {
        self.program.branches()
    }

    /// Renders as Go does, for results that are not YAML: names and actions.
    pub fn render_text<'a>(&self, context: impl Into<Context<'a>>) -> Result<String, TemplateError> {
        interpreter::run(&self.program, &self.source, &context.into(), None).map(|(text, _)| text)
    }

    /// Renders YAML documents. Texts of the context stay texts, whatever they contain.
    pub fn render_documents<'a>(&self, context: impl Into<Context<'a>>) -> Result<Vec<Json>, TemplateError> {
        Ok(self.render(context)?.into_iter().map(|document| document.value).collect())
    }

    /// The same, together with what is known about the texts from the context.
    pub fn render<'a>(&self, context: impl Into<Context<'a>>) -> Result<Vec<Document>, TemplateError> {
        let last = self.skeleton.get();
        let mut tokens = last.as_ref().map_or_else(placeholder::Tokens::new, |last| last.tokens());
        let (text, is_nondeterministic) =
            interpreter::run(&self.program, &self.source, &context.into(), Some(&mut tokens))?;
        let known = last.and_then(|last| last.documents_of(&text));
        let documents = if let Some(documents) = known {
            documents
        } else {
            let parsed = parse_documents(&text).map_err(in_rendered_text)?;
            let documents: Vec<_> = parsed.into_iter().map(|value| (value, Names::default())).collect();
            self.skeleton.keep(&tokens, text, &documents);
            documents
        };
        let mut room = placeholder::Room::new();
        let replaced = documents.into_iter().map(|(mut value, names)| {
            let placeholder::Replaced { bare, filled } =
                tokens.replace(&mut value, &mut room).map_err(TemplateError::whole)?;
            Ok(Document { value, bare, filled, names, is_nondeterministic })
        });
        replaced.collect()
    }

    /// Renders as Go does and reads the result as YAML documents. A text of the context may become YAML, so everybody
    /// who can send events decides what is applied. Only for templates that build YAML from texts of trusted events.
    pub fn render_documents_trusting<'a>(
        &self,
        context: impl Into<Context<'a>>,
    ) -> Result<Vec<Json>, TemplateError> {
        let text = self.render_text(context)?;
        parse_documents(&text).map_err(in_rendered_text)
    }
}

/// An error in the YAML of the rendered text. Its line counts in that text, not in the template.
fn in_rendered_text(YamlError { line, column, message }: YamlError) -> TemplateError {
    TemplateError { line, column, message: format!("the rendered text is not YAML: {message}") }
}
