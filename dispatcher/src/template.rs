//! Go templates over events, rendered so that no text of an event can change the shape of the YAML around it.
//!
//! A template is parsed once and then rendered any number of times, from any number of threads. [`Template::parse`]
//! finds everything that can be found without an event: syntax, unknown functions, templates and variables.
//! [`Template::render_documents`] renders and reads YAML; a text of the event arrives in it exactly as it was sent,
//! inside quotes or not, and is never read as YAML. [`Template::render_text`] renders as Go does.
//!
//! The language is Go's text/template with `missingkey=error` and the functions of sprig 3.3 and Sveltos. It differs
//! in this: whole numbers are integers (`1000000` is printed as such, and `3` equals `3.0`), and what a template may
//! cost in steps, text and depth is limited.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value as Json;

mod budget;
mod compare;
mod data;
mod error;
mod function;
mod lower;
mod parse;
mod program;
mod run;
mod skeleton;
mod text;
mod token;
mod value;
mod yaml;

pub use error::TemplateError;
pub use yaml::{YamlError, parse_documents};

/// How all YAML is read here, for readers that need more than values.
pub(crate) fn yaml_options() -> serde_saphyr::Options {
    yaml::options()
}

/// What a template sees as `.`: a map, whose values are copied only into the template's own form.
#[derive(Debug, Clone)]
pub struct Context<'a>(Vec<(&'a str, &'a Json)>);

impl<'a, const N: usize> From<[(&'a str, &'a Json); N]> for Context<'a> {
    fn from(entries: [(&'a str, &'a Json); N]) -> Self {
        Self(entries.into())
    }
}

impl<'a> From<&'a Json> for Context<'a> {
    /// The entries of an object; anything else is an empty map.
    fn from(json: &'a Json) -> Self {
        Self(json.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect())
    }
}

impl Context<'_> {
    /// What a program reads of it.
    fn value(&self, program: &program::Program) -> value::Value {
        let read = self.0.iter().filter(|(key, _)| program.reads(key));
        let entries = read.map(|(key, json)| (Arc::from(*key), value::Value::from_json(json)));
        value::Value::map(entries.collect())
    }
}

/// A rendered document.
#[derive(Debug, Clone)]
pub struct Document {
    /// The document.
    pub value: Json,
    /// Where a text from the context stands that without quotes would have been an integer or nothing, as JSON pointers: what
    /// the field wants decides.
    pub bare: BTreeSet<String>,
    /// What is known of the names in it.
    pub names: Names,
}

/// Whether somebody has looked at the names of a document's fields and found nothing wrong: they are the same in all renderings
/// that share this.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<AtomicBool>);

impl Names {
    /// Somebody has.
    pub fn are_fine(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Remembers that.
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
    skeleton: skeleton::Last,
}

impl Template {
    /// Reads a template; `name` is for people.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let (top, defines) = parse::parse(text)?;
        let program = lower::lower(text, &top, &defines)?;
        Ok(Self {
            name: name.to_owned(),
            source: text.to_owned(),
            program,
            skeleton: skeleton::Last::default(),
        })
    }

    /// The name it was parsed with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether parts of it may be left out, or be there more than once.
    pub fn branches(&self) -> bool {
        self.program.branches()
    }

    /// Renders as Go does, for texts that are not YAML: names, actions.
    pub fn render_text<'a>(&self, context: impl Into<Context<'a>>) -> Result<String, TemplateError> {
        run::run(&self.program, &self.source, &context.into(), None)
    }

    /// Renders YAML documents; texts of the context stay texts, whatever is in them.
    pub fn render_documents<'a>(&self, context: impl Into<Context<'a>>) -> Result<Vec<Json>, TemplateError> {
        Ok(self.render(context)?.into_iter().map(|document| document.value).collect())
    }

    /// The same, with what is known of the texts that came from the context.
    pub fn render<'a>(&self, context: impl Into<Context<'a>>) -> Result<Vec<Document>, TemplateError> {
        let last = self.skeleton.get();
        let mut tokens = last.as_ref().map_or_else(token::Tokens::new, |last| last.tokens());
        let text = run::run(&self.program, &self.source, &context.into(), Some(&mut tokens))?;
        let known = last.and_then(|last| last.documents_of(&text));
        let documents = if let Some(documents) = known {
            documents
        } else {
            let parsed = parse_documents(&text).map_err(in_rendered_text)?;
            let documents: Vec<_> = parsed.into_iter().map(|value| (value, Names::default())).collect();
            self.skeleton.keep(&tokens, text, &documents);
            documents
        };
        let replaced = documents.into_iter().map(|(mut value, names)| {
            let bare = tokens.replace(&mut value).map_err(TemplateError::whole)?;
            Ok(Document { value, bare, names })
        });
        replaced.collect()
    }

    /// Renders YAML documents from the text as Go renders it: a text of the context may become YAML, so whoever can
    /// send events decides what is applied. Only for templates that build YAML from texts, on events that are trusted.
    pub fn render_documents_trusting<'a>(
        &self,
        context: impl Into<Context<'a>>,
    ) -> Result<Vec<Json>, TemplateError> {
        let text = self.render_text(context)?;
        parse_documents(&text).map_err(in_rendered_text)
    }
}

/// An error in the YAML of the rendered text; its line is one of that text, not of the template.
fn in_rendered_text(mut error: YamlError) -> TemplateError {
    error.message.insert_str(0, "the rendered text is not YAML: ");
    error
}
