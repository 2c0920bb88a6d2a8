//! Events that try to get more than a Job, and templates that ask for more than is allowed.

use super::*;
use crate::plan::{BackendKind, EnvValue, expand, unsupported};

const QUOTED: &str = "        - {name: NAME, value: \"{{ .CloudEvent.data.name }}\"}";

/// What the container sees as NAME.
fn name_seen(template: &str, name: &str) -> String {
    let mut jobs = jobs(plan_one(template, &event(json!({"data": {"name": name}}))));
    assert_eq!(jobs.len(), 1);
    let spec = jobs.remove(0).spec;
    assert_eq!((spec.image.as_str(), spec.env.len(), spec.command.len()), ("acme/image:1", 1, 0), "{name}");
    match &spec.env[0].value {
        EnvValue::Literal(text) => expand(text, |_| Some("LEAKED".into())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hostile_company_name_arrives_exactly_and_changes_nothing_else() {
    for name in [
        "\"Quote\" & Sons: #1",
        "O'Brien",
        "back\\slash",
        "tab\tname",
        "line1\nline2",
        "{{ .Cluster }}",
        "colon: yes # no",
        "*alias &anchor !tag",
        "---\nkind: ClusterRoleBinding",
        "x\"\n        - name: LD_PRELOAD\n          value: \"/x/evil.so",
        "x\"\n        image: evil/pwn:latest\n        command: [\"sh\",\"-c\",\"id\"]\n        env:\n        - name: Z\n          value: \"",
        "x\"\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: pwn\n#",
        "$(DB_PASSWORD)",
        "A$$AP $$(X) $",
        "ctl\u{7}\u{b}\u{7f}\u{2028}\u{a0}",
        "emoji 😀 / café",
        "0x1f",
        "true",
        "12345",
        "~",
    ] {
        for env in [
            QUOTED,
            "        - {name: NAME, value: '{{ .CloudEvent.data.name }}'}",
            "        - name: NAME\n          value: {{ .CloudEvent.data.name | quote }}",
            "        - name: NAME\n          value: {{ .CloudEvent.data.name | toJson }}",
        ] {
            assert_eq!(name_seen(&job("j", env), name), name, "{env}");
        }
    }
}

#[test]
fn a_job_name_from_event_data_is_made_valid_and_the_true_one_is_kept() {
    let hostile = "ACME \"&\" Sons/../../etc".repeat(10);
    let text = job("\"job-{{ .CloudEvent.subject }}\"", QUOTED);
    let make = || jobs(plan_one(&text, &event(json!({"subject": hostile})))).remove(0);
    let first = make();
    assert!(super::super::name::is_dns_name(&first.name), "{}", first.name);
    assert_eq!(first.name, make().name);
    assert_eq!(first.manifest.value()["metadata"]["name"], first.name);
    assert_eq!(
        first.manifest.value()["metadata"]["annotations"]["dispatcher.knapscen.disco/requested-name"],
        format!("job-{hostile}")
    );
    let kept = jobs(plan_one(&text, &event(json!({})))).remove(0);
    assert_eq!(kept.name, "job-s-1");
    assert!(
        kept.manifest.value()["metadata"]["annotations"]
            .get("dispatcher.knapscen.disco/requested-name")
            .is_none()
    );
}

#[test]
fn an_unquoted_name_of_digits_is_a_name() {
    assert_eq!(
        jobs(plan_one(&job("{{ .CloudEvent.subject }}", QUOTED), &event(json!({"subject": "12345"}))))
            .remove(0)
            .name,
        "12345"
    );
}

#[test]
fn a_text_of_digits_is_a_number_where_the_field_wants_one_and_a_text_elsewhere() {
    let text = job("j", "        - {name: NAME, value: {{ .CloudEvent.data.name }}}").replace(
        "spec:\n  template",
        "spec:\n  parallelism: {{ .CloudEvent.data.name }}\n  activeDeadlineSeconds: {{ .CloudEvent.data.none }}\n  template",
    );
    let plan = |name: &str| plan_one(&text, &event(json!({"data": {"name": name, "none": ""}})));
    let job = jobs(plan("3")).remove(0);
    assert_eq!(job.manifest.value()["spec"]["parallelism"], 3);
    assert_eq!(
        (job.spec.active_deadline, job.manifest.value()["spec"]["activeDeadlineSeconds"].is_null()),
        (None, true)
    );
    assert_eq!(job.manifest.value().pointer("/spec/template/spec/containers/0/env/0/value").unwrap(), "3");
    assert!(fault(plan("three")).contains("spec.parallelism: invalid type: string, expected i32"));
    // The manifest's own text is not corrected, because other programs would not correct it either.
    let quoted = text.replace("parallelism: {{ .CloudEvent.data.name }}", "parallelism: \"3\"");
    assert!(
        fault(plan_one(&quoted, &event(json!({"data": {"name": "3", "none": ""}}))))
            .contains("spec.parallelism")
    );
}

#[test]
fn a_label_from_event_data_is_made_valid_and_the_true_one_is_kept() {
    let text = job("j", QUOTED)
        .replace("  name: j\n", "  name: j\n  labels: {item: \"{{ .CloudEvent.data.name }}\"}\n");
    let job = jobs(plan_one(&text, &event(json!({"data": {"name": "TechCorp Solutions"}}))))
        .remove(0)
        .manifest
        .value();
    assert!(job["metadata"]["labels"]["item"].as_str().unwrap().starts_with("TechCorp-Solutions-"));
    let kept = job["metadata"]["annotations"]["dispatcher.knapscen.disco/requested-labels"].as_str().unwrap();
    assert_eq!(kept, r#"{"item":"TechCorp Solutions"}"#);
}

#[test]
fn only_jobs_in_allowed_namespaces_with_allowed_images_are_made() {
    let refused = |text: &str, policy: &Policy| {
        let set = manifests(&[SOURCE, &trigger(""), &template(text)]);
        let error = plan(&event(json!({})), &set, &Cluster::default(), policy).remove(0).outcome.unwrap_err();
        assert_eq!(error.stage, crate::plan::Stage::Policy);
        error.field
    };
    let any = Policy::default();
    assert_eq!(refused("apiVersion: v1\nkind: Pod\nmetadata: {name: x}", &any), "kind");
    assert_eq!(
        refused(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: x}",
            &any
        ),
        "kind"
    );
    assert_eq!(refused("apiVersion: evil/v1\nkind: Job\nmetadata: {name: x}", &any), "apiVersion");
    assert_eq!(refused(&job("j\n  namespace: kube-system", QUOTED), &any), "metadata.namespace");
    for prefix in ["knapscen/", "acme/imag", "acme/image:1.2"] {
        let policy = Policy { image_prefixes: vec![prefix.parse().unwrap()], ..Policy::default() };
        assert_eq!(refused(&job("j", QUOTED), &policy), "spec.template.spec.containers[0].image", "{prefix}");
    }
    for prefix in ["acme/", "acme", "acme/image", "acme/image:1"] {
        let policy = Policy { image_prefixes: vec![prefix.parse().unwrap()], ..Policy::default() };
        let set = manifests(&[SOURCE, &trigger(""), &template(&job("j", QUOTED))]);
        assert!(
            plan(&event(json!({})), &set, &Cluster::default(), &policy).remove(0).outcome.is_ok(),
            "{prefix}"
        );
    }
}

#[test]
fn no_special_rights_are_given_unless_allowed() {
    let pod = |fields: &str| {
        job("j", QUOTED)
            .replace("      restartPolicy: Never\n", &format!("      restartPolicy: Never\n      {fields}\n"))
    };
    let container = |fields: &str| {
        job("j", QUOTED).replace("image: acme/image:1\n", &format!("image: acme/image:1\n        {fields}\n"))
    };
    let all = Policy {
        allow_privileged: true,
        allow_host: true,
        allow_service_account_token: true,
        ..Policy::default()
    };
    for (text, field) in [
        (pod("hostNetwork: true"), "hostNetwork"),
        (pod("hostPID: true"), "hostPID"),
        (pod("hostIPC: true"), "hostIPC"),
        (pod("volumes: [{name: a}, {name: v, hostPath: {path: /}}]"), "volumes[1].hostPath"),
        (pod("automountServiceAccountToken: true"), "automountServiceAccountToken"),
        (
            pod("volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]"),
            "volumes[0].projected.sources[0].serviceAccountToken",
        ),
        (pod("serviceAccountName: admin"), "serviceAccountName"),
        (pod("securityContext: {seccompProfile: {type: Unconfined}}"), "securityContext.seccompProfile.type"),
        (pod("securityContext: {seLinuxOptions: {type: spc_t}}"), "securityContext.seLinuxOptions"),
        (pod("securityContext: {sysctls: [{name: a, value: b}]}"), "securityContext.sysctls"),
        (
            container("securityContext: {appArmorProfile: {type: Unconfined}}"),
            "containers[0].securityContext.appArmorProfile.type",
        ),
        (container("securityContext: {procMount: Unmasked}"), "containers[0].securityContext.procMount"),
        (
            pod("initContainers: [{name: i, image: x, securityContext: {privileged: true}}]"),
            "initContainers[0].securityContext.privileged",
        ),
        (container("securityContext: {privileged: true}"), "containers[0].securityContext.privileged"),
        (
            container("securityContext: {allowPrivilegeEscalation: true}"),
            "containers[0].securityContext.allowPrivilegeEscalation",
        ),
        (
            container("securityContext: {capabilities: {add: [SYS_ADMIN]}}"),
            "containers[0].securityContext.capabilities.add",
        ),
        (container("ports: [{containerPort: 1, hostPort: 1}]"), "containers[0].ports[0].hostPort"),
    ] {
        let set = manifests(&[SOURCE, &trigger(""), &template(&text)]);
        let error = plan_all(&set, &event(json!({}))).remove(0).outcome.unwrap_err();
        assert_eq!(error.field, format!("spec.template.spec.{field}"));
        assert!(error.message.contains("--allow-"), "{error}");
        assert!(
            plan(&event(json!({})), &set, &Cluster::default(), &all).remove(0).outcome.is_ok(),
            "{field}"
        );
    }
}

#[test]
fn a_field_that_nobody_allowed_is_opened_by_its_name_alone() {
    let pod = |fields: &str| {
        job("j", QUOTED)
            .replace("      restartPolicy: Never\n", &format!("      restartPolicy: Never\n      {fields}\n"))
    };
    for (fields, name) in [
        ("nodeName: node-1", "nodeName"),
        ("priorityClassName: high", "priorityClassName"),
        ("runtimeClassName: weak", "runtimeClassName"),
        ("volumes: [{name: v, nfs: {server: s, path: /p}}]", "volumes.nfs"),
        ("volumes: [{name: v, csi: {driver: d}}]", "volumes.csi"),
        ("volumes: [{name: v, flexVolume: {driver: d}}]", "volumes.flexVolume"),
        ("volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]", "volumes.persistentVolumeClaim"),
        ("resourceClaims: [{name: c, resourceClaimName: gpu}]", "resourceClaims"),
        (
            "initContainers: [{name: i, image: x, livenessProbe: {httpGet: {port: 1, host: h}}}]",
            "containers.livenessProbe.httpGet.host",
        ),
    ] {
        let set = manifests(&[SOURCE, &trigger(""), &template(&pod(fields))]);
        let outcome = |allowed: &str| {
            let policy = Policy { allowed_fields: [allowed.to_owned()].into(), ..Policy::default() };
            plan(&event(json!({})), &set, &Cluster::default(), &policy).remove(0).outcome
        };
        let error = outcome("other").unwrap_err();
        assert!(error.message.contains(&format!("--allow-pod-field {name} ")), "{error}");
        assert!(outcome(name).is_ok(), "{name}: {:?}", outcome(name));
    }
    // A value that gives no right needs no permission.
    for fields in [
        "hostNetwork: false",
        "nodeName: \"\"",
        "hostUsers: false",
        "volumes: [{name: v, emptyDir: {}}, {name: w, secret: {secretName: s}}]",
        "tolerations: [{operator: Exists}]",
        "initContainers: [{name: i, image: x, readinessProbe: {httpGet: {port: 1}}, lifecycle: {preStop: {sleep: {seconds: 1}}}}]",
    ] {
        let planned = plan_one(&pod(fields), &event(json!({})));
        assert!(planned.outcome.is_ok(), "{fields}: {:?}", planned.outcome);
    }
}

#[test]
fn names_that_give_rights_never_come_from_an_event() {
    let all = Policy {
        allow_service_account_token: true,
        allowed_fields: ["nodeName".into(), "priorityClassName".into(), "runtimeClassName".into()].into(),
        ..Policy::default()
    };
    let metadata =
        |fields: &str| job("j", QUOTED).replace("  name: j\n", &format!("  name: j\n  {fields}\n"));
    let pod = |fields: &str| {
        job("j", QUOTED)
            .replace("      restartPolicy: Never\n", &format!("      restartPolicy: Never\n      {fields}\n"))
    };
    let of_event = "\"{{ .CloudEvent.data.name }}\"";
    for (text, literal) in [
        (pod("serviceAccountName: NAME"), "Acme"),
        (pod("serviceAccountName: x-NAME"), "acme"),
        (pod("nodeName: NAME"), "acme"),
        (pod("priorityClassName: NAME"), "acme"),
        (pod("runtimeClassName: NAME"), "acme"),
        (pod("NAME: admin"), "serviceAccountName"),
        (metadata("finalizers: [NAME]"), "acme.example/x"),
        (metadata("ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: NAME, uid: u}]"), "acme"),
    ] {
        let made = |name: &str| {
            let set = manifests(&[SOURCE, &trigger(""), &template(&text.replace("NAME", name))]);
            let event = event(json!({"data": {"name": literal}}));
            plan(&event, &set, &Cluster::default(), &all).remove(0).outcome
        };
        assert!(made(literal).is_ok(), "{text}: {:?}", made(literal));
        let name = of_event.replace('"', if text.contains("x-NAME") { "" } else { "\"" });
        let error = made(&name).unwrap_err();
        assert!(error.message.contains("may not come from an event"), "{text}: {error}");
    }
    // Nor from its numbers and booleans, and no other way to name a node or a Secret.
    let data = json!({"v": 2, "is": true, "list": [3, 0], "name": "acme", "o": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]}}}});
    let of = |text: String| {
        let set = manifests(&[SOURCE, &trigger(""), &template(&text)]);
        plan(&event(json!({"data": data})), &set, &Cluster::default(), &all).remove(0).outcome
    };
    let letters =
        "{{ range .CloudEvent.data.list }}{{ index (list \"a\" \"b\" \"c\" \"d\") (int .) }}{{ end }}";
    for text in [
        pod("serviceAccountName: team-{{ .CloudEvent.data.v }}"),
        pod("serviceAccountName: \"{{ .CloudEvent.data.is }}\""),
        pod(&format!("serviceAccountName: {letters}")),
        pod("nodeName: node-{{ .CloudEvent.data.v }}"),
        pod("nodeSelector: {kubernetes.io/hostname: \"{{ .CloudEvent.data.name }}\"}"),
        pod("affinity: {{ .CloudEvent.data.o | toJson }}"),
        pod("volumes: [{name: v, secret: {secretName: \"{{ .CloudEvent.data.name }}\"}}]"),
        metadata("finalizers: [\"a.b/c{{ .CloudEvent.data.v }}\"]"),
        job(
            "j",
            "        - {name: A, valueFrom: {secretKeyRef: {name: \"{{ .CloudEvent.data.name }}\", key: k}}}",
        ),
    ] {
        let error = of(text.clone()).unwrap_err();
        assert!(error.message.contains("may not come from an event"), "{text}: {error}");
    }
    // What a condition chooses is written into the template.
    let chosen =
        "priorityClassName: \"{{ if eq .CloudEvent.data.name \"acme\" }}high{{ else }}low{{ end }}\"";
    assert!(of(pod(chosen)).is_ok(), "{:?}", of(pod(chosen)));
}

#[test]
fn annotations_do_not_undo_what_the_fields_of_a_security_context_may_not_say() {
    for name in [
        "container.apparmor.security.beta.kubernetes.io/c",
        "seccomp.security.alpha.kubernetes.io/pod",
        "container.seccomp.security.alpha.kubernetes.io/c",
    ] {
        let text = job("j", QUOTED).replace(
            "    spec:\n      restartPolicy",
            &format!("    metadata: {{annotations: {{{name}: unconfined}}}}\n    spec:\n      restartPolicy"),
        );
        let set = manifests(&[SOURCE, &trigger(""), &template(&text)]);
        let of =
            |policy: &Policy| plan(&event(json!({})), &set, &Cluster::default(), policy).remove(0).outcome;
        let error = of(&Policy::default()).unwrap_err();
        assert!(error.message.contains("--allow-privileged"), "{name}: {error}");
        assert!(of(&Policy { allow_privileged: true, ..Policy::default() }).is_ok(), "{name}");
    }
}

#[test]
fn images_of_volumes_are_images_as_well() {
    let text = job("j", QUOTED).replace(
        "      restartPolicy: Never\n",
        "      restartPolicy: Never\n      volumes: [{name: v, image: {reference: evil.example/x}}]\n",
    );
    let set = manifests(&[SOURCE, &trigger(""), &template(&text)]);
    let policy = Policy { image_prefixes: vec!["acme/".parse().unwrap()], ..Policy::default() };
    let error = plan(&event(json!({})), &set, &Cluster::default(), &policy).remove(0).outcome.unwrap_err();
    assert_eq!(error.field, "spec.template.spec.volumes[0].image.reference");
}

#[test]
fn a_namespace_that_is_not_allowed_is_named_with_the_remedy_unless_the_event_gives_it() {
    let error = fault(plan_one(&job("j\n  namespace: onboarding", QUOTED), &event(json!({}))));
    assert!(error.contains("onboarding is not allowed, only default: --namespace onboarding"), "{error}");
    let text = job("j\n  namespace: \"{{ .CloudEvent.data.name }}\"", QUOTED);
    let error = fault(plan_one(&text, &event(json!({"data": {"name": "kube-system"}}))));
    assert!(error.contains("that the event gives") && !error.contains("kube-system"), "{error}");
}

#[test]
fn a_template_that_says_nothing_of_a_token_gets_none() {
    let job = jobs(plan_one(&job("j", QUOTED), &event(json!({})))).remove(0).manifest.value();
    assert_eq!(job.pointer("/spec/template/spec/automountServiceAccountToken").unwrap(), false);
}

#[test]
fn unknown_fields_and_wrong_types_in_a_job_are_refused_by_path() {
    let text = job("j", QUOTED).replace("image: acme/image:1", "image: acme/image:1\n        imagee: x");
    let error = fault(plan_one(&text, &event(json!({}))));
    assert_eq!(
        error,
        "ConfigMap default/c, job.yaml: spec.template.spec.containers[0].imagee: unknown field"
    );
    let text = job("j", "        - {name: A, value: true}");
    assert!(
        fault(plan_one(&text, &event(json!({}))))
            .contains("env[0].value: invalid type: boolean, expected a string: quote the value")
    );
}

#[test]
fn what_no_program_can_be_given_is_refused() {
    let with = |name: &str| plan_one(&job("j", QUOTED), &event(json!({"data": {"name": name}}))).outcome;
    assert!(with(&"x".repeat(131_000)).is_ok());
    let error = with(&"x".repeat(131_072)).unwrap_err();
    assert!(error.to_string().contains("variable NAME has 131078 bytes"), "{error}");
    assert!(with("a\u{0}b").unwrap_err().to_string().contains("variable NAME holds a NUL character"));
}

#[test]
fn a_subject_too_long_to_be_kept_is_refused() {
    let error = fault(plan_one(&job("j", QUOTED), &event(json!({"subject": "s".repeat(300_000)}))));
    assert!(error.contains("metadata.annotations: "), "{error}");
}

#[test]
fn a_generated_name_is_refused() {
    let text = job("j", QUOTED).replace("  name: j\n", "  generateName: j-\n");
    assert!(fault(plan_one(&text, &event(json!({})))).contains("second Job"));
}

#[test]
fn a_name_that_chance_or_the_clock_decides_is_refused() {
    for name in [
        "j-{{ now | unixEpoch }}",
        "j-{{ now | date \"2006\" }}",
        "j-{{ dateInZone \"15\" (now) \"UTC\" }}",
        "j-{{ randAlphaNum 5 | lower }}",
        "j-{{ uuidv4 }}",
        "j-{{ randInt 0 1000000 }}",
        "j-{{ shuffle \"abcdefghijklmnopqrstuvwxyz\" }}",
        "j-{{ htmlDate nil }}",
    ] {
        let error = fault(plan_one(&job(&format!("'{name}'"), QUOTED), &event(json!({}))));
        assert!(error.contains("metadata.name: is another one at each rendering"), "{name}: {error}");
        // In other places it does no harm.
        let inner = job("j", &format!("        - {{name: A, value: '{name}'}}"));
        assert!(plan_one(&inner, &event(json!({}))).outcome.is_ok(), "{name}");
    }
    for name in [
        "j-{{ .CloudEvent.subject }}",
        "j-{{ now | date \"x\" }}",
        "j-{{ sha256sum .CloudEvent.id | trunc 9 }}",
    ] {
        let planned = plan_one(&job(&format!("'{name}'"), QUOTED), &event(json!({})));
        assert!(planned.outcome.is_ok(), "{name}: {:?}", planned.outcome);
    }
}

#[test]
fn printed_yaml_must_be_allowed_by_the_annotation() {
    let text = "{{ .CloudEvent.data.name }}";
    let event = event(json!({"data": {"name": job("j", "        - {name: A, value: x}")}}));
    assert!(plan_one(text, &event).outcome.is_err());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations":
        {"projectsveltos.io/instantiate": "", "knapscen.disco/printed-yaml": "allow"}}, "data": {"j": text}});
    let set = manifests(&[SOURCE, &trigger(""), &map.to_string()]);
    assert!(set.warnings.iter().any(|warning| warning.message.contains("safe rendering is off")));
    assert_eq!(jobs(plan_all(&set, &event).remove(0)).len(), 1);
}

#[test]
fn what_a_backend_cannot_honour_is_named() {
    let text = job("j", "        - {name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}")
        .replace("spec:\n  template", "spec:\n  parallelism: 2\n  template")
        .replace("      containers:", "      initContainers: [{name: i, image: x}]\n      containers:");
    let job = jobs(plan_one(&text, &event(json!({})))).remove(0);
    assert_eq!(
        unsupported(&job, BackendKind::Process),
        [
            "spec.parallelism",
            "spec.template.spec.initContainers",
            "spec.template.spec.containers[0].env[0].valueFrom.fieldRef",
        ]
    );
    assert!(unsupported(&job, BackendKind::Kubernetes).is_empty());
}
