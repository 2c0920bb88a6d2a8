//! The statements of a worker on a new connection: with their values in the text, compared with prepared ones with
//! bound values. The server is on this machine, or 1 ms away.

use std::time::{Duration, Instant};

use shared::Uuid;
use shared::config::Environment;
use shared::database::{Connection, Settings, Statement, Value};
use tests::block_on;
use tests::database::Database;
use tests::proxy::{Mode, Proxy};

use crate::Size;
use crate::measure::{in_turn, milliseconds};
use crate::report::Figure;

pub(crate) fn measure(size: Size, database: &Database) -> Vec<Figure> {
    let settings = database.settings();
    let port =
        settings.iter().find(|(name, _)| name == "DB_PORT").expect("a port").1.parse().expect("a number");
    let proxy = Proxy::before(port);
    let connect = || {
        let environment = Environment::from_pairs(database.settings_through(proxy.port()));
        block_on(Settings::read(&environment).expect("settings").connect()).expect("a connection")
    };
    let timed = |transaction: &dyn Fn(&mut Connection)| {
        let mut connection = connect();
        let started = Instant::now();
        transaction(&mut connection);
        milliseconds(started.elapsed())
    };
    [("here", Mode::Pass), ("1 ms away", Mode::Delay(Duration::from_millis(1)))]
        .map(|(place, mode)| {
            proxy.set(mode);
            let [built, bound] = in_turn(
                size.pick(20, 200),
                2,
                [&mut |_| timed(&|it| block_on(with_values(it))), &mut |_| {
                    timed(&|it| block_on(with_bound(it)))
                }],
            );
            Figure::new(format!("six statements in a transaction, server {place}"), "ms", built.median())
                .beside("bound", bound.median())
        })
        .to_vec()
}

const CUSTOMER: &str = "0b5f6a4e-8f35-4d5a-9b1c-7f2d4c3e1a90";

fn mail<'a>() -> [Value<'a>; 4] {
    let id = Uuid::new_v4().to_string();
    [
        Value::Text(id.into()),
        CUSTOMER.into(),
        "welcome".into(),
        Value::Time("2026-03-02T10:00:00Z".parse().expect("a time")),
    ]
}

async fn with_values(connection: &mut Connection) {
    let insert = || {
        Statement::new("INSERT INTO sent_mails (message_id, customer_id, kind, sent_at) VALUES ").row(mail())
    };
    connection.begin().await.expect("a transaction");
    connection.run(insert()).await.expect("an insert");
    for _ in 0..4 {
        let select = Statement::new("SELECT name FROM customers WHERE id = ").value(CUSTOMER);
        connection.select(select).await.expect("a query");
    }
    connection.run_and_commit(insert()).await.expect("the end");
}

async fn with_bound(connection: &mut Connection) {
    let insert = "INSERT INTO sent_mails (message_id, customer_id, kind, sent_at) VALUES (?, ?, ?, ?)";
    connection.begin().await.expect("a transaction");
    connection.execute(insert, &mail()).await.expect("an insert");
    // A worker runs each of its statements once, so none is prepared in advance.
    for select in [
        "SELECT name FROM customers WHERE id = ?",
        "SELECT subscription_tier FROM customers WHERE id = ?",
        "SELECT saved_at FROM customers WHERE id = ?",
        "SELECT started_at FROM customers WHERE id = ?",
    ] {
        connection.rows(select, &[CUSTOMER.into()]).await.expect("a query");
    }
    let again =
        "INSERT INTO sent_mails (message_id, customer_id, kind, sent_at) VALUES (?, ?, ?, ?) /* again */";
    connection.execute(again, &mail()).await.expect("an insert");
    connection.commit().await.expect("the end");
}
