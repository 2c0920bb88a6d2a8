//! A field of a manifest that may hold template actions.

use std::sync::Arc;

use super::Problem;
use super::document::Document;
use crate::template::{Context, Template, TemplateError};

/// Text that is rendered where it holds `{{`, and stands as it is otherwise.
#[derive(Debug, Clone)]
pub struct TemplatedText {
    text: String,
    template: Option<Arc<Template>>,
}

impl TemplatedText {
    /// Parses `text`, which stands at `field` of `document`; a bad template is reported there.
    pub(super) fn read(
        document: &Document,
        field: &str,
        text: String,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        if !text.contains("{{") {
            return Some(Self { text, template: None });
        }
        match Template::parse(field, &text) {
            Ok(template) => Some(Self { text, template: Some(Arc::new(template)) }),
            Err(error) => {
                let place = document.text_of(field).line(error.line.unwrap_or(1));
                problems.push(Problem::error(&place, field, format!("bad template: {}", error.message)));
                None
            }
        }
    }

    /// The text as the manifest has it.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// The text itself, when there is nothing to render.
    pub fn literal(&self) -> Option<&str> {
        self.template.is_none().then_some(self.text.as_str())
    }

    /// Plain rendering, as Sveltos renders names and actions.
    pub fn render<'a>(&self, context: impl Into<Context<'a>>) -> Result<String, TemplateError> {
        self.template.as_ref().map_or_else(|| Ok(self.text.clone()), |template| template.render_text(context))
    }
}
