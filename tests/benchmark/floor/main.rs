//! The minimum for saving a customer's last user: the statements of `save-user` in its order, and its event, in
//! packets made by hand.
//!
//! Nothing is prepared, no library is loaded, one buffer is written at a time. It reads the variables of a `save-user` Job.

mod mysql;
mod nats;

use std::error::Error;
use std::io::Write;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let read = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    // Both handshakes at the same time: the broker answers while the database works.
    let mut broker = nats::Connection::start(read("NATS_SERVER")?.trim_start_matches("nats://"))?;
    let mut database = mysql::Connection::open(
        &format!("{}:{}", read("DB_HOST")?, read("DB_PORT")?),
        &read("DB_USER")?,
        &read("DB_PASSWORD")?,
        &read("DB_NAME")?,
    )?;
    let (customer, user, event) = (read("CUSTOMER_ID")?, read("USER_ID")?, read("EVENT_ID")?);
    let (name, email, role) = (read("USER_NAME")?, read("USER_EMAIL")?, read("USER_ROLE")?);
    database.run(&format!(
        "SET innodb_lock_wait_timeout = 20; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION; \
         INSERT INTO handled_events (step, event_id, subject, customer_id, handled_at) \
         VALUES ('save-user', '{event}', '{user}', '{customer}', NOW(6))"
    ))?;
    database.run(&format!(
        "INSERT INTO users (id, customer_id, name, email, role, saved_at) \
         VALUES ('{user}', '{customer}', '{name}', '{email}', '{role}', NOW(6))"
    ))?;
    database.run(&format!(
        "SELECT name, subscription_tier FROM customers \
         WHERE id = '{customer}' AND saved_at IS NOT NULL AND welcome_due_at IS NULL FOR UPDATE"
    ))?;
    database.run(&format!("SELECT email, role, saved_at FROM users WHERE customer_id = '{customer}'"))?;
    database.run(&format!("UPDATE customers SET welcome_due_at = NOW(6) WHERE id = '{customer}'"))?;
    let payload = format!(
        r#"{{"specversion":"1.0","id":"{user}","source":"knapscen.disco","type":"disco.knapscen.email.welcome.sent","subject":"{customer}","time":"2026-02-27T09:15:02.000Z","datacontenttype":"application/json","causationid":"{event}","correlationid":"{event}","hopcount":3,"data":{{"customer_name":"A company","primary_email":"{email}","subscription_tier":"groovy"}}}}"#
    );
    database.run(&format!(
        "INSERT INTO outbox (event_id, step, cause_id, cause_subject, position, nats_subject, payload) \
         VALUES ('{user}', 'save-user', '{event}', '{user}', 0, 'welcome-email-sent', '{payload}'); \
         COMMIT"
    ))?;
    broker.publish("welcome-email-sent", &user, payload.as_bytes())?;
    let line =
        format!(r#"{{"step":"save-user","outcome":"done","customer_id":"{customer}","events":["{user}"]}}"#);
    if let Ok(path) = std::env::var("TERMINATION_LOG") {
        std::fs::write(path, &line)?;
    }
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
