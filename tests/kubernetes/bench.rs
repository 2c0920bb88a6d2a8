//! A namespace of a cluster, with a dispatcher on an embedded bus and one rule: a `thing-made` event runs a Job.

use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tests::kubernetes::{ApiServer, Ended, Gate, Hand, Held};
use tests::program::{Program, Running};
use tests::scratch::Scratch;
use tests::{Setting, http, port, wait};
use uuid::Uuid;

/// The source of all events here.
pub(crate) const SOURCE: &str = "tests";
const SUBJECT: &str = "thing-made";
/// A worker's termination message.
pub(crate) const WELL: &str = r#"{"step":"tests","outcome":"done","exit_code":0}"#;

/// A namespace to work in.
pub(crate) struct Bench {
    /// Plays Job controller and kubelet.
    pub(crate) hand: Hand,
    pub(crate) namespace: String,
    pub(crate) scratch: Scratch,
    kubeconfig: Option<PathBuf>,
    /// Only of the stand-in. On a cluster that existed before, the namespace is removed at the end.
    gate: Option<Gate>,
}

impl Bench {
    /// On a stand-in.
    pub(crate) fn on(server: &ApiServer) -> Self {
        let scratch = Scratch::new("kubernetes");
        let kubeconfig = server.kubeconfig(&scratch);
        Self::made(Hand::on(Some(&kubeconfig)), scratch, Some(kubeconfig), Some(server.gate()))
    }

    /// On the cluster that KUBECONFIG names.
    pub(crate) fn real() -> Self {
        Self::made(Hand::on(None), Scratch::new("cluster"), None, None)
    }

    fn made(hand: Hand, scratch: Scratch, kubeconfig: Option<PathBuf>, gate: Option<Gate>) -> Self {
        let namespace = format!("knapscen-tests-{}", &Uuid::new_v4().simple().to_string()[..8]);
        hand.make_namespace(&namespace);
        let bench = Self { hand, namespace, scratch, kubeconfig, gate };
        bench.write_rule("Continuous", "");
        bench
    }

    /// Replaces the rule: its sync mode, and more lines of the Job's spec.
    pub(crate) fn write_rule(&self, sync_mode: &str, spec: &str) {
        self.write_rule_with(sync_mode, spec, "");
    }

    /// The same, with more lines after the container of the Job.
    pub(crate) fn write_rule_with(&self, sync_mode: &str, spec: &str, more: &str) {
        let namespace = &self.namespace;
        // `managedBy` keeps the built-in controller of a real cluster away, and `schedulerName` its scheduler.
        let text = format!(
            r#"apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {{name: {SUBJECT}}}
spec:
  messagingMatchCriteria:
    - subject: ^{SUBJECT}$
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {{name: {SUBJECT}-trigger}}
spec:
  sourceClusterSelector: {{matchLabels: {{role: deploy}}}}
  eventSourceName: {SUBJECT}
  oneForEvent: true
  syncMode: {sync_mode}
  cloudEventAction: '{{{{ if eq .CloudEvent.type "thing.removed" }}}}Delete{{{{ else }}}}Create{{{{ end }}}}'
  policyRefs: [{{kind: ConfigMap, namespace: default, name: {SUBJECT}-job}}]
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {SUBJECT}-job
  namespace: default
  annotations: {{projectsveltos.io/instantiate: ok}}
data:
  job.yaml: |
    apiVersion: batch/v1
    kind: Job
    metadata:
      name: 'thing-{{{{ .CloudEvent.subject }}}}'
      namespace: {namespace}
    spec:
      managedBy: knapscen.disco/tests
      backoffLimit: 0
      {spec}
      template:
        spec:
          schedulerName: tests-none
          restartPolicy: Never
          containers:
            - name: work
              image: knapscen/none:latest
              env:
                - name: EVENT_ID
                  value: '{{{{ .CloudEvent.id }}}}'
{more}
"#
        );
        self.scratch.write("events/rule.yaml", &text);
    }

    /// A dispatcher, ready.
    pub(crate) fn dispatcher(&self) -> Dispatcher {
        self.dispatcher_with(&[])
    }

    /// A dispatcher with more options, ready.
    pub(crate) fn dispatcher_with(&self, options: &[&str]) -> Dispatcher {
        Self::ready(self.start(None, options))
    }

    /// A dispatcher that reaches the cluster another way, ready.
    pub(crate) fn dispatcher_through(&self, kubeconfig: &Path, options: &[&str]) -> Dispatcher {
        Self::ready(self.start(Some(kubeconfig), options))
    }

    /// A dispatcher on a bus of its own, ready.
    pub(crate) fn dispatcher_apart(&self, options: &[&str]) -> Dispatcher {
        let program = options.iter().fold(Self::embedded(&self.scratch.join("apart.db")), Program::argument);
        Self::ready(self.start_on(program, None, &self.scratch.join("events")))
    }

    /// A ready dispatcher started by another command, with only these settings to find the cluster.
    pub(crate) fn dispatcher_in_pod(&self, behind: &[&str], settings: Vec<Setting>) -> Dispatcher {
        let program = Self::embedded(&self.scratch.join("queue.db")).behind(behind).settings(settings);
        Self::ready(self.start_here(program, &self.scratch.join("events")))
    }

    /// A dispatcher that reaches the cluster another way, and may not become ready.
    pub(crate) fn start_through(&self, kubeconfig: &Path) -> Dispatcher {
        self.start(Some(kubeconfig), &[])
    }

    /// A dispatcher with a token for operators, ready.
    pub(crate) fn dispatcher_as_operator(&self, token: &str) -> Dispatcher {
        let program = Self::embedded(&self.scratch.join("queue.db")).set("ADMIN_TOKEN", token);
        Self::ready(self.start_on(program, None, &self.scratch.join("events")))
    }

    fn ready(dispatcher: Dispatcher) -> Dispatcher {
        let Dispatcher { mut running, port } = dispatcher;
        running
            .process
            .until("ready", || http::get(port, "/readyz").ok().filter(|answer| answer.status == 200));
        Dispatcher { running, port }
    }

    fn start(&self, kubeconfig: Option<&Path>, options: &[&str]) -> Dispatcher {
        let mut program = Self::embedded(&self.scratch.join("queue.db"));
        for option in options {
            program = program.argument(option);
        }
        self.start_on(program, kubeconfig, &self.scratch.join("events"))
    }

    fn embedded(queue: &Path) -> Program {
        Program::dispatcher()
            .argument("run")
            .argument("--bus")
            .argument("embedded")
            .argument("--queue")
            .argument(queue)
    }

    /// A dispatcher on another bus and with other manifests, ready.
    pub(crate) fn dispatcher_on(&self, program: Program, events: &Path) -> Dispatcher {
        Self::ready(self.start_on(program, None, events))
    }

    fn start_on(&self, program: Program, kubeconfig: Option<&Path>, events: &Path) -> Dispatcher {
        self.start_here(self.on_cluster(program, kubeconfig), events)
    }

    fn start_here(&self, program: Program, events: &Path) -> Dispatcher {
        let port = port::free();
        let program = program
            .argument("--events")
            .argument(events)
            .argument("--listen")
            .argument(format!("127.0.0.1:{port}"))
            .argument("--backend")
            .argument("kubernetes")
            .argument("--namespace")
            .argument(&self.namespace)
            .argument("--max-running")
            .argument("64")
            .set("DISPATCHER_LOG_FORMAT", "json");
        Dispatcher { running: program.start(), port }
    }

    /// The program with what it needs to find the cluster.
    pub(crate) fn on_cluster(&self, program: Program, kubeconfig: Option<&Path>) -> Program {
        match kubeconfig.or(self.kubeconfig.as_deref()) {
            Some(kubeconfig) => program.argument("--kubeconfig").argument(kubeconfig),
            None => {
                program.set("KUBECONFIG", &std::env::var("KUBECONFIG").expect("KUBECONFIG names a cluster"))
            }
        }
    }

    /// The kubeconfig of the cluster.
    pub(crate) fn read_kubeconfig(&self) -> Kubeconfig {
        let read = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        read.expect("a kubeconfig")
    }

    /// Holds up the calls that begin with these words, so that earlier changes are visible to them. A real cluster
    /// holds up none.
    pub(crate) fn hold(&self, call: &str) -> Option<Held> {
        self.gate.as_ref().map(|gate| gate.hold(call))
    }

    /// Waits for the Job of this subject that is not `before`.
    pub(crate) fn until_job(&self, subject: &str, before: Option<&Value>) -> Value {
        self.hand.until_job(&self.namespace, &format!("thing-{subject}"), before)
    }

    /// Publishes an event, and waits for its Job.
    pub(crate) fn begin(&self, dispatcher: &Dispatcher, id: &str, subject: &str) -> Value {
        dispatcher.publish(id, subject);
        self.until_job(subject, None)
    }

    /// Plays the Job to a successful end, and waits until its event is done. Returns what is logged.
    pub(crate) fn finish(&self, dispatcher: &mut Dispatcher, id: &str, job: &Value) -> Value {
        self.hand.play(job, &Ended::well(WELL));
        dispatcher.until_complete(id)
    }

    /// An event from its publication to its end. Returns its Job.
    pub(crate) fn runs(&self, dispatcher: &mut Dispatcher, id: &str, subject: &str) -> Value {
        let job = self.begin(dispatcher, id, subject);
        self.finish(dispatcher, id, &job);
        job
    }

    /// The Job of this subject.
    pub(crate) fn job(&self, subject: &str) -> Option<Value> {
        self.hand.job(&self.namespace, &format!("thing-{subject}"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.gate.is_none() {
            self.hand.remove_namespace(&self.namespace);
        }
    }
}

/// A running dispatcher.
pub(crate) struct Dispatcher {
    pub(crate) running: Running,
    pub(crate) port: u16,
}

impl Dispatcher {
    /// Publishes an event of this id about this subject.
    pub(crate) fn publish(&self, id: &str, subject: &str) {
        self.publish_type(id, subject, "thing.made");
    }

    /// Publishes an event that withdraws it.
    pub(crate) fn publish_type(&self, id: &str, subject: &str, event_type: &str) {
        let event = json!({"specversion": "1.0", "id": id, "source": SOURCE, "type": event_type, "subject": subject,
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "data": {}});
        let path = format!("/events?subject={SUBJECT}");
        let headers = [("Content-Type", "application/cloudevents+json")];
        let answer =
            http::request(wait::LIMIT, self.port, "POST", &path, &headers, event.to_string().as_bytes());
        let answer = answer.expect("the dispatcher answers");
        assert_eq!(answer.status, 202, "{}", answer.body);
    }

    /// The newest log line with this message about the event.
    pub(crate) fn logged(&self, message: &str, id: &str) -> Option<Value> {
        let output = self.running.process.output();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().rfind(|line| line["message"] == message && line["event.id"] == id)
    }

    /// Waits until a message about the event is logged.
    pub(crate) fn until_logged(&mut self, message: &str, id: &str) -> Value {
        let found = wait::within(wait::LIMIT, || {
            self.running.process.check_alive();
            self.logged(message, id)
        });
        found.unwrap_or_else(|| {
            panic!("{message} is not logged about {id}:\n{}", self.running.process.evidence())
        })
    }

    /// Waits until the dispatcher knows that the event's Job is complete.
    pub(crate) fn until_complete(&mut self, id: &str) -> Value {
        self.until_logged("complete", id)
    }

    /// The dead letters, whole.
    pub(crate) fn until_dead_letter(&mut self, id: &str) -> Value {
        self.until_logged("dead letter", id)
    }
}
