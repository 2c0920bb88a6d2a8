//! The text of the note: a webhook body, and `templates/note.txt` and `templates/note.html`.

use askama::Template;
use shared::address::{Address, Rules};
use shared::config::Secret;
use shared::customer::Tier;
use shared::http::{self, Endpoint, GoodAnswer, Post};
use shared::mail::{self, Mail, Mailer};
use shared::prelude::*;

/// The facts for the marketing team.
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
    /// `text` for a channel, and the facts as fields for programs that read JSON.
    fn webhook(&self) -> Value {
        // In Slack, `&`, `<` and `>` would be markup.
        let customer = self.customer.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        json!({
            "text": format!("New customer: *{customer}* on the {} plan, {}", self.tier, self.users()),
            "customer_id": self.id,
            "customer_name": self.customer,
            "subscription_tier": self.tier,
            "user_count": self.user_count,
        })
    }

    /// The note as a post to this address, with this key.
    pub(crate) fn post(
        &self,
        settings: &http::Settings,
        url: &Secret,
        yes: Option<GoodAnswer>,
        key: &str,
    ) -> Result<Post> {
        let to = Endpoint::new("MARKETING_WEBHOOK_URL", url, None)?.saying(yes);
        Post::new(settings, to, &key, self.webhook(), &[])
    }

    /// The note as a mail to this address.
    pub(crate) fn mail_to(
        &self,
        rules: Rules,
        to: &Secret,
        settings: mail::Settings,
        id: &str,
    ) -> Result<(Mailer, Mail)> {
        let to = rules.configured("MARKETING_EMAIL", to.expose())?;
        Ok((Mailer::new(settings)?, self.mail(id.to_owned(), to)?))
    }

    fn mail(&self, message_id: String, address: Address) -> Result<Mail> {
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
        let mail = note("TechCorp Solutions")
            .mail("id@knapscen.disco".to_owned(), Rules::default().address("to", "m@x.io").unwrap())
            .unwrap();
        insta::assert_snapshot!("note.txt", mail.text);
        insta::assert_snapshot!("note.html", mail.html);
    }

    #[test]
    fn a_hostile_name_is_text() {
        let note = note("<!channel> & <b>");
        assert!(note.webhook()["text"].as_str().unwrap().contains("*&lt;!channel&gt; &amp; &lt;b&gt;*"));
        assert_eq!(note.webhook()["customer_name"], "<!channel> & <b>");
        let mail = note.mail("i@d".to_owned(), Rules::default().address("to", "m@x.io").unwrap()).unwrap();
        assert!(!mail.html.contains("<b>"), "{}", mail.html);
    }
}
