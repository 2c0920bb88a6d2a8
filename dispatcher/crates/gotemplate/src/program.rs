//! A template after its checks: names are resolved, positions are kept, and it is ready to run.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::function::Function;
use super::value::Text;

/// The template and everything that it defines.
#[derive(Debug)]
pub(super) struct Program {
    /// Body 0 is the template itself; the others are its `define`s and `block`s.
    pub(super) bodies: Vec<Body>,
}

impl Program {
    /// Whether any step decides about other steps.
    pub(super) fn branches(&self) -> bool {
        let decides = |step: &Instruction| {
            matches!(
                step,
                Instruction::If(_)
                    | Instruction::With(_)
                    | Instruction::Range(_)
                    | Instruction::Template { .. }
            )
        };
        self.bodies.iter().any(|body| body.steps.iter().any(decides))
    }

    /// Whether it may read this field of its context.
    pub(super) fn reads(&self, field: &str) -> bool {
        self.bodies.iter().any(|body| body.reads.as_ref().is_none_or(|fields| fields.contains(field)))
    }
}

/// One template body.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) steps: Vec<Instruction>,
    /// How many variables it needs at the same time; variable 0 is `$`.
    pub(super) variables: usize,
    /// Every field that it reads first, of any value. `None`: it uses dot or `$` as a whole.
    pub(super) reads: Option<BTreeSet<Arc<str>>>,
}

/// A byte offset in the source.
pub(super) type Position = usize;

#[derive(Debug)]
pub(super) enum Instruction {
    Text(Arc<str>),
    Print(Pipeline),
    /// A pipeline that only declares or assigns variables.
    Keep(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template {
        at: Position,
        body: usize,
        dot: Option<Pipeline>,
    },
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) then: Vec<Instruction>,
    pub(super) otherwise: Vec<Instruction>,
}

/// Commands; each gets the result of the one before as its last argument.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) at: Position,
    /// Where the result goes besides dot: `range` assigns key and value, or only the value.
    pub(super) variables: Vec<usize>,
    pub(super) commands: Vec<Operand>,
}

/// Something that has a value.
#[derive(Debug)]
pub(super) enum Operand {
    Dot,
    /// `nil` as an argument.
    Nil,
    /// `nil` in place of a command.
    NilCommand {
        at: Position,
    },
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    /// A literal that does not fit an integer.
    Overflow {
        at: Position,
        literal: u64,
    },
    Variable(usize),
    /// `.a.b` of a value; each name with its position.
    Fields {
        of: Box<Operand>,
        names: Vec<(Position, Arc<str>)>,
    },
    Pipeline(Box<Pipeline>),
    Call {
        at: Position,
        function: &'static Function,
        arguments: Vec<Operand>,
    },
    /// A value with arguments, which only functions accept.
    NotAFunction {
        at: Position,
    },
}

#[cfg(test)]
mod tests {
    use crate::Template;

    #[test]
    fn a_branch_is_seen_wherever_white_space_is_trimmed() {
        let branches = |text: &str| Template::parse("t", text).unwrap().branches();
        for text in [
            "{{ if .x }}{{ end }}",
            "{{- range .x }}{{ end }}",
            "a: {{- with .x}}{{end}}",
            r#"{{define "t"}}{{end}}{{template "t"}}"#,
            r#"{{ block "t" . }}{{ end }}"#,
        ] {
            assert!(branches(text), "{text}");
        }
        for text in ["{{ .if }}", "if range", "{{ $range := 1 }}", r#"{{ printf "if" }}"#] {
            assert!(!branches(text), "{text}");
        }
    }

    #[test]
    fn a_field_that_is_not_named_is_not_read_unless_the_whole_is() {
        let reads = |text: &str, field: &str| Template::parse("t", text).unwrap().program.reads(field);
        for text in
            ["{{ .a.b }}", "{{ $.a }}", "{{ range .a }}{{ .b }}{{ end }}", "{{ (.a).b }}", "{{ len .a }}"]
        {
            assert_eq!((reads(text, "a"), reads(text, "c")), (true, false), "{text}");
        }
        for text in [
            "{{ . }}",
            "{{ $ }}",
            "{{ $x := . }}",
            r#"{{ index . "c" }}"#,
            "{{ (.).c }}",
            "{{ .a }}{{ range $k, $v := . }}{{ end }}",
            r#"{{ define "t" }}{{ . }}{{ end }}{{ template "t" .a }}"#,
            "{{ with $ }}{{ end }}",
        ] {
            assert!(reads(text, "c"), "{text}");
        }
    }
}
