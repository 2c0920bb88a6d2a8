//! An effect outside of the database: a mail, or a post to an HTTP service. It takes place once, however often its
//! Job runs.

use crate::error::Result;
use crate::http::Post;
use crate::mail::{Mail, Mailer};

/// An effect of a step.
pub struct Effect<'a> {
    /// Its name in the ledger, among the effects of its step.
    pub name: &'static str,
    /// The action.
    pub action: Action<'a>,
}

/// The action of an effect. It carries a key of its own, so that the other server can recognise a repeat after a
/// crash.
pub enum Action<'a> {
    /// A mail is sent.
    Mail(&'a Mailer, &'a Mail),
    /// JSON is posted.
    Post(&'a Post),
}

impl<'a> Effect<'a> {
    /// A mail.
    pub const fn mail(name: &'static str, mailer: &'a Mailer, mail: &'a Mail) -> Self {
        Self { name, action: Action::Mail(mailer, mail) }
    }

    /// A post.
    pub const fn post(name: &'static str, post: &'a Post) -> Self {
        Self { name, action: Action::Post(post) }
    }

    /// Performs it, and returns the id that the other server gave.
    pub async fn perform(&self) -> Result<Option<String>> {
        match self.action {
            Action::Mail(mailer, mail) => {
                mailer.send(mail).await?;
                Ok(Some(mail.message_id.clone()))
            }
            Action::Post(post) => post.send().await,
        }
    }
}
