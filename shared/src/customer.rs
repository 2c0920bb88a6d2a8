//! The words of the domain: tiers, roles, names, addresses and a whole registration, each valid by construction.

mod awaited;
mod known;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::config::Environment;
use crate::error::{Error, Result};
use crate::event;

pub use awaited::{await_users, taken_email};
pub use known::refuse_takeover;

/// Names and e-mail addresses have 1 to 64 characters.
pub const MAX_CHARACTERS: usize = 64;
const MAX_ADDRESS_CHARACTERS: usize = 1024;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every one, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in events and in the database.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    Error::input(format!("{:?} is not a {}; it is one of {}", shortened(text), $what, known.join(", ")))
                })
            }
        }
    };
}

words! {
    /// What a customer subscribed to.
    Tier, "subscription tier" {
        /// The smallest.
        Basic = "basic",
        /// The middle.
        Groovy = "groovy",
        /// The largest.
        FarOut = "far-out",
    }
}

words! {
    /// What a user may do.
    Role, "user role" {
        /// The primary contact, exactly one per registration.
        Owner = "customer_account_owner",
        /// Administers users.
        Admin = "admin_user",
        /// Uses the product.
        Generic = "generic_user",
    }
}

/// A customer's or user's name: 1 to 64 characters, no control characters, kept as given but for outer white space.
pub fn name(what: &str, text: &str) -> Result<String> {
    let text = text.trim();
    length(what, text)?;
    if text.chars().any(char::is_control) {
        return Err(Error::input(format!("{what} holds a control character")));
    }
    Ok(text.to_owned())
}

/// An e-mail address: 1 to 64 characters, RFC 5321 syntax, in lower case so that it is unique whatever its case.
pub fn email(what: &str, text: &str) -> Result<String> {
    let text = text.trim();
    length(what, text)?;
    text.parse::<lettre::Address>()
        .map_err(|error| Error::input(format!("{what} {text:?} is not an e-mail address")).because(error))?;
    Ok(text.to_lowercase())
}

/// The id of a customer or user.
pub fn id(what: &str, text: &str) -> Result<Uuid> {
    Uuid::try_parse(text.trim())
        .map_err(|_| Error::input(format!("{what} {:?} is not a UUID", shortened(text))))
}

/// The customer that a Job names in `CUSTOMER_ID`; where it names none, one derived from these variables in this scope.
pub fn id_or_derived(environment: &Environment, scope: &str, variables: &[&str]) -> Result<Uuid> {
    match environment.get("CUSTOMER_ID") {
        Some(text) => id("CUSTOMER_ID", text),
        None => Ok(environment.identity(scope, variables)),
    }
}

/// A shipping address as one text; an object is kept as JSON, an empty one is none.
pub fn shipping_address(value: Option<&Value>) -> Result<Option<String>> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Object(fields)) if fields.is_empty() => return Ok(None),
        Some(value @ Value::Object(_)) => value.to_string(),
        Some(_) => return Err(Error::input("shipping_address is neither a text nor an object")),
    };
    if text.chars().count() > MAX_ADDRESS_CHARACTERS {
        return Err(Error::input(format!(
            "shipping_address has more than {MAX_ADDRESS_CHARACTERS} characters"
        )));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The address as it was given: an object that was kept as JSON, or a text.
pub fn given_address(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => object,
        _ => Value::String(text.to_owned()),
    }
}

/// The id of a user, the same for the same customer and address.
pub fn user_id(customer: Uuid, email: &str) -> Uuid {
    event::derive_id(&format!("user\n{customer}\n{}", email.to_lowercase()))
}

fn length(what: &str, text: &str) -> Result<()> {
    match text.chars().count() {
        0 => Err(Error::input(format!("{what} is empty"))),
        1..=MAX_CHARACTERS => Ok(()),
        more => Err(Error::input(format!("{what} has {more} characters, more than {MAX_CHARACTERS}"))),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_CHARACTERS).collect()
}

/// A user of a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The user's address, lower case.
    pub email: String,
    /// What the user may do.
    pub role: Role,
}

/// The users of an event's `data`: each valid, no address twice, exactly one owner.
pub fn users(data: &Value) -> Result<Vec<User>> {
    let listed = match data.get("users") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(listed)) => listed,
        Some(_) => return Err(Error::input("users is not a list")),
    };
    let mut users: Vec<User> = Vec::with_capacity(listed.len());
    for (index, entry) in listed.iter().enumerate() {
        let field = |field: &str| {
            entry
                .get(field)
                .and_then(Value::as_str)
                .ok_or_else(|| Error::input(format!("users[{index}].{field} is missing or not a text")))
        };
        let user = User {
            name: name(&format!("users[{index}].name"), field("name")?)?,
            email: email(&format!("users[{index}].email"), field("email")?)?,
            role: field("role")?.parse()?,
        };
        if users.iter().any(|other| other.email == user.email) {
            return Err(Error::input(format!("users[{index}].email is there twice")));
        }
        users.push(user);
    }
    match users.iter().filter(|user| user.role == Role::Owner).count() {
        1 => Ok(users),
        _ if users.is_empty() => Ok(users),
        0 => Err(Error::input("no user is customer_account_owner; exactly one must be")),
        more => Err(Error::input(format!("{more} users are customer_account_owner; exactly one must be"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message<T: fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.class().exit_code(), 65);
        error.to_string()
    }

    #[test]
    fn tiers_and_roles_are_known_words_only() {
        assert_eq!("far-out".parse::<Tier>().unwrap(), Tier::FarOut);
        assert!(message("FAR-OUT".parse::<Tier>()).contains("basic, groovy, far-out"));
        assert!(message("root".parse::<Role>()).contains("customer_account_owner"));
    }

    #[test]
    fn a_name_has_1_to_64_characters_not_bytes() {
        assert_eq!(name("COMPANY_NAME", " Café 😀 ").unwrap(), "Café 😀");
        assert!(name("COMPANY_NAME", &"é".repeat(64)).is_ok());
        assert!(message(name("COMPANY_NAME", &"é".repeat(65))).contains("COMPANY_NAME has 65 characters"));
        assert_eq!(message(name("COMPANY_NAME", "  ")), "COMPANY_NAME is empty");
        assert!(message(name("COMPANY_NAME", "a\nb")).contains("control character"));
    }

    #[test]
    fn an_address_is_checked_and_lowered() {
        assert_eq!(email("USER_EMAIL", "Ann@Example.COM").unwrap(), "ann@example.com");
        for bad in ["ann", "ann@", "@example.com", "a b@example.com", "ann@exa mple.com", "a@b\r\nBcc: c@d.e"]
        {
            message(email("USER_EMAIL", bad));
        }
    }

    #[test]
    fn exactly_one_owner_and_no_address_twice() {
        let user = |email: &str, role: &str| json!({"name": "A", "email": email, "role": role});
        let owner = "customer_account_owner";
        assert_eq!(
            users(&json!({"users": [user("a@x.io", owner), user("b@x.io", "admin_user")]})).unwrap().len(),
            2
        );
        assert!(message(users(&json!({"users": [user("a@x.io", "admin_user")]}))).contains("no user is"));
        assert!(
            message(users(&json!({"users": [user("a@x.io", owner), user("b@x.io", owner)]})))
                .contains("2 users")
        );
        let twice = json!({"users": [user("a@x.io", owner), user("A@X.io", "admin_user")]});
        assert!(message(users(&twice)).contains("users[1].email is there twice"));
        assert!(message(users(&json!({"users": [{"name": "A"}]}))).contains("users[0].email"));
        assert_eq!(users(&json!({"name": "x"})).unwrap(), []);
    }

    #[test]
    fn a_shipping_address_may_be_text_object_or_absent() {
        assert_eq!(shipping_address(None).unwrap(), None);
        assert_eq!(shipping_address(Some(&json!(""))).unwrap(), None);
        assert_eq!(shipping_address(Some(&json!("1 Main St"))).unwrap().unwrap(), "1 Main St");
        assert_eq!(shipping_address(Some(&json!({"city": "X"}))).unwrap().unwrap(), r#"{"city":"X"}"#);
        message(shipping_address(Some(&json!(7))));
        for given in [json!("1 Main St"), json!("[1] Main St"), json!({"city": "X"})] {
            assert_eq!(given_address(&shipping_address(Some(&given)).unwrap().unwrap()), given);
        }
    }
}
