//! The shipped Roles: in every test here, the stand-in refuses what they do not grant; and they grant nothing that is
//! not used.

use serde_json::Value;
use tests::kubernetes::{ApiServer, Asked, Effect, Fault, grants};

use crate::bench::Bench;
use crate::from_cluster::Rule;
use crate::{adoption, scenario, start, stuck};

/// What a scenario asks for, in its own namespaces.
fn asked(scenario: impl FnOnce(&ApiServer, &Bench)) -> Vec<Asked> {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    scenario(&server, &bench);
    let asked = server.asked();
    for call in &asked {
        assert!(call.namespace.is_empty() || call.namespace == bench.namespace, "{call:?}");
    }
    asked
}

/// Objects whose status cannot be written are read again, because they may be gone.
fn without_a_status(server: &ApiServer, bench: &Bench) {
    Rule(bench).apply();
    let missing =
        Effect::status(404, "NotFound", "the server could not find the requested resource", &Value::Null);
    server.fault(Fault::times(2, "PATCH event", missing));
    let _dispatcher = bench.dispatcher_with(&["--from-cluster"]);
    server.until_called("GET eventsources", 1);
    server.until_called("GET eventtriggers", 1);
}

#[test]
fn the_roles_grant_what_the_dispatcher_asks_for_and_nothing_else() {
    let mut all = asked(|_, bench| scenario::completes(bench));
    all.extend(asked(|_, bench| adoption::ended_of_another_event(bench)));
    all.extend(asked(|_, bench| adoption::deleted_while_it_runs(bench)));
    all.extend(asked(|_, bench| stuck::missing_service_account(bench)));
    all.extend(asked(start::output_is_shown));
    all.extend(asked(without_a_status));
    all.extend(asked(|_, bench| {
        Rule(bench).apply();
        let _dispatcher = bench.dispatcher_with(&["--from-cluster"]);
        Rule(bench).until("eventtriggers", "True", "InForce");
        Rule(bench).until("eventsources", "True", "InForce");
    }));
    for grant in grants() {
        assert!(all.iter().any(|asked| grant.covers(asked)), "{grant:?} is granted and never used");
    }
    for asked in &all {
        assert!(grants().iter().any(|grant| grant.covers(asked)), "{asked:?} is not granted");
    }
}
