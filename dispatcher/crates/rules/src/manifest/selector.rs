//! Which clusters a trigger is for: a label selector with Sveltos' rule that an empty one selects nothing.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Problem;
use super::document::Document;

/// A label selector, checked.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    pub(super) fn read(
        document: &Document,
        field: &str,
        selector: LabelSelector,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let (selector, wrong) = Self::parse(selector);
        if selector.requirements.is_empty() && wrong.is_empty() {
            problems.push(
                document.warning(field, "an empty selector matches no cluster: this trigger never fires"),
            );
        }
        let whole = wrong.is_empty();
        problems.extend(
            wrong.into_iter().map(|(index, message)| {
                document.error(&format!("{field}.matchExpressions[{index}]"), message)
            }),
        );
        whole.then_some(selector)
    }

    /// A selector outside of any manifest; `None` if it is invalid.
    pub fn of(selector: LabelSelector) -> Option<Self> {
        let (selector, wrong) = Self::parse(selector);
        wrong.is_empty().then_some(selector)
    }

    /// The requirements, and the problem of an invalid expression with its index.
    fn parse(selector: LabelSelector) -> (Self, Vec<(usize, String)>) {
        let labels = selector.match_labels.unwrap_or_default().into_iter();
        let mut requirements: Vec<Requirement> =
            labels.map(|(key, value)| Requirement { key, operator: Operator::In(vec![value]) }).collect();
        let mut wrong = Vec::new();
        for (index, expression) in selector.match_expressions.unwrap_or_default().into_iter().enumerate() {
            let values = expression.values.unwrap_or_default();
            let operator = match (expression.operator.as_str(), values.is_empty()) {
                ("In", false) => Operator::In(values),
                ("NotIn", false) => Operator::NotIn(values),
                ("Exists", true) => Operator::Exists,
                ("DoesNotExist", true) => Operator::DoesNotExist,
                (name @ ("In" | "NotIn" | "Exists" | "DoesNotExist"), _) => {
                    wrong.push((index, format!("operator {name} with {} values", values.len())));
                    continue;
                }
                (name, _) => {
                    let message = format!("operator {name:?} is not one of In, NotIn, Exists, DoesNotExist");
                    wrong.push((index, message));
                    continue;
                }
            };
            requirements.push(Requirement { key: expression.key, operator });
        }
        (Self { requirements }, wrong)
    }

    /// Whether all requirements hold; an empty selector selects nothing.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.requirements.is_empty() && self.first_unmet(labels).is_none()
    }

    /// Why the selector does not match, as text.
    pub fn mismatch(&self, labels: &BTreeMap<String, String>) -> Option<String> {
        if self.requirements.is_empty() {
            return Some("the selector is empty and matches no cluster".into());
        }
        let requirement = self.first_unmet(labels)?;
        let has = match labels.get(&requirement.key) {
            Some(value) => format!("the cluster has {}={value}", requirement.key),
            None => format!("the cluster has no label {}", requirement.key),
        };
        Some(match &requirement.operator {
            Operator::In(values) => format!("wants {} to be {}, {has}", requirement.key, values.join(" or ")),
            Operator::NotIn(values) => {
                format!("wants {} not to be {}, {has}", requirement.key, values.join(" or "))
            }
            Operator::Exists | Operator::DoesNotExist => has,
        })
    }

    fn first_unmet(&self, labels: &BTreeMap<String, String>) -> Option<&Requirement> {
        self.requirements.iter().find(|requirement| {
            let value = labels.get(&requirement.key);
            !match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}
