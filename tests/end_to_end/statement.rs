//! Statements on a real server and in a file: what they are given comes back as it was, and a transaction is whole or nothing.

use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use shared::Uuid;
use shared::config::Environment;
use shared::database::{Claim, Connection, Entry, Failure, Settings, Value};
use shared::event::Outgoing;
use tests::block_on;
use tests::database::Database;
use tests::mariadb::MariaDb;

fn databases() -> [Database; 2] {
    [MariaDb::shared().database().migrated(), Database::sqlite().migrated()]
}

fn connect(database: &Database) -> Connection {
    let settings = Settings::read(&Environment::from_pairs(database.settings())).unwrap();
    block_on(settings.connect()).unwrap()
}

#[test]
fn no_text_is_read_as_sql_and_every_value_comes_back_as_it_was() {
    let long = "'\\".repeat(50_000);
    let texts = [
        "",
        "?",
        "it's",
        r"\",
        r"\'; DROP TABLE kept; -- ",
        "'); DROP TABLE kept; -- ",
        "\" ` /* */ # ; --",
        "\u{1a}\n\r\t%_",
        "_utf8mb4 X'41'",
        "Ünï 💥 \u{202e}",
        "  blanks  ",
        &long,
    ];
    let time = Utc.timestamp_micros(1_772_183_702_123_456).unwrap();
    let date = NaiveDate::from_ymd_opt(2026, 2, 28).unwrap();
    for database in databases() {
        database.execute("CREATE TABLE kept (n BIGINT, words LONGTEXT, at DATETIME(6), day DATE)");
        let mut connection = connect(&database);
        for mode in ["", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES", "STRICT_ALL_TABLES"] {
            if !connection.is_sqlite() {
                block_on(connection.execute("SET SESSION sql_mode = ?", &[mode.into()])).unwrap();
            }
            for (number, text) in (-3_i64..).zip(texts) {
                let values = [number.into(), text.into(), time.into(), date.into()];
                block_on(connection.execute("INSERT INTO kept VALUES (?, ?, ?, ?)", &values)).unwrap();
                let sql = "SELECT words, at, n FROM kept WHERE n = ? AND words = ? AND at = ? AND day = ?";
                let row = block_on(connection.row(sql, &values)).unwrap().expect(text);
                assert_eq!((row.text(0).unwrap(), row.time(1).unwrap()), (text.to_owned(), time));
                assert_eq!(row.integer(2).unwrap(), number);
            }
            let nothing = [Value::Null, Value::Null, Value::Null, Value::Null];
            block_on(connection.execute("INSERT INTO kept VALUES (?, ?, ?, ?)", &nothing)).unwrap();
            assert_eq!(database.count("kept WHERE n IS NULL AND words IS NULL AND at IS NULL"), 1);
            block_on(connection.execute("DELETE FROM kept", &[])).unwrap();
        }
    }
}

#[test]
fn the_first_and_the_last_time_that_an_event_can_have_are_kept() {
    for database in databases() {
        database.execute("CREATE TABLE times (at DATETIME(6))");
        let mut connection = connect(&database);
        for text in ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.999999Z"] {
            let time: DateTime<Utc> = text.parse().unwrap();
            block_on(connection.execute("INSERT INTO times VALUES (?)", &[time.into()])).unwrap();
            let row = block_on(connection.row("SELECT at FROM times WHERE at = ?", &[time.into()])).unwrap();
            assert_eq!(row.expect(text).time(0).unwrap(), time);
        }
    }
}

#[test]
fn events_that_follow_are_stored_with_their_entry_or_not_at_all_and_found_in_their_order() {
    let event = |number: usize| Outgoing {
        id: format!("e{number}"),
        nats_subject: "user-saved".into(),
        payload: format!("{{\"it's\": {number}}}"),
    };
    for database in databases() {
        for count in [0, 1, 250] {
            let (id, customer) = (format!("cause-{count}"), Uuid::new_v4());
            let entry = Entry { step: "s", event_id: &id, subject: customer, customer };
            let events: Vec<_> = (0..count).map(|number| event(count * 1_000 + number)).collect();
            let mut lost = connect(&database);
            assert_eq!(begin(&mut lost, &entry), Claim::New);
            drop(lost);
            let mut first = connect(&database);
            assert_eq!(begin(&mut first, &entry), Claim::New);
            block_on(first.store_and_commit(&entry, &events)).unwrap();
            let mut second = connect(&database);
            assert_eq!(block_on(second.claim(&entry)).unwrap(), Claim::Handled(events));
        }
        // The same event's id again: neither it nor the entry stays.
        let customer = Uuid::new_v4();
        let entry = Entry { step: "s", event_id: "other", subject: customer, customer };
        let mut connection = connect(&database);
        begin(&mut connection, &entry);
        block_on(connection.store_and_commit(&entry, &[event(1_000)])).unwrap_err();
        drop(connection);
        assert_eq!(database.count("handled_events WHERE event_id = 'other'"), 0);
    }
}

fn begin(connection: &mut Connection, entry: &Entry<'_>) -> Claim {
    let claim = block_on(connection.claim(entry)).unwrap();
    if claim == Claim::New { block_on(connection.begin_record(entry)).unwrap() } else { claim }
}

#[test]
fn a_row_that_is_there_already_is_an_answer_also_to_the_first_statement_of_a_transaction() {
    for database in databases() {
        database.execute("CREATE TABLE one (id VARCHAR(9) PRIMARY KEY)");
        let mut connection = connect(&database);
        let insert = "INSERT INTO one VALUES (?)";
        assert_eq!(block_on(connection.execute(insert, &["a".into()])).unwrap(), 1);
        block_on(connection.begin()).unwrap();
        let again = block_on(connection.execute(insert, &["a".into()]));
        assert!(matches!(again, Err(Failure::Duplicate(_))), "{again:?}");
        block_on(connection.execute(insert, &["b".into()])).unwrap();
        assert_eq!(database.count("one"), 1, "not final yet");
        block_on(connection.commit()).unwrap();
        assert_eq!(database.count("one"), 2);
        block_on(connection.begin()).unwrap();
        block_on(connection.commit()).unwrap();
    }
}
