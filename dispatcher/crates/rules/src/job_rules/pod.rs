//! The template of the Pods.

use std::collections::BTreeSet;

use super::{Faults, Node, container, metadata, names, scheduling, volume};

const MOST_ID: i64 = i32::MAX as i64;

/// Fields of a security context, of Pods or of containers, that Windows does not have.
const NOT_OF_WINDOWS: &[&str] = &[
    "allowPrivilegeEscalation",
    "appArmorProfile",
    "capabilities",
    "fsGroup",
    "fsGroupChangePolicy",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsUser",
    "seLinuxOptions",
    "seccompProfile",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "sysctls",
];

pub(super) fn check(template: &Node<'_>, faults: &mut Faults) {
    metadata::check(&template.get("metadata"), faults);
    let pod = template.get("spec");
    if !pod.is_set() {
        return faults.add(&pod, super::REQUIRED);
    }
    let volumes = volume::check(&pod, faults);
    container::check(&pod, &volumes, faults);
    let ephemeral = pod.get("ephemeralContainers");
    faults.add_unless(ephemeral.items().is_empty(), &ephemeral, "are not allowed in a template");
    pod.get("activeDeadlineSeconds").within(1, MOST_ID, faults);
    for (field, rule) in [
        ("serviceAccountName", names::subdomain as names::Rule),
        ("serviceAccount", names::subdomain),
        ("nodeName", names::subdomain),
        ("priorityClassName", names::subdomain),
        ("runtimeClassName", names::subdomain),
        ("hostname", names::label),
        ("subdomain", names::label),
    ] {
        pod.get(field).fits(rule, faults);
    }
    pod.get("preemptionPolicy").one_of(&["PreemptLowerPriority", "Never"], faults);
    system(&pod, faults);
    for alias in pod.get("hostAliases").items() {
        alias.get("ip").must_fit(names::ip, faults);
        alias.get("hostnames").items().iter().for_each(|name| name.must_fit(names::subdomain, faults));
    }
    unique(&pod.get("resourceClaims"), names::label, faults);
    unique(&pod.get("schedulingGates"), names::qualified, faults);
    for gate in pod.get("readinessGates").items() {
        gate.get("conditionType").must_fit(names::qualified, faults);
    }
    container::list_of_resources(&pod.get("overhead"), faults);
    dns(&pod, faults);
    security(&pod, faults);
    scheduling::check(&pod, faults);
}

/// Names that may occur only once.
pub(super) fn unique(list: &Node<'_>, rule: names::Rule, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for item in list.items() {
        let name = item.get("name");
        name.must_fit(rule, faults);
        faults.add_unless(seen.insert(name.text_or_empty()), &name, "occurs twice");
    }
}

/// What only one of the two systems has, where the Pod says which one it is for.
fn system(pod: &Node<'_>, faults: &mut Faults) {
    let name = pod.get("os").get("name");
    name.one_of(&["linux", "windows"], faults);
    let (of_pods, of_containers): (&[&str], &[&str]) = match name.text() {
        Some("linux") => (&["windowsOptions"], &["windowsOptions"]),
        Some("windows") => (NOT_OF_WINDOWS, NOT_OF_WINDOWS),
        _ => return,
    };
    let not_there = |context: &Node<'_>, fields: &[&str], faults: &mut Faults| {
        for field in fields.iter().map(|field| context.get(field)).filter(Node::is_set) {
            faults.add(&field, "is not for the system in spec.os.name");
        }
    };
    not_there(&pod.get("securityContext"), of_pods, faults);
    if name.text() == Some("windows") {
        not_there(pod, &["hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"], faults);
    }
    for list in ["initContainers", "containers"] {
        for container in pod.get(list).items() {
            not_there(&container.get("securityContext"), of_containers, faults);
        }
    }
}

fn dns(pod: &Node<'_>, faults: &mut Faults) {
    let (policy, config) = (pod.get("dnsPolicy"), pod.get("dnsConfig"));
    policy.one_of(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"], faults);
    let servers = config.get("nameservers");
    let count = servers.items().len();
    if policy.text() == Some("None") {
        faults.add_unless(count > 0, &servers, "must be set with dnsPolicy None");
    }
    faults.add_unless(count <= 3, &servers, "are more than 3");
    servers.items().iter().for_each(|server| server.must_fit(names::ip, faults));
    let searches = config.get("searches");
    let length: usize = searches.items().iter().map(|one| one.text_or_empty().len() + 1).sum();
    faults.add_unless(searches.items().len() <= 32 && length <= 2049, &searches, "are too many or too long");
    for search in searches.items() {
        search.must_fit(names::search_domain, faults);
    }
    for option in config.get("options").items() {
        option.get("name").required(faults);
    }
}

fn security(pod: &Node<'_>, faults: &mut Faults) {
    let context = pod.get("securityContext");
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        context.get(field).within(0, MOST_ID, faults);
    }
    for group in context.get("supplementalGroups").items() {
        group.within(0, MOST_ID, faults);
    }
    context.get("fsGroupChangePolicy").one_of(&["OnRootMismatch", "Always"], faults);
    context.get("supplementalGroupsPolicy").one_of(&["Merge", "Strict"], faults);
    context.get("seLinuxChangePolicy").one_of(&["Recursive", "MountOption"], faults);
    container::profiles(&context, faults);
    let mut seen = BTreeSet::new();
    for sysctl in context.get("sysctls").items() {
        let name = sysctl.get("name");
        name.must_fit(names::sysctl, faults);
        faults.add_unless(seen.insert(name.text_or_empty().replace('/', ".")), &name, "occurs twice");
    }
    let (host, shared) = (pod.get("hostPID"), pod.get("shareProcessNamespace"));
    faults.add_unless(
        !(host.is_true() && shared.is_true()),
        &shared,
        "must not be set together with hostPID",
    );
    if pod.get("hostUsers").value == &serde_json::Value::Bool(false) {
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            let field = pod.get(field);
            faults.add_unless(!field.is_true(), &field, "may not be set where hostUsers is false");
        }
    }
}
