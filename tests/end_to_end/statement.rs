//! Statements on a real server and in a file: values come back unchanged, and a transaction takes effect as a whole
//! or not at all.

use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use shared::Uuid;
use shared::config::Environment;
use shared::database::{Claim, Connection, Entry, Failure, Receipts, Settings, Statement, Value};
use shared::event::Outgoing;
use tests::block_on;
use tests::database::Database;
use tests::mariadb::MariaDb;

fn databases() -> [Database; 3] {
    let servers = [MariaDb::shared(), MariaDb::mysql()].map(|server| server.database().migrated());
    let [mariadb, mysql] = servers;
    [mariadb, mysql, Database::sqlite().migrated()]
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
                let values = || [number.into(), text.into(), time.into(), date.into()];
                let insert = Statement::new("INSERT INTO kept VALUES ").row(values());
                block_on(connection.run(insert)).unwrap();
                let select = Statement::new("SELECT words, at, n FROM kept WHERE (n, words, at, day) = ")
                    .row(values());
                let built = block_on(connection.select_one(select)).unwrap().expect(text);
                let sql = "SELECT words, at, n FROM kept WHERE n = ? AND words = ? AND at = ? AND day = ?";
                let bound = block_on(connection.row(sql, &values())).unwrap().expect(text);
                for row in [built, bound] {
                    assert_eq!((row.text(0).unwrap(), row.time(1).unwrap()), (text.to_owned(), time));
                    assert_eq!(row.integer(2).unwrap(), number);
                }
                block_on(connection.execute(
                    "UPDATE kept SET words = ?, at = ?, day = ? WHERE n = ?",
                    &[text.into(), time.into(), date.into(), number.into()],
                ))
                .unwrap();
                let kept = Statement::new("SELECT words FROM kept WHERE n = ").value(number);
                assert_eq!(block_on(connection.select_one(kept)).unwrap().unwrap().text(0).unwrap(), text);
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
            assert_eq!(begin(&mut lost, &entry), NEW);
            drop(lost);
            let mut first = connect(&database);
            assert_eq!(begin(&mut first, &entry), NEW);
            block_on(first.store_and_commit(&entry, &events)).unwrap();
            let mut second = connect(&database);
            assert_eq!(block_on(second.claim(&entry, false)).unwrap(), Claim::Handled(events));
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

const NEW: Claim = Claim::New(Receipts::none());

fn begin(connection: &mut Connection, entry: &Entry<'_>) -> Claim {
    let claim = block_on(connection.claim(entry, false)).unwrap();
    if claim == NEW { block_on(connection.begin_record(entry)).unwrap() } else { claim }
}

#[test]
fn an_effect_that_is_entered_stays_whatever_becomes_of_the_record_and_the_event_stays_new() {
    for database in databases() {
        let customer = Uuid::new_v4();
        let entry = Entry { step: "s", event_id: "cause", subject: customer, customer };
        let mut first = connect(&database);
        assert_eq!(block_on(first.claim(&entry, true)).unwrap(), NEW);
        assert_eq!(block_on(first.enter_effect(&entry, "mail", Some("id's"))).unwrap(), NEW);
        assert_eq!(block_on(first.enter_effect(&entry, "webhook", None)).unwrap(), NEW);
        // If it is not known whether the entry was made, make it again.
        assert_eq!(block_on(first.enter_effect(&entry, "mail", Some("id's"))).unwrap(), NEW);
        drop(first);
        assert_eq!((database.count("effects"), database.count("handled_events")), (2, 0));

        let mut second = connect(&database);
        let Claim::New(done) = block_on(second.claim(&entry, true)).unwrap() else { panic!("it is new") };
        assert!(done.has("mail") && done.has("webhook") && !done.has("order"));
        assert_eq!((done.id("mail"), done.id("webhook")), (Some("id's"), None));
        block_on(second.begin_record(&entry)).unwrap();
        block_on(second.store_and_commit(&entry, &[])).unwrap();
        let mut third = connect(&database);
        assert_eq!(block_on(third.claim(&entry, true)).unwrap(), Claim::Handled(Vec::new()));
    }
}

#[test]
fn a_twin_waits_for_the_effect_of_the_first_run_and_then_sees_it() {
    let database = MariaDb::shared().database().migrated();
    let customer = Uuid::new_v4();
    let entry = Entry { step: "s", event_id: "cause", subject: customer, customer };
    let (mut first, mut twin) = (connect(&database), connect(&database));
    assert_eq!(block_on(first.claim(&entry, true)).unwrap(), NEW);
    std::thread::scope(|scope| {
        // The server may end the second run because of a deadlock. Then it tries again, as the platform would after
        // 75.
        let (database, entry) = (&database, &entry);
        let claimed = scope.spawn(move || {
            for _ in 0..5 {
                match block_on(twin.claim(entry, true)) {
                    Ok(claim) => return (claim, twin),
                    Err(error) => assert_eq!(error.class(), shared::Class::Unavailable, "{error}"),
                }
                twin = connect(database);
            }
            panic!("the twin never gets through")
        });
        tests::wait::until_true("the twin waits", || {
            let waiting = "information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() \
                           AND info LIKE '%INSERT INTO handled_events%'";
            database.count(waiting) > 0
        });
        // The second run may then come first, and hold the event until its connection ends.
        let entered = scope.spawn(move || drop(block_on(first.enter_effect(entry, "mail", None))));
        let (claim, twin) = claimed.join().unwrap();
        let Claim::New(done) = claim else { panic!("the event is not recorded") };
        assert!(done.has("mail"), "the twin does not make the effect again");
        drop(twin);
        entered.join().unwrap();
    });
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
