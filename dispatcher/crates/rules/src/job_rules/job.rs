//! The Job itself: its numbers, how its Pods may end, and when it is finished.

use super::{Faults, Node, metadata, names, pod};

/// Rules of a policy.
const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;
const MOST_INDEXES: i64 = 100_000;
/// From this many completions on, fewer may fail at a time.
const MANY: i64 = 100_000;
const MOST_OF_MANY: i64 = 10_000;

pub(super) fn check(job: &Node<'_>, faults: &mut Faults) {
    let (head, spec) = (job.get("metadata"), job.get("spec"));
    let name = head.get("name");
    name.must_fit(names::subdomain, faults);
    // Its Pods carry the name as a label.
    faults.add_unless(name.text_or_empty().len() <= 63, &name, "must be at most 63 characters long");
    metadata::check(&head, faults);
    if !spec.is_set() {
        return faults.add(&spec, super::REQUIRED);
    }
    let mode = spec.get("completionMode");
    mode.one_of(&["NonIndexed", "Indexed"], faults);
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.get(field).not_negative(faults);
    }
    if mode.text() == Some("Indexed") {
        indexed(&spec, &name, faults);
    } else {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            let field = spec.get(field);
            faults.add_unless(!field.is_set(), &field, "needs completionMode Indexed");
        }
    }
    let per_index = spec.get("backoffLimitPerIndex");
    if spec.get("maxFailedIndexes").is_set() {
        faults.add_unless(per_index.is_set(), &per_index, "must be set where maxFailedIndexes is");
    }
    let manager = spec.get("managedBy");
    if manager.is_set() {
        manager.must_fit(names::domain_and_path, faults);
        faults.add_unless(
            manager.text_or_empty().len() <= 63,
            &manager,
            "must be at most 63 characters long",
        );
    }
    failure_policy(&spec, faults);
    let replacement = spec.get("podReplacementPolicy");
    let has_policy = spec.get("podFailurePolicy").is_set();
    replacement.one_of(if has_policy { &["Failed"] } else { &["TerminatingOrFailed", "Failed"] }, faults);
    selector(&spec, name.text_or_empty(), faults);
    pod::check(&spec.get("template"), faults);
    let restart = spec.get("template").get("spec").get("restartPolicy");
    match restart.text_or_empty() {
        "OnFailure" if has_policy => faults.add(&restart, "must be Never with a podFailurePolicy"),
        "Never" | "OnFailure" => {}
        _ => faults.add(&restart, "must be Never or OnFailure: without it, it would be Always"),
    }
}

fn indexed(spec: &Node<'_>, name: &Node<'_>, faults: &mut Faults) {
    let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
    let most_failed = spec.get("maxFailedIndexes");
    parallelism.within(i64::MIN, MOST_INDEXES, faults);
    most_failed.within(i64::MIN, MOST_INDEXES, faults);
    let Some(count) = completions.int() else {
        return faults.add(&completions, "must be set with completionMode Indexed");
    };
    if count > 0 {
        // The index is in the Pods' host names.
        let longest = format!("{}-{}", name.text_or_empty(), count - 1);
        faults.add_unless(
            names::label(&longest).is_ok(),
            name,
            "is too long, or no host name, with the index of a Pod behind it",
        );
    }
    faults.add_unless(
        most_failed.int().is_none_or(|most| most <= count),
        &most_failed,
        "must not be more than completions",
    );
    if count > MANY && spec.get("backoffLimitPerIndex").is_set() {
        faults.add_unless(most_failed.is_set(), &most_failed, "must be set with this many completions");
        most_failed.within(i64::MIN, MOST_OF_MANY, faults);
        parallelism.within(i64::MIN, MOST_OF_MANY, faults);
    }
    let policy = spec.get("successPolicy");
    if policy.is_set() {
        let rules = policy.get("rules");
        counted(&rules, true, MOST_RULES, faults);
        for rule in rules.items() {
            success_rule(&rule, count, faults);
        }
    }
}

/// At least one if that is required, and not too many.
fn counted(list: &Node<'_>, needs_one: bool, most: usize, faults: &mut Faults) {
    let count = list.items().len();
    faults.add_unless(!needs_one || count > 0, list, "needs at least one");
    if count > most {
        faults.add(list, format!("are more than {most}"));
    }
}

fn success_rule(rule: &Node<'_>, completions: i64, faults: &mut Faults) {
    let (indexes, count) = (rule.get("succeededIndexes"), rule.get("succeededCount"));
    faults.add_unless(indexes.is_set() || count.is_set(), rule, "needs succeededIndexes or succeededCount");
    let listed = indexes.text().map(|text| count_of(text, completions));
    if listed == Some(None) {
        faults.add(&indexes, "must be indexes and ranges in order, below completions, such as 1,3-5");
    }
    count.not_negative(faults);
    let most = listed.flatten().unwrap_or(completions);
    faults.add_unless(
        count.int().is_none_or(|count| count <= most),
        &count,
        "is more than there are indexes",
    );
}

/// How many indexes `1,3-5` names; `None` if the text has another form.
fn count_of(text: &str, completions: i64) -> Option<i64> {
    let (mut count, mut last) = (0, -1);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = part.split_once('-').map_or((part, None), |(first, end)| (first, Some(end)));
        let first: i64 = first.parse().ok()?;
        let end: i64 = end.map_or(Ok(first), str::parse).ok()?;
        let is_range = !part.contains('-') || first < end;
        if first <= last || !is_range || end >= completions {
            return None;
        }
        count += end - first + 1;
        last = end;
    }
    Some(count)
}

fn failure_policy(spec: &Node<'_>, faults: &mut Faults) {
    let pod = spec.get("template").get("spec");
    let containers = ["containers", "initContainers"].map(|list| pod.get(list).items()).concat();
    let names: Vec<_> = containers.iter().map(|container| container.get("name").text_or_empty()).collect();
    let rules = spec.get("podFailurePolicy").get("rules");
    counted(&rules, false, MOST_RULES, faults);
    for rule in rules.items() {
        let (action, codes, conditions) =
            (rule.get("action"), rule.get("onExitCodes"), rule.get("onPodConditions"));
        match action.text_or_empty() {
            "FailJob" | "Ignore" | "Count" => {}
            "FailIndex" => {
                let is_set = spec.get("backoffLimitPerIndex").is_set();
                faults.add_unless(is_set, &action, "FailIndex needs backoffLimitPerIndex");
            }
            _ => faults.add(&action, "must be FailJob, FailIndex, Ignore or Count"),
        }
        let has_conditions = !conditions.items().is_empty();
        match (codes.is_set(), has_conditions) {
            (true, true) => faults.add(&rule, "may not have both onExitCodes and onPodConditions"),
            (false, false) => faults.add(&rule, "needs onExitCodes or onPodConditions"),
            _ => {}
        }
        if codes.is_set() {
            exit_codes(&codes, &names, faults);
        }
        counted(&conditions, false, MOST_RULES, faults);
        for condition in conditions.items() {
            condition.get("type").must_fit(names::qualified, faults);
            condition.get("status").one_of(&["", "True", "False", "Unknown"], faults);
        }
    }
}

fn exit_codes(codes: &Node<'_>, containers: &[&str], faults: &mut Faults) {
    let (operator, name, values) = (codes.get("operator"), codes.get("containerName"), codes.get("values"));
    operator.required(faults);
    operator.one_of(&["In", "NotIn"], faults);
    let is_there = name.text().is_none_or(|name| containers.contains(&name));
    faults.add_unless(is_there, &name, "names no container of the Pod");
    counted(&values, true, MOST_CODES, faults);
    let numbers: Vec<i64> = values.items().iter().filter_map(Node::int).collect();
    faults.add_unless(numbers.is_sorted(), &values, "must be in order");
    let mut unique = numbers.clone();
    unique.sort_unstable();
    unique.dedup();
    faults.add_unless(unique.len() == numbers.len(), &values, "has the same exit code twice");
    let has_zero = operator.text() == Some("In") && numbers.contains(&0);
    faults.add_unless(!has_zero, &values, "may not have exit code 0 with In");
}

/// The server makes the selector itself, unless `manualSelector` is set.
fn selector(spec: &Node<'_>, name: &str, faults: &mut Faults) {
    let selector = spec.get("selector");
    let wanted = selector.get("matchLabels").entries();
    let labels = spec.get("template").get("metadata").get("labels");
    if !spec.get("manualSelector").is_true() {
        const NAME: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
        const UID: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
        let is_name = |key: &str, value: &Node<'_>| NAME.contains(&key) && value.text() == Some(name);
        let is_made = wanted.iter().all(|(key, value)| is_name(key, value))
            && selector.get("matchExpressions").items().is_empty();
        faults.add_unless(is_made, &selector, "is made by the server: leave it out, or set manualSelector");
        for (key, value) in labels.entries() {
            let is_free = !UID.contains(&key) && (!NAME.contains(&key) || value.text() == Some(name));
            faults.add_unless(is_free, &value, "is set by the server");
        }
        return;
    }
    if !selector.is_set() {
        return faults.add(&selector, "must be set with manualSelector");
    }
    let is_matched = wanted.iter().all(|(key, value)| labels.value.get(key) == Some(value.value));
    faults.add_unless(is_matched, &selector, "does not match the labels of the template");
    super::scheduling::selector(&selector, faults);
}
