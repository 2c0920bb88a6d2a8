//! The history on a real server, written by real dispatchers.

use tests::wait;

use crate::system::{LIMIT, System, registration};

/// The counts of the history's own table.
fn amount(system: &System, kind: &str, name: &str, state: &str) -> usize {
    let sql = format!(
        "SELECT amount FROM history_totals WHERE kind = '{kind}' AND name = '{name}' AND state = '{state}'"
    );
    system.database.text(&sql).parse().unwrap_or(0)
}

#[test]
fn two_dispatchers_write_one_history_that_balances_and_leaves_no_run_open() {
    let system = System::start();
    let mut first = system.dispatcher();
    let second = system.dispatcher_with(&crate::system::shipped_events(), "second");
    for number in 0..6 {
        system.publish(&registration(&format!("Company {number}")));
    }
    system.until_onboarded(3);
    // What its last moments lost, the other finds.
    first.running.kill();
    system.until_onboarded(6);
    system.check_books(6);
    // What the killed dispatcher had not written it had not answered: those events came again.
    wait::until(LIMIT * 2, "no run stays open", || {
        let open = system.database.count("job_runs WHERE state <> 'complete'");
        (open == 0 && amount(&system, "customer", "", "3") == 6).then_some(())
    });
    assert_eq!(system.database.count("job_runs"), 6 * 9);
    assert_eq!(["0", "1", "2"].map(|stage| amount(&system, "customer", "", stage)), [0, 0, 0]);
    let counted = "(SELECT COUNT(*) AS n, trigger_name, state FROM job_runs WHERE superseded = 0 GROUP BY trigger_name, state) c \
                   LEFT JOIN history_totals t ON t.kind = 'run' AND t.name = c.trigger_name AND t.state = c.state \
                   WHERE t.amount IS NULL OR t.amount <> c.n";
    assert_eq!(
        system.database.count(counted),
        0,
        "{:?}",
        system.database.rows("SELECT * FROM history_totals")
    );
    let words = |done: usize| format!("save-user on user-saved: 0 waiting, 0 running, {done} done, 0 failed");
    let saved = system.database.count("job_runs WHERE trigger_name = 'user-saved-trigger'");
    wait::until(LIMIT, &format!("the page counts {saved} Jobs that saved a user"), || {
        let page = tests::http::get(second.port, "/").ok()?.body;
        page.contains(&words(saved)).then_some(())
    });
}
