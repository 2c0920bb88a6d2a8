//! The pass over the syntax tree. It resolves every name and checks every rule that does not need an event, so that a
//! loaded template can only fail because of an event's content.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gotmpl::parse::{
    BranchNode, CommandNode, DefineNode, Expr, ListNode, Node, Number, PipeNode, SmolStr, TemplateNode,
    is_empty_tree,
};

use super::error::TemplateError;
use super::function::{self, Known};
use super::program::{Body, Branch, Instruction, Operand, Pipeline, Position, Program};
use super::value::Text;

/// Resolves a parsed template into a program.
pub(super) fn lower(source: &str, top: &ListNode, defines: &[DefineNode]) -> Result<Program, TemplateError> {
    let definitions = definitions(source, defines)?;
    let mut names = BTreeMap::new();
    for (index, definition) in definitions.iter().enumerate() {
        names.insert(definition.name.as_str(), index + 1);
    }
    let mut bodies = vec![Lowering::new(source, &names).body(top)?];
    for definition in definitions {
        bodies.push(Lowering::new(source, &names).body(&definition.body)?);
    }
    Ok(Program { bodies })
}

/// One definition for each name. As in Go, an empty one never replaces another, and two that are not empty collide.
fn definitions<'a>(source: &str, defines: &'a [DefineNode]) -> Result<Vec<&'a DefineNode>, TemplateError> {
    let mut kept: Vec<&DefineNode> = Vec::new();
    for define in defines {
        let Some(slot) = kept.iter_mut().find(|other| other.name == define.name) else {
            kept.push(define);
            continue;
        };
        match (is_empty(&slot.body), is_empty(&define.body)) {
            (_, true) => {}
            (true, false) => *slot = define,
            (false, false) => {
                let message = format!("template {:?} is defined twice", define.name.as_str());
                return Err(TemplateError::at(source, define.pos.offset, message));
            }
        }
    }
    Ok(kept)
}

fn is_empty(body: &ListNode) -> bool {
    body.nodes.iter().all(is_empty_tree)
}

struct Lowering<'a> {
    source: &'a str,
    templates: &'a BTreeMap<&'a str, usize>,
    /// The variables in scope; the index is their position at run time.
    scope: Vec<SmolStr>,
    most: usize,
    loops: usize,
    /// As [`Body::reads`].
    reads: Option<BTreeSet<Arc<str>>>,
}

impl<'a> Lowering<'a> {
    fn new(source: &'a str, templates: &'a BTreeMap<&'a str, usize>) -> Self {
        let scope = vec![SmolStr::new_static("$")];
        Self { source, templates, scope, most: 1, loops: 0, reads: Some(BTreeSet::new()) }
    }

    fn body(mut self, list: &ListNode) -> Result<Body, TemplateError> {
        let steps = self.list(list)?;
        Ok(Body { steps, variables: self.most, reads: self.reads })
    }

    fn error<T>(&self, at: Position, message: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError::at(self.source, at, message))
    }

    fn list(&mut self, list: &ListNode) -> Result<Vec<Instruction>, TemplateError> {
        let outer = self.scope.len();
        let steps = list.nodes.iter().map(|node| self.node(node)).collect();
        self.scope.truncate(outer);
        steps
    }

    fn node(&mut self, node: &Node) -> Result<Instruction, TemplateError> {
        match node {
            Node::Text(text) => Ok(Instruction::Text(Arc::clone(&text.text))),
            Node::Action(action) => {
                let pipeline = self.pipeline(&action.pipe)?;
                let keeps = !pipeline.variables.is_empty();
                Ok(if keeps { Instruction::Keep(pipeline) } else { Instruction::Print(pipeline) })
            }
            Node::If(branch) => Ok(Instruction::If(self.branch(branch, false)?)),
            Node::With(branch) => Ok(Instruction::With(self.branch(branch, false)?)),
            Node::Range(branch) => Ok(Instruction::Range(self.branch(branch, true)?)),
            Node::Template(call) => self.template(call),
            Node::Break(pos) if self.loops == 0 => self.error(pos.offset, "{{break}} outside {{range}}"),
            Node::Continue(pos) if self.loops == 0 => {
                self.error(pos.offset, "{{continue}} outside {{range}}")
            }
            Node::Break(_) => Ok(Instruction::Break),
            Node::Continue(_) => Ok(Instruction::Continue),
            Node::List(list) => self.error(list.pos.offset, "a list of nodes where an action belongs"),
            Node::Define(define) => self.error(define.pos.offset, "{{define}} inside a block"),
        }
    }

    fn branch(&mut self, branch: &BranchNode, repeats: bool) -> Result<Branch, TemplateError> {
        let outer = self.scope.len();
        let pipeline = self.pipeline(&branch.pipe)?;
        self.loops += usize::from(repeats);
        let then = self.list(&branch.body);
        self.loops -= usize::from(repeats);
        let otherwise = branch.else_body.as_ref().map_or(Ok(Vec::new()), |list| self.list(list));
        self.scope.truncate(outer);
        Ok(Branch { pipeline, then: then?, otherwise: otherwise? })
    }

    fn template(&mut self, call: &TemplateNode) -> Result<Instruction, TemplateError> {
        let at = call.pos.offset;
        let Some(body) = self.templates.get(call.name.as_str()).copied() else {
            return self.error(at, format!("template {:?} not defined", call.name.as_str()));
        };
        let dot = call.pipe.as_ref().map(|pipe| self.pipeline(pipe)).transpose()?;
        Ok(Instruction::Template { at, body, dot })
    }

    fn pipeline(&mut self, pipe: &PipeNode) -> Result<Pipeline, TemplateError> {
        let at = pipe.pos.offset;
        if pipe.commands.is_empty() {
            return self.error(at, "missing value");
        }
        let mut commands = Vec::with_capacity(pipe.commands.len());
        for (position, command) in pipe.commands.iter().enumerate() {
            commands.push(self.command(command, position > 0)?);
        }
        let targets = pipe.decl.iter().map(|name| self.target(name, pipe.is_assign, at));
        let variables = targets.collect::<Result<Vec<_>, _>>()?;
        Ok(Pipeline { at, variables, commands })
    }

    /// The variable that a pipeline writes: a new one for `:=`, an existing one for `=`.
    fn target(&mut self, name: &SmolStr, assigns: bool, at: Position) -> Result<usize, TemplateError> {
        if assigns {
            return self.variable(name, at);
        }
        self.scope.push(name.clone());
        self.most = self.most.max(self.scope.len());
        Ok(self.scope.len() - 1)
    }

    fn variable(&self, name: &str, at: Position) -> Result<usize, TemplateError> {
        match self.scope.iter().rposition(|known| known.as_str() == name) {
            Some(variable) => Ok(variable),
            None => self.error(at, format!("undefined variable {name:?}")),
        }
    }

    fn command(&mut self, command: &CommandNode, piped: bool) -> Result<Operand, TemplateError> {
        let at = command.pos.offset;
        let Some((first, rest)) = command.args.split_first() else {
            return self.error(at, "missing value for command");
        };
        let arguments = rest.iter().map(|argument| self.operand(argument)).collect::<Result<Vec<_>, _>>()?;
        match first {
            Expr::Identifier(pos, name) => self.call(name, pos.offset, arguments),
            Expr::Chain(pos, inner, fields) if matches!(**inner, Expr::Identifier(..)) => {
                let Expr::Identifier(_, name) = &**inner else { return self.operand(first) };
                let call = self.call(name, pos.offset, arguments)?;
                Ok(Self::fields(call, fields, pos.offset))
            }
            Expr::Nil(pos) => Ok(Operand::NilCommand { at: pos.offset }),
            Expr::Bool(..) | Expr::Number(..) | Expr::String(..) | Expr::Dot(_) if piped => {
                self.error(at, "a value in a pipeline takes no argument: only functions do")
            }
            _ if piped || !arguments.is_empty() => {
                self.operand(first)?;
                Ok(Operand::NotAFunction { at: first.pos().offset })
            }
            _ => self.operand(first),
        }
    }

    fn call(&self, name: &str, at: Position, arguments: Vec<Operand>) -> Result<Operand, TemplateError> {
        match function::named(name) {
            Known::Function(function) => Ok(Operand::Call { at, function, arguments }),
            Known::Refused(reason) => self.error(at, format!("function {name:?} is not offered: {reason}")),
            Known::Not => self.error(at, format!("function {name:?} not defined")),
        }
    }

    fn operand(&mut self, expression: &Expr) -> Result<Operand, TemplateError> {
        let at = expression.pos().offset;
        match expression {
            Expr::Dot(_) => {
                self.reads = None;
                Ok(Operand::Dot)
            }
            Expr::Nil(_) => Ok(Operand::Nil),
            Expr::Bool(_, value) => Ok(Operand::Bool(*value)),
            Expr::Number(_, Number::Int(value)) => Ok(Operand::Int(*value)),
            Expr::Number(_, Number::Float(value)) => Ok(Operand::Float(*value)),
            Expr::Number(_, Number::Uint(literal)) => Ok(Operand::Overflow { at, literal: *literal }),
            Expr::String(_, text) => Ok(Operand::Text(Text::literal(Arc::clone(text)))),
            Expr::Field(_, fields) => {
                self.read(fields.first());
                Ok(Self::fields(Operand::Dot, fields, at))
            }
            Expr::Variable(_, name, fields) => {
                if name == "$" {
                    self.read(fields.first());
                }
                let variable = Operand::Variable(self.variable(name, at)?);
                Ok(Self::fields(variable, fields, at + name.len()))
            }
            Expr::Identifier(_, name) => self.call(name, at, Vec::new()),
            Expr::Pipe(_, pipe) => Ok(Operand::Pipeline(Box::new(self.pipeline(pipe)?))),
            Expr::Chain(_, inner, fields) => {
                let inner = self.operand(inner)?;
                Ok(Self::fields(inner, fields, at))
            }
        }
    }

    /// A field of dot or `$`, or all of it.
    fn read(&mut self, field: Option<&SmolStr>) {
        match (field, &mut self.reads) {
            (Some(field), Some(reads)) => drop(reads.insert(Arc::from(field.as_str()))),
            (None, reads) => *reads = None,
            (Some(_), None) => {}
        }
    }

    /// `.a.b` on an operand; each field has its own position.
    fn fields(of: Operand, names: &[SmolStr], at: Position) -> Operand {
        if names.is_empty() {
            return of;
        }
        let mut place = at;
        let names = names.iter().map(|name| {
            let at = place;
            place += name.len() + 1;
            (at, Arc::from(name.as_str()))
        });
        Operand::Fields { names: names.collect(), of: Box::new(of) }
    }
}
