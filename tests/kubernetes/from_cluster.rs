//! Manifests that are objects of the cluster: taken, followed, refused, and told what became of them.

use axum::http::Method;
use serde_json::{Value, json};
use tests::kubernetes::{ApiServer, Effect, Fault};
use tests::{http, wait};

use crate::bench::{Bench, Dispatcher};

const SVELTOS: &str = "/apis/lib.projectsveltos.io/v1beta1";

/// The objects of the rule, in the bench's namespace where they have one.
pub(crate) struct Rule<'a>(pub(crate) &'a Bench);

impl Rule<'_> {
    pub(crate) fn apply(&self) {
        let source = json!({"messagingMatchCriteria": [{"subject": "^thing-made$"}]});
        let reference = json!({"kind": "ConfigMap", "namespace": self.0.namespace, "name": "thing-made-job"});
        let trigger = json!({"eventSourceName": "thing-made", "oneForEvent": true, "syncMode": "Continuous",
            "sourceClusterSelector": {"matchLabels": {"role": "deploy"}}, "policyRefs": [reference]});
        self.make(&format!("{SVELTOS}/eventsources"), &object("EventSource", "thing-made", &source));
        self.make_trigger("thing-made-trigger", &trigger);
        self.make(&self.config_maps(), &config_map("thing-made-job", &self.template("thing")));
    }

    fn make_trigger(&self, name: &str, spec: &Value) {
        self.make(&format!("{SVELTOS}/eventtriggers"), &object("EventTrigger", name, spec));
    }

    fn make(&self, path: &str, object: &Value) {
        self.0.hand.call(&Method::POST, path, object).expect("an object");
    }

    fn config_maps(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.0.namespace)
    }

    fn template(&self, prefix: &str) -> String {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {prefix}-{{{{ .CloudEvent.subject }}}}\n  namespace: {}\nspec:\n  \
             managedBy: knapscen.disco/tests\n  backoffLimit: 0\n  template:\n    spec:\n      schedulerName: tests-none\n      \
             restartPolicy: Never\n      containers:\n      - name: work\n        image: knapscen/none:latest\n",
            self.0.namespace
        )
    }

    fn retemplate(&self, prefix: &str) {
        let path = format!("{}/thing-made-job", self.config_maps());
        let change = json!({"data": {"job.yaml": self.template(prefix)}});
        self.0.hand.call(&Method::PATCH, &path, &change).expect("the ConfigMap");
    }

    /// A mistake that the definitions allow, or its mending.
    fn one_for_event(&self, is_so: bool) {
        let path = format!("{SVELTOS}/eventtriggers/thing-made-trigger");
        self.0
            .hand
            .call(&Method::PATCH, &path, &json!({"spec": {"oneForEvent": is_so}}))
            .expect("the trigger");
    }

    /// Waits until the condition `Ready` of the trigger, or of the source, is this.
    pub(crate) fn until(&self, plural: &str, status: &str, reason: &str) -> Value {
        let name = if plural == "eventsources" { "thing-made" } else { "thing-made-trigger" };
        self.until_of(plural, name, status, reason)
    }

    fn until_of(&self, plural: &str, name: &str, status: &str, reason: &str) -> Value {
        wait::until(wait::LIMIT, &format!("{name} is Ready {status} because {reason}"), || {
            let object = self.0.hand.get(&format!("{SVELTOS}/{plural}/{name}"))?;
            let conditions = object["status"]["conditions"].as_array()?.clone();
            conditions
                .into_iter()
                .find(|one| one["type"] == "Ready" && one["status"] == status && one["reason"] == reason)
        })
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": kind, "metadata": {"name": name, "generation": 1}, "spec": spec})
}

fn config_map(name: &str, template: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"job.yaml": template},
        "metadata": {"name": name, "annotations": {"projectsveltos.io/instantiate": "ok"}}})
}

fn runs(bench: &Bench, dispatcher: &mut Dispatcher, id: &str, subject: &str, name: &str) {
    dispatcher.publish(id, subject);
    let job = bench.hand.until_job(&bench.namespace, name, None);
    bench.finish(dispatcher, id, &job);
}

/// Objects of the cluster are taken, changes of them followed, mistakes kept out, and each is told what became of it.
pub(crate) fn is_followed(bench: &Bench) {
    let rule = Rule(bench);
    rule.apply();
    // A cluster has ConfigMaps that are no business of ours, even if they are templates.
    rule.make(&rule.config_maps(), &config_map("foreign", "{{ getResource \"x\" }}"));
    let other = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventTrigger", "metadata": {"name": "foreign"},
        "spec": {"eventSourceName": "nobody", "sourceClusterSelector": {"matchLabels": {"role": "other"}}}});
    rule.make(&format!("{SVELTOS}/eventtriggers"), &other);
    let mut dispatcher = bench.dispatcher_with(&["--from-cluster"]);
    runs(bench, &mut dispatcher, "e-1", "one", "thing-one");
    let ready = rule.until("eventtriggers", "True", "InForce");
    assert_eq!(ready["observedGeneration"], 1);
    rule.until("eventsources", "True", "InForce");

    rule.retemplate("other");
    wait::until(wait::LIMIT, "the change is in force", || {
        dispatcher.running.process.output().contains("manifests changed and in force").then_some(())
    });
    runs(bench, &mut dispatcher, "e-2", "two", "other-two");
    // The same thing once more: its Job has another name now, and the one before goes.
    runs(bench, &mut dispatcher, "e-3", "one", "other-one");
    let gone = || bench.hand.job(&bench.namespace, "thing-one").is_none();
    wait::until_true("the Job of the name before is gone", gone);
    assert!(bench.hand.job(&bench.namespace, "other-two").is_some());

    rule.one_for_event(false);
    let refused = rule.until("eventtriggers", "False", "Invalid");
    assert!(refused["message"].to_string().contains("oneForEvent"), "{refused}");
    // It stays in force as it was before.
    runs(bench, &mut dispatcher, "e-4", "three", "other-three");

    rule.one_for_event(true);
    rule.until("eventtriggers", "True", "InForce");
    rule.until("eventsources", "True", "InForce");
    let foreign = bench.hand.get(&format!("{SVELTOS}/eventtriggers/foreign")).expect("the foreign trigger");
    assert!(foreign["status"].is_null(), "{foreign}");
}

#[test]
fn objects_of_the_cluster_are_taken_followed_and_told_what_became_of_them() {
    let server = ApiServer::start();
    is_followed(&Bench::on(&server));
    let calls = server.calls();
    assert!(!calls.iter().any(|call| call.contains("secrets")), "{calls:?}");
    assert_eq!(
        job_calls(&server),
        [
            "POST jobs/thing-one 201",
            "LIST pods 200",
            "POST jobs/other-two 201",
            "LIST pods 200",
            "POST jobs/other-one 201",
            "LIST pods 200",
            "DELETE jobs/thing-one 200",
            "POST jobs/other-three 201",
            "LIST pods 200",
        ]
    );
    // What it wrote itself is no change to follow: two objects told four times at most, and once more where they were seen late.
    let told = calls.iter().filter(|call| call.starts_with("PATCH ")).count();
    assert!(told <= 12, "{calls:?}");
}

#[test]
fn what_keeps_a_watch_from_its_work_is_waited_out() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let rule = Rule(&bench);
    rule.apply();
    let forbidden = Effect::forbidden("list", "eventtriggers", "lib.projectsveltos.io");
    server.fault(Fault::times(2, "LIST eventtriggers", forbidden));
    server.fault(Fault::once("LIST configmaps", Effect::Cut));
    // A definition without a status: nothing is written, and nothing else is different.
    let missing =
        Effect::status(404, "NotFound", "the server could not find the requested resource", &Value::Null);
    server.fault(Fault::once("PATCH eventsources", missing));
    let mut dispatcher = bench.dispatcher_with(&["--from-cluster"]);
    runs(&bench, &mut dispatcher, "e-1", "one", "thing-one");
    rule.until("eventtriggers", "True", "InForce");
    server.expire();
    server.cut_watches();
    rule.retemplate("other");
    wait::until(wait::LIMIT, "the change is in force", || {
        dispatcher.running.process.output().contains("manifests changed and in force").then_some(())
    });
    runs(&bench, &mut dispatcher, "e-2", "two", "other-two");
    assert_eq!(
        job_calls(&server),
        ["POST jobs/thing-one 201", "LIST pods 200", "POST jobs/other-two 201", "LIST pods 200"]
    );
}

#[test]
fn triggers_that_are_not_for_us_are_left_out_at_the_start_and_told_why() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    triggers_that_are_not_for_us(&bench);
    assert_eq!(job_calls(&server), ["POST jobs/thing-one 201", "LIST pods 200"]);
    assert!(!server.calls().iter().any(|call| call.contains("secrets")), "{:?}", server.calls());
}

/// Triggers that Sveltos could use and we cannot are left out, each with its reason, and the others serve.
pub(crate) fn triggers_that_are_not_for_us(bench: &Bench) {
    let rule = Rule(bench);
    rule.apply();
    let foreign = [
        (
            "secret",
            json!({"kind": "Secret", "namespace": bench.namespace, "name": "s"}),
            true,
            "Secrets are not read",
        ),
        (
            "all-at-once",
            json!({"kind": "ConfigMap", "namespace": bench.namespace, "name": "thing-made-job"}),
            false,
            "oneForEvent",
        ),
        (
            "dangling",
            json!({"kind": "ConfigMap", "namespace": bench.namespace, "name": "none"}),
            true,
            "none",
        ),
    ];
    for (name, reference, one_for_event, _) in &foreign {
        let spec = json!({"eventSourceName": "thing-made", "oneForEvent": one_for_event,
            "sourceClusterSelector": {"matchLabels": {"role": "deploy"}}, "policyRefs": [reference]});
        rule.make_trigger(name, &spec);
    }
    let mut dispatcher = bench.dispatcher_with(&["--from-cluster"]);
    runs(bench, &mut dispatcher, "e-1", "one", "thing-one");
    rule.until("eventtriggers", "True", "InForce");
    for (name, _, _, words) in foreign {
        let invalid = rule.until_of("eventtriggers", name, "False", "Invalid");
        assert!(invalid["message"].to_string().contains(words), "{invalid}");
    }
}

#[test]
fn a_permission_that_is_taken_away_is_said_until_it_is_given_back() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let rule = Rule(&bench);
    rule.apply();
    let mut dispatcher = bench.dispatcher_with(&["--from-cluster"]);
    let forbidden = Effect::forbidden("list", "eventtriggers", "lib.projectsveltos.io");
    server.fault(Fault::times(usize::MAX, "LIST eventtriggers", forbidden));
    server.expire();
    until_ready_says(&dispatcher, "EventTriggers: eventtriggers.lib.projectsveltos.io is forbidden");
    runs(&bench, &mut dispatcher, "e-1", "one", "thing-one");
    rule.retemplate("other");
    server.mend();
    until_ready_says(&dispatcher, "ready\n");
    wait::until_true("it says nothing more", || !ready(&dispatcher).contains("refused"));
    runs(&bench, &mut dispatcher, "e-2", "two", "other-two");
}

#[test]
fn a_server_that_never_answers_leaves_the_manifests_deaf_for_as_long_only() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let rule = Rule(&bench);
    rule.apply();
    let mut dispatcher = bench.dispatcher_with(&["--from-cluster"]);
    rule.until("eventtriggers", "True", "InForce");
    let held = bench.hold("LIST eventtriggers");
    server.expire();
    until_ready_says(&dispatcher, "EventTriggers: no list came");
    drop(held);
    wait::until_true("it says nothing more", || !ready(&dispatcher).contains("refused"));

    let held = bench.hold("PATCH event");
    rule.one_for_event(false);
    wait::until_true("it says that nobody answers", || {
        dispatcher.running.process.output().contains("the status was not written: no answer")
    });
    for change in [&(|| rule.one_for_event(true)) as &dyn Fn(), &|| rule.retemplate("other")] {
        let taken = || dispatcher.running.process.output().matches("manifests changed and in force").count();
        let before = taken();
        change();
        wait::until_true("the change is in force", || taken() > before);
    }
    drop(held);
    runs(&bench, &mut dispatcher, "e-1", "one", "other-one");
    rule.until("eventtriggers", "True", "InForce");
}

/// The calls about Jobs and their Pods.
fn job_calls(server: &ApiServer) -> Vec<String> {
    let all = server.job_calls().into_iter();
    all.filter(|call| call.contains(" jobs/") || call.contains(" pods")).collect()
}

fn ready(dispatcher: &Dispatcher) -> String {
    http::get(dispatcher.port, "/readyz").map(|answer| answer.body).unwrap_or_default()
}

fn until_ready_says(dispatcher: &Dispatcher, words: &str) {
    wait::until(2 * wait::LIMIT, &format!("/readyz says {words}"), || {
        ready(dispatcher).contains(words).then_some(())
    });
}
