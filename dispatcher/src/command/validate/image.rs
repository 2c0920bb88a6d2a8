//! The images of the flow and what each announces.

use shared::event::Kind;

/// The event that a known image announces when it is done; its name may come from any registry, with any tag.
pub(super) fn announces(image: &str) -> Option<Kind> {
    let name = image.rsplit('/').next()?.split(['@', ':']).next()?;
    match name.strip_prefix("knapscen-").unwrap_or(name) {
        "register-corporate-customer" => Some(Kind::CustomerSaved),
        "save-customer" => Some(Kind::UserSaved),
        "save-user" => Some(Kind::WelcomeEmailSent),
        "send-welcome-email" => Some(Kind::MarketingNotified),
        "notify-marketing" => Some(Kind::SwagOrdered),
        "order-swag" => Some(Kind::TouchpointsCreated),
        "create-touchpoints" => Some(Kind::CustomerOnboarded),
        _ => None,
    }
}

/// The fields of the event's data that may be missing.
pub(super) fn optional_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::CustomerRegistered | Kind::SwagOrdered => &["shipping_address"],
        Kind::CustomerSaved => &["users", "shipping_address"],
        Kind::UserSaved => &["customer_id", "customer_name", "subscription_tier"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_last_name_from_any_registry() {
        for image in [
            "knapscen/save-user:latest",
            "save-user",
            "registry.example:5000/team/knapscen-save-user@sha256:00",
        ] {
            assert_eq!(announces(image), Some(Kind::WelcomeEmailSent), "{image}");
        }
        assert_eq!(announces("busybox:1"), None);
    }
}
