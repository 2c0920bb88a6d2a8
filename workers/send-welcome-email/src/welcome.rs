//! The text of the welcome: `templates/welcome.txt` and `templates/welcome.html`.

use askama::Template;
use shared::address::Address;
use shared::customer::Tier;
use shared::mail::Mail;
use shared::{Error, Result};

#[derive(Template)]
#[template(path = "welcome.txt")]
struct Text<'a> {
    customer: &'a str,
    tier: &'a str,
    perks: &'a [&'a str],
}

#[derive(Template)]
#[template(path = "welcome.html")]
struct Html<'a> {
    customer: &'a str,
    tier: &'a str,
    perks: &'a [&'a str],
}

/// The welcome mail for this customer.
pub(crate) fn mail(message_id: String, customer: &str, address: Address, tier: Tier) -> Result<Mail> {
    let (plan, perks) = plan(tier);
    let failed = |error: askama::Error| Error::bug("cannot render the welcome").because(error);
    Ok(Mail {
        message_id,
        to: (None, address),
        subject: format!("Welcome to Knapscen, {customer}"),
        text: Text { customer, tier: plan, perks }.render().map_err(failed)?,
        html: Html { customer, tier: plan, perks }.render().map_err(failed)?,
    })
}

/// The name of the plan, and its benefits.
const fn plan(tier: Tier) -> (&'static str, &'static [&'static str]) {
    match tier {
        Tier::Basic => {
            ("Basic", &["Your workspace with all core features", "Help by e-mail within one working day"])
        }
        Tier::Groovy => (
            "Groovy",
            &[
                "Everything in Basic",
                "Single sign-on and audit log",
                "Help by chat and e-mail, same working day",
            ],
        ),
        Tier::FarOut => (
            "Far-Out",
            &[
                "Everything in Groovy",
                "An engineer of ours for your technical onboarding",
                "Help by phone, day and night",
            ],
        ),
    }
}

#[cfg(test)]
mod tests {
    use shared::address::Rules;

    use super::*;

    fn welcome(customer: &str, tier: Tier) -> Mail {
        mail(
            "id@knapscen.disco".to_owned(),
            customer,
            Rules::default().address("to", "ann@example.com").unwrap(),
            tier,
        )
        .unwrap()
    }

    #[test]
    fn the_welcome_reads_well() {
        let mail = welcome("TechCorp Solutions", Tier::FarOut);
        insta::assert_snapshot!("welcome.txt", mail.text);
        insta::assert_snapshot!("welcome.html", mail.html);
    }

    #[test]
    fn a_hostile_name_is_text() {
        let mail = welcome("<script>alert('x')</script> & \"Sons\"", Tier::Basic);
        assert!(mail.text.contains("<script>alert('x')</script> & \"Sons\""), "plain text is not escaped");
        assert!(!mail.html.contains("<script>"), "{}", mail.html);
    }
}
