//! The types of the domain: tiers, roles, names, addresses and a whole registration. Each value is valid once it
//! exists.

mod awaited;
mod known;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::address::{self, Address};
use crate::config::{Described, Environment, FromText, Variables, trimmed};
use crate::error::{Error, Result};
use crate::event::{self, Announcement};
use crate::{Announced, variables};

pub use awaited::{await_users, taken_email};
pub use known::{known_users, refuse_takeover};

/// Names and e-mail addresses have 1 to 64 characters.
pub const MAX_CHARACTERS: usize = 64;
const MAX_ADDRESS_CHARACTERS: usize = 1024;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// All values, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The text in events and in the database.
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
                Self::from_text(text).map_err(|allowed| Error::input(format!("the {} {allowed}", $what)))
            }
        }

        impl FromText for $name {
            fn from_text(text: &str) -> std::result::Result<Self, String> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    format!("is not one of {}", known.join(", "))
                })
            }
        }
    };
}

words! {
    /// The tier that a customer has subscribed to.
    Tier, "subscription tier" {
        /// The smallest tier.
        Basic = "basic",
        /// The middle tier.
        Groovy = "groovy",
        /// The largest tier.
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

/// A customer's or user's name: 1 to 64 characters, no control characters, unchanged except for surrounding white
/// space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromText for Name {
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        let text = trimmed(text);
        length(text)?;
        if text.chars().any(char::is_control) {
            return Err("holds a control character".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// A name in an event's data.
pub fn name(what: &str, text: &str) -> Result<Name> {
    Name::from_text(text).map_err(|wrong| Error::input(format!("{what} {wrong}")))
}

variables! {
    struct Given {
        job {
            id: Option<Uuid> = "CUSTOMER_ID", "UUID; derived from CUSTOMER_NAME where it is missing";
            name: Name = "CUSTOMER_NAME", "1 to 64 characters";
        }
    }
}

/// The customer that a Job is about: a group of a step's variables.
#[derive(Clone, Debug)]
pub struct Customer {
    /// The Job's id, or one that is derived from the other variables.
    pub id: Uuid,
    /// As it was registered.
    pub name: Name,
}

impl Customer {
    /// The following event: about this customer, with its name, its tier and these facts.
    pub fn next(&self, tier: Tier, mut facts: Value) -> Announced {
        facts["customer_name"] = json!(self.name);
        facts["subscription_tier"] = json!(tier);
        Ok(vec![Announcement { subject: self.id, data: facts }])
    }
}

impl Variables for Customer {
    fn job() -> Vec<Described> {
        Given::job()
    }

    fn settings() -> Vec<Described> {
        Given::settings()
    }

    fn secrets() -> Vec<&'static str> {
        Given::secrets()
    }

    fn read(environment: &Environment) -> Result<Self> {
        let Given { id, name } = Given::read(environment)?;
        Ok(Self { id: given_or_derived(id, environment, "customer", &["CUSTOMER_NAME"]), name })
    }
}

/// The customer that a Job names; if it names none, one that is derived from these variables in this scope.
pub fn given_or_derived(
    given: Option<Uuid>,
    environment: &Environment,
    scope: &str,
    variables: &[&str],
) -> Uuid {
    given.unwrap_or_else(|| environment.identity(scope, variables))
}

/// A shipping address as one text. An object becomes JSON; an empty one is `None`.
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

/// The checked address in a Job's variable: a text or an object; `None` if there is none yet.
pub fn given_shipping_address(text: Option<&str>) -> Result<Option<Value>> {
    let address = text.map(given_address);
    Ok(shipping_address(address.as_ref())?.and(address))
}

/// The address as it was given: an object that was stored as JSON, or a text.
pub fn given_address(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => object,
        _ => Value::String(text.to_owned()),
    }
}

/// The id of a user, always the same for one customer and address.
pub fn user_id(customer: Uuid, email: &str) -> Uuid {
    event::derive_id(&format!("user\n{customer}\n{}", email.to_lowercase()))
}

fn length(text: &str) -> std::result::Result<(), String> {
    match text.chars().count() {
        0 => Err("is empty".to_owned()),
        1..=MAX_CHARACTERS => Ok(()),
        more => Err(format!("has {more} characters, more than {MAX_CHARACTERS}")),
    }
}

/// A user of a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The user's name.
    pub name: Name,
    /// The user's address.
    pub email: Address,
    /// The user's role.
    pub role: Role,
}

/// The users in an event's `data`: each is valid, no address occurs twice, and exactly one is the owner.
pub fn users(data: &Value, addresses: address::Rules) -> Result<Vec<User>> {
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
            email: addresses.address(&format!("users[{index}].email"), field("email")?)?,
            role: field("role")?.parse()?,
        };
        if users.iter().any(|other| other.email == user.email) {
            return Err(Error::input(format!("users[{index}].email occurs twice")));
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
        assert_eq!(&*name("COMPANY_NAME", " Café 😀 ").unwrap(), "Café 😀");
        assert!(name("COMPANY_NAME", &"é".repeat(64)).is_ok());
        assert!(message(name("COMPANY_NAME", &"é".repeat(65))).contains("COMPANY_NAME has 65 characters"));
        assert_eq!(message(name("COMPANY_NAME", "  ")), "COMPANY_NAME is empty");
        assert!(message(name("COMPANY_NAME", "a\nb")).contains("control character"));
    }

    #[test]
    fn exactly_one_owner_and_no_address_twice() {
        let users = |data: &Value| users(data, address::Rules::default());
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
        assert!(message(users(&twice)).contains("users[1].email occurs twice"));
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
