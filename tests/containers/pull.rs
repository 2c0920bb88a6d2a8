//! Images that the engine does not have: pulled by policy, with credentials if the registry requires them, and later
//! if it is away.

use serde_json::{Value, json};
use tests::engine::{command, docker, try_run};
use tests::nats::Nats;
use tests::program::{Program, Running};
use tests::scratch::Scratch;
use tests::stack::LIMIT;
use tests::{http, port, reaper, wait};

use crate::registry::{PASSWORD, Registry};

/// The event brings everything that a Job needs here.
const MANIFESTS: &str = r"apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: image}
spec:
  messagingMatchCriteria:
    - {subject: ^customer-registered$, cloudEventSource: ^tests$, cloudEventType: ^image$}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: image}
spec:
  sourceClusterSelector: {matchLabels: {role: deploy}}
  eventSourceName: image
  oneForEvent: true
  syncMode: Continuous
  cloudEventAction: Create
  policyRefs:
    - {kind: ConfigMap, namespace: default, name: image, deploymentType: Remote}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: image
  namespace: default
  annotations: {projectsveltos.io/instantiate: ok}
data:
  job.yaml: |
    apiVersion: batch/v1
    kind: Job
    metadata: {name: {{ .CloudEvent.subject | quote }}, namespace: default}
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          imagePullSecrets: {{ .CloudEvent.data.secrets | toJson }}
          containers:
            - name: worker
              image: {{ .CloudEvent.data.image | quote }}
              imagePullPolicy: {{ .CloudEvent.data.policy | quote }}
              securityContext: {runAsUser: 65532}
";

/// A dispatcher on the real engine, whose Jobs run the images that events name.
struct Puller {
    running: Running,
    nats: Nats,
    scope: String,
    _scratch: Scratch,
}

impl Puller {
    /// With the folder of a `docker login`, and Secrets by name.
    fn start(docker_config: &str, secrets: &[(&str, String)]) -> Self {
        let (nats, scratch) = (Nats::start(), Scratch::new("puller"));
        let port = port::free();
        let scope = format!("knapscen-test-{}-{port}", std::process::id());
        scratch.write("events/image/all.yaml", MANIFESTS);
        let mut program = Program::dispatcher()
            .settings(nats.settings())
            .set("DISPATCHER_BACKEND", "docker")
            .set("DISPATCHER_DOCKER_SCOPE", &scope)
            .set("DISPATCHER_DOCKER_NETWORK", "none")
            .set("DISPATCHER_DOCKER_LABELS", &format!("com.docker.compose.project={scope}"))
            .set("DISPATCHER_LOG", "trace")
            .set("DOCKER_HOST", &std::env::var("DOCKER_HOST").unwrap_or_default())
            .set("DOCKER_CONFIG", docker_config)
            .argument("run")
            .argument("--events")
            .argument(scratch.join("events"))
            .argument("--listen")
            .argument(format!("127.0.0.1:{port}"));
        for (name, config) in secrets {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config},
            });
            let path = scratch.write(&format!("{name}.json"), &secret.to_string());
            program = program.argument("--secret").argument(format!("{name}={}", path.display()));
        }
        reaper::watch_project(&scope);
        let mut running = program.start();
        running
            .process
            .until("ready", || http::get(port, "/readyz").ok().filter(|answer| answer.status == 200));
        Self { running, nats, scope, _scratch: scratch }
    }

    /// Publishes an event that starts a Job.
    fn publish(&self, job: &str, image: &str, policy: &str, secrets: &[&str]) {
        let secrets: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
        let event = json!({
            "specversion": "1.0", "id": job, "source": "tests", "type": "image", "subject": job,
            "data": {"image": image, "policy": policy, "secrets": secrets},
        });
        self.nats.publish("customer-registered", &event);
    }

    /// The output of the Job's image, once the Job is complete.
    fn says(&self, job: &str) -> String {
        let container = format!("{}.default.{job}", self.scope);
        wait::until(LIMIT, &format!("{job} has run"), || {
            let state = ["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", &container];
            let state = try_run(&mut command("docker", &state));
            (state.stdout == b"exited 0\n").then_some(())
        });
        docker(&["logs", &container])
    }

    /// Why the Job's event is a dead letter.
    fn reason(&self, job: &str) -> String {
        let list = Program::dispatcher().settings(self.nats.settings());
        let list = ["dead-letters", "list", "--output", "json"].iter().fold(list, Program::argument);
        wait::until(LIMIT, &format!("{job} is a dead letter"), || {
            let listed = list.run_to(0).output;
            let letter = listed.lines().find(|line| line.contains(job))?;
            Some(serde_json::from_str::<Value>(letter).expect("a letter")["reason"].to_string())
        })
    }
}

impl Drop for Puller {
    fn drop(&mut self) {
        self.running.kill();
        let label = format!("label=com.docker.compose.project={}", self.scope);
        for container in docker(&["ps", "--all", "--quiet", "--filter", &label]).lines() {
            docker(&["rm", "--force", "--volumes", container]);
        }
        reaper::forget_project(&self.scope);
    }
}

#[test]
fn an_image_is_pulled_as_the_policy_says() {
    let registry = Registry::open();
    let (older, newer) = (registry.push("older", "older"), registry.push("newer", "newer"));
    let missing = registry.image("missing");
    let puller = Puller::start("", &[]);
    puller.publish("pulled", &older, "IfNotPresent", &[]);
    assert_eq!(puller.says("pulled"), "older");
    // On the engine, the newer image's name now means the older image.
    docker(&["tag", &older, &newer]);
    docker(&["image", "rm", &older]);
    puller.publish("kept", &newer, "IfNotPresent", &[]);
    assert_eq!(puller.says("kept"), "older");
    puller.publish("never-pulled", &newer, "Never", &[]);
    assert_eq!(puller.says("never-pulled"), "older");
    puller.publish("pulled-anew", &newer, "Always", &[]);
    assert_eq!(puller.says("pulled-anew"), "newer");
    puller.publish("not-there", &older, "Never", &[]);
    let reason = puller.reason("not-there");
    assert!(reason.contains(&older) && reason.contains("imagePullPolicy is Never; build it"), "{reason}");
    puller.publish("nowhere", &missing, "IfNotPresent", &[]);
    let reason = puller.reason("nowhere");
    assert!(reason.contains(&missing) && reason.contains("correct the name"), "{reason}");
}

#[test]
fn a_registry_that_asks_who_pulls_is_told_and_nobody_else_is() {
    let registry = Registry::locked();
    let image = registry.push("locked", "open");
    let secrets = [("right", registry.login(PASSWORD)), ("wrong", registry.login("guess"))];
    let puller = Puller::start("", &secrets);
    puller.publish("nobody", &image, "IfNotPresent", &[]);
    let reason = puller.reason("nobody");
    assert!(reason.contains(&image) && reason.contains("imagePullSecrets"), "{reason}");
    puller.publish("stranger", &image, "IfNotPresent", &["wrong"]);
    let reason = puller.reason("stranger");
    assert!(reason.contains("those of the Secret wrong were given"), "{reason}");
    puller.publish("absent", &image, "IfNotPresent", &["absent"]);
    let reason = puller.reason("absent");
    assert!(reason.contains("--secret absent=FILE"), "{reason}");
    puller.publish("by-secret", &image, "IfNotPresent", &["absent", "right"]);
    assert_eq!(puller.says("by-secret"), "open");

    let by_login = Puller::start(&registry.login_folder(), &[]);
    by_login.publish("by-login", &image, "Always", &[]);
    assert_eq!(by_login.says("by-login"), "open");

    for puller in [&puller, &by_login] {
        let output = puller.running.process.output();
        assert!(output.contains("DEBUG") && !output.contains(PASSWORD), "the password is in the log");
    }
}

#[test]
fn a_registry_that_is_away_is_asked_again() {
    let mut registry = Registry::open();
    let image = registry.push("patient", "at last");
    registry.stop();
    let mut puller = Puller::start("", &[]);
    puller.publish("patient", &image, "IfNotPresent", &[]);
    let process = &mut puller.running.process;
    let tried = "the image could not be pulled; it is tried again";
    wait::until(LIMIT, "the registry was asked", || process.output().contains(tried).then_some(()));
    registry.start();
    assert_eq!(puller.says("patient"), "at last");
}
