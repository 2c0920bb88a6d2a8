//! Saves a user with its role. If it was the customer's last user, announces the welcome.
//!
//! Writes `users`, `customers`; emits `welcome-email-sent` once per customer.

mod rows;

use shared::address::Rules;
use shared::customer::{self, Name, Role, User, given_or_derived};
use shared::prelude::*;

shared::worker!(SaveUser);

shared::variables! {
    struct Input {
        job {
            customer: Option<Uuid> = "CUSTOMER_ID", "UUID; derived from CUSTOMER_NAME, else from USER_EMAIL, where it is missing";
            company: Option<String> = "CUSTOMER_NAME", "names the customer where CUSTOMER_ID is missing";
            id: Option<Uuid> = "USER_ID", "UUID; derived from customer and address where it is missing";
            name: Name = "USER_NAME", "1 to 64 characters";
            email: String = "USER_EMAIL", "1 to 64 characters, unique in the system";
            role: Role = "USER_ROLE", "customer_account_owner, admin_user or generic_user (also ROLE_NAME)";
        }
    }
}

struct SaveUser {
    customer: Uuid,
    id: Uuid,
    user: User,
}

impl Step for SaveUser {
    const ABOUT: &'static str = "saves a user with its role; the customer's last one starts the welcome";
    const TRIGGER: Kind = Kind::UserSaved;
    const EMITS: Kind = Kind::WelcomeEmailSent;
    type Input = Input;

    fn read(input: Input, environment: &Environment, _: &Cause) -> Result<Self> {
        // If the customer has neither id nor name, only the user itself is saved.
        let known_by = if input.company.is_some() { "CUSTOMER_NAME" } else { "USER_EMAIL" };
        let customer = given_or_derived(input.customer, environment, "customer", &[known_by]);
        let email = Rules::of(environment)?.address("USER_EMAIL", &input.email)?;
        let id = input.id.unwrap_or_else(|| customer::user_id(customer, &email));
        Ok(Self { customer, id, user: User { name: input.name, email, role: input.role } })
    }

    fn customer(&self) -> Uuid {
        self.customer
    }

    fn subject(&self) -> Uuid {
        self.id
    }

    async fn record(&self, database: &mut Connection, _: &Receipts, _: &mut Report) -> Announced {
        rows::save(database, self.customer, self.id, &self.user).await?;
        let welcome = rows::welcome_is_due(database, self.customer).await?.map(|welcome| {
            let data = json!({
                "customer_name": welcome.customer_name,
                "primary_email": welcome.primary_email,
                "subscription_tier": welcome.tier,
            });
            Announcement { subject: self.customer, data }
        });
        Ok(welcome.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use shared::testing::Valid;

    use super::*;

    const VALID: Valid = Valid(&[
        ("CUSTOMER_ID", "0b5f6a4e-8f35-4d5a-9b1c-7f2d4c3e1a90"),
        ("CUSTOMER_NAME", "TechCorp"),
        ("USER_ID", "5d0c1f7e-2b7a-4a52-8d6c-6f1e0a9b3c44"),
        ("USER_NAME", "Ann"),
        ("USER_EMAIL", "Ann@X.io"),
        ("USER_ROLE", "customer_account_owner"),
    ]);

    fn read(changes: &[(&str, &str)]) -> Result<SaveUser> {
        VALID.read(changes)
    }

    #[test]
    fn bad_input_is_refused_for_good() {
        VALID.refuses_bad_input::<SaveUser>(&[
            ("USER_ID", "7"),
            ("USER_NAME", &"x".repeat(65)),
            ("USER_NAME", "a\u{7}b"),
            ("USER_EMAIL", "ann"),
            ("USER_EMAIL", &format!("{}@x.io", "x".repeat(60))),
            ("USER_ROLE", "root"),
        ]);
    }

    #[test]
    fn a_missing_variable_is_a_configuration_error() {
        VALID
            .each_ends_with::<SaveUser>(78, &["USER_NAME", "USER_EMAIL", "USER_ROLE"].map(|name| (name, "")));
    }

    #[test]
    fn role_name_is_taken_for_user_role() {
        let step = read(&[("USER_ROLE", ""), ("ROLE_NAME", "generic_user")]).unwrap();
        assert_eq!(step.user.role, Role::Generic);
    }

    #[test]
    fn without_an_id_the_user_follows_from_customer_and_address() {
        let id = |email| read(&[("USER_ID", ""), ("USER_EMAIL", email)]).unwrap().subject();
        assert_eq!(id("ann@x.io"), id("ANN@x.io"));
        assert_ne!(id("ann@x.io"), id("bob@x.io"));
    }

    #[test]
    fn without_an_id_the_customer_follows_from_its_name_else_from_the_user() {
        let customer = |name, email| {
            let changes = [("CUSTOMER_ID", ""), ("CUSTOMER_NAME", name), ("USER_EMAIL", email)];
            read(&changes).unwrap().customer()
        };
        assert_eq!(customer("TechCorp", "ann@x.io"), customer("TechCorp", "bob@x.io"));
        assert_eq!(customer("", "ann@x.io"), customer("", "ann@x.io"));
        assert_ne!(customer("", "ann@x.io"), customer("", "bob@x.io"), "strangers are no colleagues");
    }
}
