//! Manifests as objects of the cluster: read, followed, refused, with the result in their status.

use axum::http::Method;
use serde_json::{Value, json};
use tests::kubernetes::{ApiServer, Effect, Fault};
use tests::{http, wait};

use crate::bench::{Bench, Dispatcher};

const SVELTOS: &str = "/apis/lib.projectsveltos.io/v1beta1";

/// The objects of the rule, in the bench's namespace if they have one.
pub(crate) struct Rule<'a>(pub(crate) &'a Bench);

impl Rule<'_> {
    pub(crate) fn apply(&self) {
        self.make_all_of("thing-made");
    }

    fn make_all_of(&self, subject: &str) {
        self.make_source_and_trigger(subject);
        self.make(&self.config_maps(), &config_map(&format!("{subject}-job"), &self.template("thing")));
    }

    fn make_source_and_trigger(&self, subject: &str) {
        let source = json!({"messagingMatchCriteria": [{"subject": format!("^{subject}$")}]});
        let name = format!("{subject}-job");
        let reference = json!({"kind": "ConfigMap", "namespace": self.0.namespace, "name": name});
        let trigger = json!({"eventSourceName": subject, "oneForEvent": true, "syncMode": "Continuous",
            "sourceClusterSelector": {"matchLabels": {"role": "deploy"}}, "policyRefs": [reference]});
        self.make(&format!("{SVELTOS}/eventsources"), &object("EventSource", subject, &source));
        self.make_trigger(&format!("{subject}-trigger"), &trigger);
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

    /// Makes a mistake that the definitions allow, or corrects it.
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

/// Objects of the cluster are used, their changes followed and mistakes left out, and the status of each says so.
pub(crate) fn is_followed(bench: &Bench) {
    let rule = Rule(bench);
    rule.apply();
    // A cluster has ConfigMaps that do not concern us, even templates.
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
    // The same thing once more: its Job has another name now, and the earlier one is removed.
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
    // Its own writes are no change to follow: four writes for two objects at most, and one more if they were seen
    // late.
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
    // A definition without a status: nothing is written, and nothing else changes.
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
fn an_event_whose_only_trigger_is_left_out_waits_until_it_is_mended() {
    let server = ApiServer::start();
    only_trigger_left_out(&Bench::on(&server));
    assert_eq!(job_calls(&server), ["POST jobs/thing-one 201", "LIST pods 200"]);
}

/// A trigger without its ConfigMap takes nothing. Its event waits, is shown as waiting, and is handled once the
/// ConfigMap exists.
pub(crate) fn only_trigger_left_out(bench: &Bench) {
    let rule = Rule(bench);
    rule.make_all_of("other-made");
    rule.make_source_and_trigger("thing-made");
    let mut dispatcher = bench.dispatcher_with(&["--from-cluster"]);
    rule.until("eventtriggers", "False", "Invalid");
    dispatcher.publish("e-1", "one");
    let parked = dispatcher.until_logged("parked until the manifests change", "e-1");
    assert!(parked["reason"].to_string().contains("thing-made-job"), "{parked}");
    let metrics = http::get(dispatcher.port, "/metrics").expect("metrics").body;
    assert!(metrics.contains("dispatcher_events_parked{subject=\"thing-made\"} 1"), "{metrics}");
    assert!(ready(&dispatcher).contains("1 event on thing-made wait"), "{}", ready(&dispatcher));

    rule.make(&rule.config_maps(), &config_map("thing-made-job", &rule.template("thing")));
    rule.until("eventtriggers", "True", "InForce");
    let job = bench.hand.until_job(&bench.namespace, "thing-one", None);
    bench.finish(&mut dispatcher, "e-1", &job);
}

#[test]
fn triggers_that_are_not_for_us_are_left_out_at_the_start_and_told_why() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    triggers_that_are_not_for_us(&bench);
    assert_eq!(job_calls(&server), ["POST jobs/thing-one 201", "LIST pods 200"]);
    assert!(!server.calls().iter().any(|call| call.contains("secrets")), "{:?}", server.calls());
}

/// Triggers that Sveltos could use and we cannot are left out, each with its reason, and the others work.
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

/// What Sveltos writes into a trigger that it acts on, and removes with the trigger.
fn acts(bench: &Bench, acts: bool) {
    let cluster = json!({"cluster": {"kind": "SveltosCluster", "namespace": "mgmt", "name": "mgmt"}, "status": "Provisioned"});
    let status = json!({"status": {"clusterInfo": if acts { json!([cluster]) } else { json!([]) }}});
    let path = format!("{SVELTOS}/eventtriggers/thing-made-trigger/status");
    bench.hand.call(&Method::PATCH, &path, &status).expect("the status");
}

fn warnings(dispatcher: &Dispatcher) -> Vec<Value> {
    let output = dispatcher.running.process.output();
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["level"] == "WARN").collect()
}

/// The chapter "From Sveltos to the dispatcher and back" of the deployment's README, step by step.
#[test]
fn a_cluster_goes_from_sveltos_to_the_dispatcher_and_back() {
    let server = ApiServer::start();
    server.with_definitions_of_sveltos();
    let bench = Bench::on(&server);
    let rule = Rule(&bench);
    // Sveltos has made the objects and the Job of an event, and still acts on the trigger.
    rule.apply();
    acts(&bench, true);
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "thing-zero"}, "spec": {
        "managedBy": "knapscen.disco/tests", "template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "work", "image": "knapscen/none:latest"}]}}}});
    bench
        .hand
        .call(&Method::POST, &format!("/apis/batch/v1/namespaces/{}/jobs", bench.namespace), &job)
        .expect("a Job");

    let mut dispatcher = bench.dispatcher_with(&["--from-cluster"]);
    let says = |dispatcher: &Dispatcher, words: &str| {
        warnings(dispatcher).iter().filter(|line| line.to_string().contains(words)).count()
    };
    // The definitions have no place for our status: logged once for each kind. Their defaults are not reported.
    wait::until_true("the lost status is said", || says(&dispatcher, "keeps no status.conditions") == 2);
    wait::until_true("Sveltos is seen", || says(&dispatcher, "Sveltos acts on this trigger as well") == 1);
    assert_eq!(says(&dispatcher, "Sveltos knows this field"), 0, "{:?}", warnings(&dispatcher));
    // The event source and the trigger have fields that the server filled in; the text of the Job lacks one.
    assert_eq!(says(&dispatcher, "unknown field"), 0, "{:?}", warnings(&dispatcher));

    // Sveltos is stopped: from now on only the dispatcher makes Jobs.
    acts(&bench, false);
    runs(&bench, &mut dispatcher, "e-1", "one", "thing-one");
    // A Job that Sveltos made blocks an event with its name, and no other.
    dispatcher.publish("e-0", "zero");
    let line = dispatcher.until_dead_letter("e-0");
    assert_eq!(line["class"], "NameTaken", "{line}");
    let trigger =
        bench.hand.get(&format!("{SVELTOS}/eventtriggers/thing-made-trigger")).expect("the trigger");
    assert!(trigger["status"]["conditions"].is_null(), "{trigger}");

    // And back: the dispatcher is stopped first, and its Jobs stay.
    drop(dispatcher);
    acts(&bench, true);
    assert!(bench.hand.job(&bench.namespace, "thing-one").is_some());
    assert!(bench.hand.job(&bench.namespace, "thing-zero").is_some());
}
