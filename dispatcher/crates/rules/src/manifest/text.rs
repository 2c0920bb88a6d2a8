//! A field of a manifest that may contain template actions.

use std::sync::Arc;

use super::Problem;
use super::document::Document;
use gotemplate::{Context, Template, TemplateError};

/// A text that is rendered if it contains `{{`, and used unchanged otherwise.
#[derive(Debug, Clone)]
pub struct TemplatedText {
    text: String,
    template: Option<Arc<Template>>,
}

impl TemplatedText {
    /// Parses `text`, the value of `field` in `document`. A wrong template is reported there.
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
                let position = document.text_of(field).line(error.line.unwrap_or(1));
                problems.push(Problem::error(&position, field, format!("bad template: {}", error.message)));
                None
            }
        }
    }

    /// The text as written in the manifest.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// The text itself, if there is nothing to render.
    pub fn literal(&self) -> Option<&str> {
        self.template.is_none().then_some(self.text.as_str())
    }

    /// Plain rendering, as Sveltos renders names and actions.
    pub fn render<'a>(&self, context: impl Into<Context<'a>>) -> Result<String, TemplateError> {
        self.template.as_ref().map_or_else(|| Ok(self.text.clone()), |template| template.render_text(context))
    }
}
