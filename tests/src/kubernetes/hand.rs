//! Plays the Job controller and the kubelet, only through the API: on the stand-in and on a real cluster.
//!
//! On a real cluster, the Jobs that it plays have `managedBy`, so that the built-in controller ignores them, and a
//! scheduler that does not exist. What it writes follows the rules of Kubernetes 1.30 and newer: a Job ends only
//! after the condition that announces the end, with its times, and with no active Pod.

use std::path::Path;
use std::time::Duration;

use axum::http::{Method, Request};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::rules::now;
use crate::{block_on, wait};

/// The stand-in recognises it by this.
pub(super) const AGENT: &str = "tests-hand";

/// Writes what a controller and a kubelet would write.
pub struct Hand {
    client: kube::Client,
}

/// How a try ends.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    /// The container's exit code.
    pub code: i32,
    /// Its termination message.
    pub message: &'a str,
    /// The reason in the Job's condition if the Job failed; empty if it did not fail, or is complete.
    pub failure: &'a str,
}

impl<'a> Ended<'a> {
    /// Exit code 0: the Job is complete.
    pub fn well(message: &'a str) -> Self {
        Self { code: 0, message, failure: "" }
    }

    /// The Job has failed for this reason.
    pub fn badly(code: i32, message: &'a str, failure: &'a str) -> Self {
        Self { code, message, failure }
    }
}

impl Hand {
    /// On the cluster of this kubeconfig, or of the usual ones.
    pub fn on(kubeconfig: Option<&Path>) -> Self {
        let client = block_on(async {
            let mut config = match kubeconfig {
                Some(path) => {
                    let file = Kubeconfig::read_from(path).expect("a kubeconfig");
                    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                        .await
                        .expect("a config")
                }
                None => Config::infer().await.expect("KUBECONFIG names a cluster"),
            };
            config.headers.push((axum::http::header::USER_AGENT, AGENT.parse().expect("a header")));
            kube::Client::try_from(config).expect("a client")
        });
        Self { client }
    }

    /// Makes a call that must succeed; `None` if there is no such object.
    pub fn call(&self, method: &Method, path: &str, body: &Value) -> Option<Value> {
        match self.try_call(method, path, body) {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Makes a call.
    pub fn try_call(&self, method: &Method, path: &str, body: &Value) -> Result<Value, kube::Error> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(bytes).expect("a request");
        block_on(self.client.request(request))
    }

    /// Gets an object.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.call(&Method::GET, path, &Value::Null)
    }

    /// A namespace, created now.
    pub fn make_namespace(&self, name: &str) {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
            "labels": {"app.kubernetes.io/managed-by": "knapscen-tests"}}});
        self.call(&Method::POST, "/api/v1/namespaces", &body).expect("a namespace");
    }

    /// Removes a namespace with its contents. If no controller empties it, this does.
    pub fn remove_namespace(&self, name: &str) {
        let path = format!("/api/v1/namespaces/{name}");
        for (prefix, plural) in [("apis/batch/v1", "jobs"), ("api/v1", "pods"), ("api/v1", "events")] {
            let options = json!({"propagationPolicy": "Background", "gracePeriodSeconds": 0});
            self.call(&Method::DELETE, &format!("/{prefix}/namespaces/{name}/{plural}"), &options);
        }
        self.call(&Method::DELETE, &path, &json!({}));
        let gone = wait::within(Duration::from_secs(20), || self.get(&path).is_none().then_some(()));
        if gone.is_none() {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": []}});
            self.call(&Method::PUT, &format!("{path}/finalize"), &body);
        }
    }

    /// A Job as it is.
    pub fn job(&self, namespace: &str, name: &str) -> Option<Value> {
        self.get(&job_path(namespace, name))
    }

    /// A Pod as it is.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}"))
    }

    /// The names of all Jobs.
    pub fn job_names(&self, namespace: &str) -> Vec<String> {
        let list = self.get(&format!("/apis/batch/v1/namespaces/{namespace}/jobs")).unwrap_or_default();
        let names =
            list["items"].as_array().into_iter().flatten().filter_map(|job| job["metadata"]["name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// Waits for a Job with this name that was not seen before.
    pub fn until_job(&self, namespace: &str, name: &str, before: Option<&Value>) -> Value {
        wait::until(wait::LIMIT, &format!("there is a Job {name}"), || {
            let job = self.job(namespace, name)?;
            (before.is_none_or(|before| before["metadata"]["uid"] != job["metadata"]["uid"])).then_some(job)
        })
    }

    /// Creates a Pod for the Job and runs it. Returns the Pod's name.
    pub fn start(&self, job: &Value) -> String {
        let pod = self.make_pod(job);
        let (started, container) = (now(), container(job));
        let status = json!({"phase": "Running", "startTime": started, "containerStatuses": [status(&container, true,
            &json!({"running": {"startedAt": started}}))]});
        self.patch_pod(job, &pod, &status);
        self.patch_job(job, &json!({"startTime": started, "active": 1, "ready": 1}));
        pod
    }

    /// Creates a Pod that does not start, with this status.
    pub fn start_badly(&self, job: &Value, status: &Value) -> String {
        let pod = self.make_pod(job);
        self.patch_pod(job, &pod, status);
        self.patch_job(job, &json!({"startTime": now(), "active": 1, "ready": 0}));
        pod
    }

    /// Ends a Pod, and the Job with it.
    pub fn end(&self, job: &Value, pod: &str, ended: &Ended) {
        let container = container(job);
        let (time, well) = (now(), ended.code == 0);
        let reason = if well { "Completed" } else { "Error" };
        let terminated = json!({"terminated": {"exitCode": ended.code, "reason": reason, "message": ended.message,
            "startedAt": time, "finishedAt": time}});
        let phase = if well { "Succeeded" } else { "Failed" };
        let pod_status =
            json!({"phase": phase, "containerStatuses": [status(&container, false, &terminated)]});
        self.patch_pod(job, pod, &pod_status);
        if well {
            self.complete(job);
        } else if !ended.failure.is_empty() {
            self.fail(job, ended.failure, &format!("Job has failed: {}", ended.failure));
        }
    }

    /// Starts the Job and ends it.
    pub fn play(&self, job: &Value, ended: &Ended) {
        let pod = self.start(job);
        self.end(job, &pod, ended);
    }

    /// The Job is complete.
    pub fn complete(&self, job: &Value) {
        let condition =
            |kind: &str| condition(kind, "CompletionsReached", "Reached expected number of succeeded pods");
        self.patch_job(job, &json!({
            "startTime": self.started(job), "completionTime": now(), "active": 0, "ready": 0, "terminating": 0, "succeeded": 1,
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
        }));
    }

    /// The Job has failed.
    pub fn fail(&self, job: &Value, reason: &str, message: &str) {
        self.patch_job(job, &json!({
            "startTime": self.started(job), "active": 0, "ready": 0, "terminating": 0, "failed": 1,
            "conditions": [condition("FailureTarget", reason, message), condition("Failed", reason, message)],
        }));
    }

    /// Removes the Job, like its `ttlSecondsAfterFinished` or a person.
    pub fn remove_job(&self, job: &Value) {
        self.call(&Method::DELETE, &path_of(job), &json!({"propagationPolicy": "Background"}));
    }

    /// Puts a label on the Job.
    pub fn label(&self, job: &Value, label: &str, value: &str) {
        let change = json!({"metadata": {"labels": {label: value}}});
        self.call(&Method::PATCH, &path_of(job), &change).expect("the Job");
    }

    /// Reports something that happened to an object.
    pub fn tell(&self, object: &Value, reason: &str, message: &str) {
        let namespace = text(object, "/metadata/namespace");
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "tests-", "namespace": namespace},
            "involvedObject": {"apiVersion": object["apiVersion"], "kind": object["kind"], "namespace": namespace,
                "name": object["metadata"]["name"], "uid": object["metadata"]["uid"]},
            "type": "Warning", "reason": reason, "message": message, "count": 1,
            "firstTimestamp": now(), "lastTimestamp": now(), "source": {"component": "tests"},
        });
        self.call(&Method::POST, &format!("/api/v1/namespaces/{namespace}/events"), &event);
    }

    fn started(&self, job: &Value) -> Value {
        let current = self.get(&path_of(job)).unwrap_or_default();
        // Once set, it must not change.
        Some(current["status"]["startTime"].clone())
            .filter(|time| !time.is_null())
            .unwrap_or_else(|| json!(now()))
    }

    fn make_pod(&self, job: &Value) -> String {
        let namespace = text(job, "/metadata/namespace");
        let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"],
            "uid": job["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true});
        let template = &job["spec"]["template"];
        let mut spec = template["spec"].clone();
        spec["schedulerName"] = json!("tests-none");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"generateName": format!("{}-", text(job, "/metadata/name")), "namespace": namespace,
                "labels": template["metadata"]["labels"], "ownerReferences": [owner],
                "annotations": {"tests/log": "first line\nlast line\n"}},
            "spec": spec,
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        // A new namespace gets its service account a moment later.
        let made =
            wait::until(wait::LIMIT, "a Pod is taken", || match self.try_call(&Method::POST, &path, &pod) {
                Err(kube::Error::Api(status))
                    if status.code == 403 && status.message.contains("serviceaccount") =>
                {
                    None
                }
                answer => Some(answer),
            });
        text(&made.expect("a Pod"), "/metadata/name")
    }

    fn patch_pod(&self, job: &Value, pod: &str, status: &Value) {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/status", text(job, "/metadata/namespace"));
        self.call(&Method::PATCH, &path, &json!({"status": status})).expect("the Pod");
    }

    fn patch_job(&self, job: &Value, status: &Value) {
        self.call(&Method::PATCH, &format!("{}/status", path_of(job)), &json!({"status": status}))
            .expect("the Job");
    }
}

impl std::fmt::Debug for Hand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hand")
    }
}

fn job_path(namespace: &str, name: &str) -> String {
    format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}")
}

fn path_of(job: &Value) -> String {
    job_path(&text(job, "/metadata/namespace"), &text(job, "/metadata/name"))
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn container(job: &Value) -> Value {
    job["spec"]["template"]["spec"]["containers"][0].clone()
}

fn condition(kind: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": reason, "message": message,
        "lastProbeTime": now(), "lastTransitionTime": now()})
}

fn status(container: &Value, ready: bool, state: &Value) -> Value {
    json!({"name": container["name"], "image": container["image"], "imageID": "", "ready": ready, "started": ready,
        "restartCount": 0, "state": state})
}
