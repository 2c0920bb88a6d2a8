//! Manifests that are objects of the cluster: taken, followed, refused, and told what became of them.

use axum::http::Method;
use serde_json::{Value, json};
use tests::kubernetes::{ApiServer, Effect, Fault};
use tests::program::Program;
use tests::wait;

use crate::bench::{Bench, Dispatcher};

const SVELTOS: &str = "/apis/lib.projectsveltos.io/v1beta1";

/// The objects of the rule, in the bench's namespace where they have one.
pub(crate) struct Rule<'a>(pub(crate) &'a Bench);

impl Rule<'_> {
    pub(crate) fn apply(&self) {
        let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": kind, "metadata": {"name": name, "generation": 1}, "spec": spec});
        let source = json!({"messagingMatchCriteria": [{"subject": "^thing-made$"}]});
        let reference = json!({"kind": "ConfigMap", "namespace": self.0.namespace, "name": "thing-made-job"});
        let trigger = json!({"eventSourceName": "thing-made", "oneForEvent": true, "syncMode": "Continuous",
            "sourceClusterSelector": {"matchLabels": {"role": "deploy"}}, "policyRefs": [reference]});
        self.make(&format!("{SVELTOS}/eventsources"), &object("EventSource", "thing-made", source));
        self.make(
            &format!("{SVELTOS}/eventtriggers"),
            &object("EventTrigger", "thing-made-trigger", trigger),
        );
        self.make(&self.config_maps(), &config_map("thing-made-job", &self.template("thing")));
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

    fn sync(&self, mode: &str) {
        let path = format!("{SVELTOS}/eventtriggers/thing-made-trigger");
        self.0.hand.call(&Method::PATCH, &path, &json!({"spec": {"syncMode": mode}})).expect("the trigger");
    }

    /// Waits until the condition `Ready` of the trigger, or of the source, is this.
    pub(crate) fn until(&self, plural: &str, status: &str, reason: &str) -> Value {
        let name = if plural == "eventsources" { "thing-made" } else { "thing-made-trigger" };
        wait::until(wait::LIMIT, &format!("{plural} are Ready {status} because {reason}"), || {
            let object = self.0.hand.get(&format!("{SVELTOS}/{plural}/{name}"))?;
            let conditions = object["status"]["conditions"].as_array()?.clone();
            conditions
                .into_iter()
                .find(|one| one["type"] == "Ready" && one["status"] == status && one["reason"] == reason)
        })
    }
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

#[test]
fn objects_of_the_cluster_are_taken_followed_and_told_what_became_of_them() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let rule = Rule(&bench);
    rule.apply();
    // A cluster has ConfigMaps that are no business of ours, even if they are templates.
    rule.make(&rule.config_maps(), &config_map("foreign", "{{ getResource \"x\" }}"));
    let other = json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "EventTrigger", "metadata": {"name": "foreign"},
        "spec": {"eventSourceName": "nobody", "sourceClusterSelector": {"matchLabels": {"role": "other"}}}});
    rule.make(&format!("{SVELTOS}/eventtriggers"), &other);
    let mut dispatcher = bench.dispatcher_with(&["--from-cluster"]);
    runs(&bench, &mut dispatcher, "e-1", "one", "thing-one");
    let ready = rule.until("eventtriggers", "True", "InForce");
    assert_eq!(ready["observedGeneration"], 1);
    rule.until("eventsources", "True", "InForce");

    rule.retemplate("other");
    wait::until(wait::LIMIT, "the change is in force", || {
        dispatcher.running.process.output().contains("manifests changed and in force").then_some(())
    });
    runs(&bench, &mut dispatcher, "e-2", "two", "other-two");
    // The same thing once more: its Job has another name now, and the one before goes.
    runs(&bench, &mut dispatcher, "e-3", "one", "other-one");
    let gone = || bench.hand.job(&bench.namespace, "thing-one").is_none();
    wait::until_true("the Job of the name before is gone", gone);
    assert!(bench.hand.job(&bench.namespace, "other-two").is_some());

    rule.sync("Sometimes");
    let refused = rule.until("eventtriggers", "False", "Invalid");
    assert!(refused["message"].to_string().contains("Sometimes"), "{refused}");
    let waiting = rule.until("eventsources", "Unknown", "SetRefused");
    assert!(waiting["message"].to_string().contains("EventTrigger/thing-made-trigger"), "{waiting}");
    runs(&bench, &mut dispatcher, "e-4", "three", "other-three");

    rule.sync("Continuous");
    rule.until("eventtriggers", "True", "InForce");
    rule.until("eventsources", "True", "InForce");
    let foreign = bench.hand.get(&format!("{SVELTOS}/eventtriggers/foreign")).expect("the foreign trigger");
    assert!(foreign["status"].is_null(), "{foreign}");
    let calls = server.calls();
    assert!(!calls.iter().any(|call| call.contains("secrets")), "{calls:?}");
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
}

#[test]
fn a_cluster_whose_manifests_are_wrong_is_refused_at_the_start_and_told_why() {
    let server = ApiServer::start();
    let bench = Bench::on(&server);
    let rule = Rule(&bench);
    rule.apply();
    rule.sync("Sometimes");
    let start = [
        "run",
        "--bus",
        "embedded",
        "--from-cluster",
        "--backend",
        "kubernetes",
        "--namespace",
        &bench.namespace,
    ];
    let start = start.iter().fold(Program::dispatcher(), Program::argument);
    let ended = bench.on_cluster(start, None).run_to(78);
    assert!(ended.output.contains("EventTrigger/thing-made-trigger"), "{}", ended.output);
    rule.until("eventtriggers", "False", "Invalid");
}
