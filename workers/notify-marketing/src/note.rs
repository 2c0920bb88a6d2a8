//! The words of the note: a webhook body, and `templates/note.txt` and `templates/note.html`.

use askama::Template;
use serde_json::{Value, json};
use shared::customer::Tier;
use shared::mail::Mail;
use shared::{Error, Result, Uuid};

/// What the marketing team is told.
pub(crate) struct Note<'a> {
    pub(crate) customer: &'a str,
    pub(crate) id: Uuid,
    pub(crate) tier: Tier,
    pub(crate) user_count: Option<u32>,
}

#[derive(Template)]
#[template(path = "note.txt")]
struct Text<'a> {
    note: &'a Note<'a>,
}

#[derive(Template)]
#[template(path = "note.html")]
struct Html<'a> {
    note: &'a Note<'a>,
}

impl Note<'_> {
    /// `text` for a channel, and the facts as fields for whoever reads JSON.
    pub(crate) fn webhook(&self) -> Value {
        // `&`, `<` and `>` would be markup to Slack.
        let customer = self.customer.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        json!({
            "text": format!("New customer: *{customer}* on the {} plan, {}", self.tier, self.users()),
            "customer_id": self.id,
            "customer_name": self.customer,
            "subscription_tier": self.tier,
            "user_count": self.user_count,
        })
    }

    /// The same as a mail.
    pub(crate) fn mail(&self, message_id: String, address: String) -> Result<Mail> {
        let failed = |error: askama::Error| Error::bug("cannot render the note").because(error);
        Ok(Mail {
            message_id,
            to: (None, address),
            subject: format!("New customer: {} ({})", self.customer, self.tier),
            text: Text { note: self }.render().map_err(failed)?,
            html: Html { note: self }.render().map_err(failed)?,
        })
    }

    fn users(&self) -> String {
        match self.user_count {
            None => "users not counted".to_owned(),
            Some(1) => "1 user".to_owned(),
            Some(count) => format!("{count} users"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(customer: &str) -> Note<'_> {
        Note { customer, id: Uuid::nil(), tier: Tier::Groovy, user_count: Some(3) }
    }

    #[test]
    fn the_note_reads_well() {
        let mail =
            note("TechCorp Solutions").mail("id@knapscen.disco".to_owned(), "m@x.io".to_owned()).unwrap();
        insta::assert_snapshot!("note.txt", mail.text);
        insta::assert_snapshot!("note.html", mail.html);
    }

    #[test]
    fn a_hostile_name_is_text() {
        let note = note("<!channel> & <b>");
        assert!(note.webhook()["text"].as_str().unwrap().contains("*&lt;!channel&gt; &amp; &lt;b&gt;*"));
        assert_eq!(note.webhook()["customer_name"], "<!channel> & <b>");
        let mail = note.mail("i@d".to_owned(), "m@x.io".to_owned()).unwrap();
        assert!(!mail.html.contains("<b>"), "{}", mail.html);
    }
}
