//! Where the Pods may run.

use std::collections::BTreeSet;

use super::{Faults, Node, names};

pub(super) fn check(pod: &Node<'_>, faults: &mut Faults) {
    for (key, value) in pod.get("nodeSelector").entries() {
        if let Err(why) = names::qualified(key) {
            faults.add(&value, format!("its key {why}"));
        }
        value.fits(names::label_value, faults);
    }
    for toleration in pod.get("tolerations").items() {
        tolerates(&toleration, faults);
    }
    spreads(&pod.get("topologySpreadConstraints"), faults);
    let affinity = pod.get("affinity");
    let nodes = affinity.get("nodeAffinity");
    let required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_set() {
        let terms = required.get("nodeSelectorTerms");
        faults.add_unless(!terms.items().is_empty(), &terms, "needs at least one");
        terms.items().iter().for_each(|term| node_term(term, faults));
    }
    for preferred in nodes.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        weight(&preferred, faults);
        node_term(&preferred.get("preference"), faults);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(kind);
        for term in pods.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
            pod_term(&term, faults);
        }
        for preferred in pods.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            weight(&preferred, faults);
            pod_term(&preferred.get("podAffinityTerm"), faults);
        }
    }
}

fn weight(preferred: &Node<'_>, faults: &mut Faults) {
    let weight = preferred.get("weight");
    let is_right = weight.int().is_some_and(|weight| (1..=100).contains(&weight));
    faults.add_unless(is_right, &weight, "must be between 1 and 100");
}

fn tolerates(toleration: &Node<'_>, faults: &mut Faults) {
    let (key, operator, value) = (toleration.get("key"), toleration.get("operator"), toleration.get("value"));
    key.fits(names::qualified, faults);
    operator.one_of(&["", "Exists", "Equal", "Lt", "Gt"], faults);
    let exists = operator.text() == Some("Exists");
    let is_any = key.text_or_empty().is_empty();
    faults.add_unless(!is_any || exists, &operator, "must be Exists where no key is set");
    if exists {
        faults.add_unless(value.text_or_empty().is_empty(), &value, "must be empty with operator Exists");
    } else {
        value.fits(names::label_value, faults);
    }
    let effect = toleration.get("effect");
    effect.one_of(&["", "NoSchedule", "PreferNoSchedule", "NoExecute"], faults);
    let seconds = toleration.get("tolerationSeconds");
    let is_right = !seconds.is_set() || effect.text() == Some("NoExecute");
    faults.add_unless(is_right, &effect, "must be NoExecute where tolerationSeconds is set");
}

fn spreads(constraints: &Node<'_>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for one in constraints.items() {
        let (skew, key, unmet) = (one.get("maxSkew"), one.get("topologyKey"), one.get("whenUnsatisfiable"));
        faults.add_unless(skew.int().is_some_and(|skew| skew > 0), &skew, "must be more than 0");
        key.must_fit(names::qualified, faults);
        unmet.required(faults);
        unmet.one_of(&["DoNotSchedule", "ScheduleAnyway"], faults);
        let is_new = seen.insert((key.text_or_empty(), unmet.text_or_empty()));
        faults.add_unless(is_new, &one, "occurs twice with the same topologyKey and whenUnsatisfiable");
        let least = one.get("minDomains");
        if least.is_set() {
            faults.add_unless(least.int().is_some_and(|least| least > 0), &least, "must be more than 0");
            let is_strict = unmet.text() == Some("DoNotSchedule");
            faults.add_unless(is_strict, &least, "may only be set with whenUnsatisfiable DoNotSchedule");
        }
        one.get("nodeAffinityPolicy").one_of(&["Honor", "Ignore"], faults);
        one.get("nodeTaintsPolicy").one_of(&["Honor", "Ignore"], faults);
        selector(&one.get("labelSelector"), faults);
    }
}

fn pod_term(term: &Node<'_>, faults: &mut Faults) {
    term.get("topologyKey").must_fit(names::qualified, faults);
    term.get("namespaces").items().iter().for_each(|name| name.must_fit(names::label, faults));
    selector(&term.get("labelSelector"), faults);
    selector(&term.get("namespaceSelector"), faults);
}

fn node_term(term: &Node<'_>, faults: &mut Faults) {
    for one in term.get("matchExpressions").items() {
        one.get("key").must_fit(names::qualified, faults);
        let (operator, values) = (one.get("operator"), one.get("values"));
        let count = values.items().len();
        match operator.text_or_empty() {
            "In" | "NotIn" => faults.add_unless(count > 0, &values, "must be set with this operator"),
            "Exists" | "DoesNotExist" => {
                faults.add_unless(count == 0, &values, "may not be set with this operator");
            }
            "Gt" | "Lt" => faults.add_unless(count == 1, &values, "must be one with this operator"),
            _ => faults.add(&operator, "must be In, NotIn, Exists, DoesNotExist, Gt or Lt"),
        }
    }
    for one in term.get("matchFields").items() {
        let (key, operator, values) = (one.get("key"), one.get("operator"), one.get("values"));
        faults.add_unless(key.text() == Some("metadata.name"), &key, "must be metadata.name");
        operator.one_of(&["In", "NotIn"], faults);
        faults.add_unless(values.items().len() == 1, &values, "must be one");
    }
}

/// A label selector.
pub(super) fn selector(selector: &Node<'_>, faults: &mut Faults) {
    for (key, value) in selector.get("matchLabels").entries() {
        if let Err(why) = names::qualified(key) {
            faults.add(&value, format!("its key {why}"));
        }
        value.fits(names::label_value, faults);
    }
    for one in selector.get("matchExpressions").items() {
        one.get("key").must_fit(names::qualified, faults);
        let (operator, values) = (one.get("operator"), one.get("values"));
        let count = values.items().len();
        match operator.text_or_empty() {
            "In" | "NotIn" => faults.add_unless(count > 0, &values, "must be set with this operator"),
            "Exists" | "DoesNotExist" => {
                faults.add_unless(count == 0, &values, "may not be set with this operator");
            }
            _ => faults.add(&operator, "must be In, NotIn, Exists or DoesNotExist"),
        }
        values.items().iter().for_each(|value| value.fits(names::label_value, faults));
    }
}
