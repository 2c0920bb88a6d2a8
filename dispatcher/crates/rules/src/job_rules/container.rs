//! Containers: names, images, variables, resources, mounts, ports, probes and hooks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::quantity::Quantity;
use super::{Faults, Node, names};

const MOST_ID: i64 = i32::MAX as i64;
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

/// The volumes by name, and whether each is a claim, which may be a block device.
pub(super) type Volumes<'a> = BTreeMap<&'a str, bool>;

pub(super) fn check(pod: &Node<'_>, volumes: &Volumes<'_>, faults: &mut Faults) {
    let containers = pod.get("containers");
    faults.add_unless(!containers.items().is_empty(), &containers, super::REQUIRED);
    let claims = pod.get("resourceClaims").items();
    let claims: BTreeSet<_> = claims.iter().map(|claim| claim.get("name").text_or_empty()).collect();
    let grace = pod.get("terminationGracePeriodSeconds").int().unwrap_or(30);
    let (mut names, mut host_ports) = (BTreeSet::new(), BTreeSet::new());
    for (list, is_init) in [("initContainers", true), ("containers", false)] {
        for container in pod.get(list).items() {
            let name = container.get("name");
            name.must_fit(names::label, faults);
            faults.add_unless(names.insert(name.text_or_empty().to_owned()), &name, "occurs twice");
            one(&container, volumes, faults);
            ports(&container, pod, &mut host_ports, faults);
            container.get("resources").get("claims").items().iter().for_each(|claim| {
                let name = claim.get("name");
                faults.add_unless(
                    claims.contains(name.text_or_empty()),
                    &name,
                    "names no resourceClaim of the Pod",
                );
            });
            let is_sidecar = container.get("restartPolicy").text() == Some("Always");
            if is_init && !is_sidecar {
                for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                    let field = container.get(field);
                    faults.add_unless(
                        !field.is_set(),
                        &field,
                        "is only for init containers with restartPolicy Always",
                    );
                }
            } else {
                runs(&container, grace, faults);
            }
        }
    }
}

fn one(container: &Node<'_>, volumes: &Volumes<'_>, faults: &mut Faults) {
    container.get("image").required(faults);
    container.get("imagePullPolicy").one_of(&["Always", "IfNotPresent", "Never"], faults);
    container.get("terminationMessagePolicy").one_of(&["File", "FallbackToLogsOnError"], faults);
    container.get("restartPolicy").one_of(&["Always", "Never", "OnFailure"], faults);
    for rule in container.get("restartPolicyRules").items() {
        let action = rule.get("action");
        action.required(faults);
        action.one_of(&["", "Restart"], faults);
    }
    for policy in container.get("resizePolicy").items() {
        let (resource, restart) = (policy.get("resourceName"), policy.get("restartPolicy"));
        resource.required(faults);
        resource.one_of(&["", "cpu", "memory"], faults);
        restart.required(faults);
        restart.one_of(&["", "NotRequired", "RestartContainer"], faults);
    }
    variables(container, faults);
    resources(&container.get("resources"), faults);
    mounts(container, volumes, faults);
    context(&container.get("securityContext"), faults);
}

fn variables(container: &Node<'_>, faults: &mut Faults) {
    for from in container.get("envFrom").items() {
        from.get("prefix").fits(names::variable, faults);
        let sources = ["configMapRef", "secretRef"];
        from.exactly_one(&sources, faults);
        for source in sources.map(|field| from.get(field)).into_iter().filter(Node::is_set) {
            source.get("name").must_fit(names::subdomain, faults);
        }
    }
    for variable in container.get("env").items() {
        variable.get("name").must_fit(names::variable, faults);
        let from = variable.get("valueFrom");
        if !from.is_set() {
            continue;
        }
        let is_alone = variable.get("value").text_or_empty().is_empty();
        faults.add_unless(is_alone, &from, "must not be set together with value");
        let keys = ["configMapKeyRef", "secretKeyRef"];
        from.exactly_one(&["fieldRef", "resourceFieldRef", keys[0], keys[1], "fileKeyRef"], faults);
        for key in keys.map(|field| from.get(field)).into_iter().filter(Node::is_set) {
            key.get("name").must_fit(names::subdomain, faults);
            key.get("key").must_fit(names::config_key, faults);
        }
        for field in Some(from.get("fieldRef")).into_iter().filter(Node::is_set) {
            field_of_pod(&field, &POD_FIELDS, faults);
        }
        for field in Some(from.get("resourceFieldRef")).into_iter().filter(Node::is_set) {
            resource_field(&field, faults);
        }
        let file = from.get("fileKeyRef");
        if file.is_set() {
            for field in ["volumeName", "path", "key"] {
                file.get(field).required(faults);
            }
        }
    }
}

const BYTE_UNITS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

const POD_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// A field of the Pod, or one of its labels or annotations.
pub(super) fn field_of_pod(reference: &Node<'_>, fields: &[&str], faults: &mut Faults) {
    reference.get("apiVersion").one_of(&["", "v1"], faults);
    let path = reference.get("fieldPath");
    path.required(faults);
    let text = path.text_or_empty();
    let of_map = |field: &str| {
        let key = text.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(names::qualified(&key.to_lowercase()).is_ok())
    };
    let is_known = fields.contains(&text)
        || ["metadata.labels", "metadata.annotations"].into_iter().any(|field| of_map(field) == Some(true));
    faults.add_unless(is_known || text.is_empty(), &path, "is no field that can be referred to here");
}

/// A limit or request of a container.
pub(super) fn resource_field(reference: &Node<'_>, faults: &mut Faults) {
    let resource = reference.get("resource");
    resource.required(faults);
    let text = resource.text_or_empty();
    let name = text.strip_prefix("limits.").or_else(|| text.strip_prefix("requests."));
    let is_known = name.is_some_and(|name| {
        ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-")
    });
    faults.add_unless(
        is_known || text.is_empty(),
        &resource,
        "must be limits or requests of cpu, memory or ephemeral-storage",
    );
    divisor(&reference.get("divisor"), name.unwrap_or_default(), faults);
}

/// A unit. Zero stands for 1.
fn divisor(divisor: &Node<'_>, resource: &str, faults: &mut Faults) {
    let units = if resource == "cpu" { &["1m", "1"][..] } else { &BYTE_UNITS };
    let Some(amount) = quantity(divisor, faults) else { return };
    let is_unit = amount == Quantity::ZERO || units.iter().any(|unit| Quantity::parse(unit) == Some(amount));
    let is_told = amount.is_negative() || resource.is_empty();
    faults.add_unless(is_unit || is_told, divisor, &format!("must be {}", units.join(" or ")));
}

/// The quantity; reports a problem if it is invalid or negative.
pub(super) fn quantity(node: &Node<'_>, faults: &mut Faults) -> Option<Quantity> {
    let text = match node.value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let Some(quantity) = Quantity::parse(&text) else {
        faults.add(node, "must be a quantity, such as 250m, 64Mi or 1.5");
        return None;
    };
    faults.add_unless(!quantity.is_negative(), node, super::NEGATIVE);
    Some(quantity)
}

/// Quantities by the names of their resources.
pub(super) fn list_of_resources(list: &Node<'_>, faults: &mut Faults) {
    for (name, node) in list.entries() {
        let amount = quantity(&node, faults);
        let is_own = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
        let is_foreign = name.contains('/') && names::qualified(name).is_ok();
        faults.add_unless(
            is_own || is_foreign,
            &node,
            "is no resource: those of others have a domain name and a slash before them",
        );
        let is_whole = !counts(name) || amount.is_none_or(Quantity::is_whole);
        faults.add_unless(is_whole, &node, "must be a whole number");
    }
}

/// Whether it contains fractions of something that cannot be divided.
fn counts(name: &str) -> bool {
    name.starts_with("hugepages-") || (name.contains('/') && !name.contains("kubernetes.io/"))
}

fn resources(resources: &Node<'_>, faults: &mut Faults) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    list_of_resources(&limits, faults);
    list_of_resources(&requests, faults);
    let mut unsaid = Faults(Vec::new());
    for (name, request) in requests.entries() {
        let limit = limits.get(name);
        let (asked, most) = (quantity(&request, &mut unsaid), quantity(&limit, &mut unsaid));
        let is_fixed = counts(name);
        match (asked, most) {
            (Some(asked), Some(most)) if is_fixed && asked != most => {
                faults.add(&request, "must be equal to the limit");
            }
            (Some(asked), Some(most)) if asked > most => faults.add(&request, "is more than the limit"),
            (Some(_), None) if is_fixed && !limit.is_set() => {
                faults.add(&limit, "must be set as the request is");
            }
            _ => {}
        }
    }
    let has = |wanted: &dyn Fn(&str) -> bool| {
        [&limits, &requests].into_iter().any(|list| list.entries().iter().any(|(name, _)| wanted(name)))
    };
    let has_huge = has(&|name| name.starts_with("hugepages-"));
    let has_usual = has(&|name| ["cpu", "memory"].contains(&name));
    faults.add_unless(!has_huge || has_usual, resources, "needs cpu or memory in addition to huge pages");
    let mut seen = BTreeSet::new();
    for claim in resources.get("claims").items() {
        let name = claim.get("name");
        name.required(faults);
        let key = (name.text_or_empty(), claim.get("request").text_or_empty());
        faults.add_unless(seen.insert(key), &claim, "occurs twice");
    }
}

fn mounts(container: &Node<'_>, volumes: &Volumes<'_>, faults: &mut Faults) {
    let mut paths = BTreeSet::new();
    let is_privileged = container.get("securityContext").get("privileged").is_true();
    for mount in container.get("volumeMounts").items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        name.required(faults);
        faults.add_unless(volumes.contains_key(name.text_or_empty()), &name, "names no volume of the Pod");
        path.required(faults);
        faults.add_unless(paths.insert(path.text_or_empty()), &path, "occurs twice");
        let (part, templated) = (mount.get("subPath"), mount.get("subPathExpr"));
        part.fits(names::path_below, faults);
        templated.fits(names::path_below, faults);
        let has_both = !part.text_or_empty().is_empty() && !templated.text_or_empty().is_empty();
        faults.add_unless(!has_both, &templated, "must not be set together with subPath");
        let propagation = mount.get("mountPropagation");
        propagation.one_of(&["None", "HostToContainer", "Bidirectional"], faults);
        let is_both = propagation.text() == Some("Bidirectional");
        faults.add_unless(
            !is_both || is_privileged,
            &propagation,
            "Bidirectional is only for privileged containers",
        );
        let recursive = mount.get("recursiveReadOnly");
        recursive.one_of(&["Disabled", "IfPossible", "Enabled"], faults);
        let is_on = recursive.text().is_some_and(|text| text != "Disabled");
        let is_read_only = mount.get("readOnly").is_true();
        faults.add_unless(!is_on || is_read_only, &recursive, "needs readOnly");
    }
    let mut names = BTreeSet::new();
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        name.required(faults);
        path.required(faults);
        let is_claim = volumes.get(name.text_or_empty()) == Some(&true);
        faults.add_unless(is_claim, &name, "names no volume with a claim");
        faults.add_unless(names.insert(name.text_or_empty()), &name, "occurs twice");
        faults.add_unless(paths.insert(path.text_or_empty()), &path, "occurs twice");
    }
}

fn context(context: &Node<'_>, faults: &mut Faults) {
    for field in ["runAsUser", "runAsGroup"] {
        context.get(field).within(0, MOST_ID, faults);
    }
    context.get("procMount").one_of(&["Default", "Unmasked"], faults);
    profiles(context, faults);
    let escalation = context.get("allowPrivilegeEscalation");
    if escalation.value == &Value::Bool(false) {
        let is_privileged = context.get("privileged").is_true();
        faults.add_unless(!is_privileged, &escalation, "may not be false in a privileged container");
        let added = context.get("capabilities").get("add").items();
        let is_admin = added.iter().any(|one| one.text() == Some("CAP_SYS_ADMIN"));
        faults.add_unless(!is_admin, &escalation, "may not be false with the capability CAP_SYS_ADMIN");
    }
}

fn ports(
    container: &Node<'_>,
    pod: &Node<'_>,
    host_ports: &mut BTreeSet<(String, i64, String)>,
    faults: &mut Faults,
) {
    let mut names = BTreeSet::new();
    let on_host = pod.get("hostNetwork").is_true();
    for port in container.get("ports").items() {
        let (number, host, name) = (port.get("containerPort"), port.get("hostPort"), port.get("name"));
        number.within(1, 65535, faults);
        // 0 is the same as not set.
        host.within(0, 65535, faults);
        name.fits(names::port_name, faults);
        let text = name.text_or_empty();
        faults.add_unless(text.is_empty() || names.insert(text), &name, "occurs twice");
        let protocol = port.get("protocol");
        protocol.one_of(&["TCP", "UDP", "SCTP"], faults);
        if let Some(taken) = host.int().filter(|port| *port != 0) {
            let address = port.get("hostIP").text_or_empty().to_owned();
            let key = (protocol.text().unwrap_or("TCP").to_owned(), taken, address);
            faults.add_unless(host_ports.insert(key), &host, "is taken twice");
            let is_same = !on_host || number.int() == Some(taken);
            faults.add_unless(is_same, &number, "must be the hostPort with hostNetwork");
        }
    }
}

/// Probes and hooks.
fn runs(container: &Node<'_>, grace: i64, faults: &mut Faults) {
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.get(field);
        if !probe.is_set() {
            continue;
        }
        probe.exactly_one(&HANDLERS, faults);
        handler(&probe, faults);
        for number in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            probe.get(number).not_negative(faults);
        }
        let end = probe.get("terminationGracePeriodSeconds");
        if field == "readinessProbe" {
            faults.add_unless(!end.is_set(), &end, "may not be set on a readiness probe");
        } else {
            end.within(1, i64::MAX, faults);
            let successes = probe.get("successThreshold");
            let is_one = successes.int().is_none_or(|count| count <= 1);
            faults.add_unless(is_one, &successes, "must be 1");
        }
    }
    for hook in ["postStart", "preStop"].map(|field| container.get("lifecycle").get(field)) {
        if !hook.is_set() {
            continue;
        }
        hook.exactly_one(&HOOKS, faults);
        handler(&hook, faults);
        hook.get("sleep").get("seconds").within(0, grace.max(1), faults);
    }
}

fn handler(of: &Node<'_>, faults: &mut Faults) {
    let (command, http) = (of.get("exec"), of.get("httpGet"));
    if command.is_set() {
        let command = command.get("command");
        faults.add_unless(!command.items().is_empty(), &command, super::REQUIRED);
    }
    if http.is_set() {
        // Without a path it is `/`.
        port(&http.get("port"), faults);
        http.get("scheme").one_of(&["HTTP", "HTTPS"], faults);
        http.get("httpHeaders")
            .items()
            .iter()
            .for_each(|one| one.get("name").must_fit(names::header, faults));
    }
    for plain in ["tcpSocket", "grpc"].map(|field| of.get(field)) {
        if plain.is_set() {
            port(&plain.get("port"), faults);
        }
    }
}

/// The number of a port, or its name.
fn port(port: &Node<'_>, faults: &mut Faults) {
    match port.value {
        Value::String(_) => port.must_fit(names::port_name, faults),
        _ => faults.add_unless(
            port.int().is_some_and(|number| (1..=65535).contains(&number)),
            port,
            "must be between 1 and 65535, or a name",
        ),
    }
}

/// Seccomp and `AppArmor`, of a Pod or of a container.
pub(super) fn profiles(context: &Node<'_>, faults: &mut Faults) {
    for field in ["seccompProfile", "appArmorProfile"] {
        let profile = context.get(field);
        if !profile.is_set() {
            continue;
        }
        let (kind, file) = (profile.get("type"), profile.get("localhostProfile"));
        kind.required(faults);
        kind.one_of(&["RuntimeDefault", "Unconfined", "Localhost"], faults);
        if kind.text() == Some("Localhost") {
            file.required(faults);
            if field == "seccompProfile" {
                file.fits(names::path_below, faults);
            }
        } else {
            faults.add_unless(!file.is_set(), &file, "may only be set with type Localhost");
        }
    }
}
