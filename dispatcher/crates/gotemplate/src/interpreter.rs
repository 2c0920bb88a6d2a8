//! Runs a program on an event.

use std::sync::Arc;

use super::Context;
use super::budget::{Budget, OUTPUT};
use super::error::{Fault, TemplateError};
use super::function::Function;
use super::placeholder::Tokens;
use super::program::{Branch, Instruction, Operand, Pipeline, Position, Program};
use super::text::printed;
use super::value::{Emission, Text, Value};

/// The deepest nesting of blocks and template calls.
const NESTING: usize = 200;

/// Renders `program`: with `tokens` safely, without them as Go does. Also returns whether the result depends on
/// randomness or the clock.
pub(super) fn run(
    program: &Program,
    source: &str,
    context: &Context<'_>,
    tokens: Option<&mut Tokens>,
) -> Result<(String, bool), TemplateError> {
    let budget = Budget::new(context.later);
    let mut machine = Machine { program, budget, tokens, output: String::new(), nesting: 0, at: 0 };
    let root = context.value(program);
    match machine.body(0, &root) {
        Ok(()) => Ok((machine.output, machine.budget.is_nondeterministic)),
        Err(Fault(message)) => Err(TemplateError::at(source, machine.at, message)),
    }
}

struct Machine<'a> {
    program: &'a Program,
    budget: Budget,
    tokens: Option<&'a mut Tokens>,
    output: String,
    nesting: usize,
    /// The position in the source that runs now, for errors.
    at: Position,
}

/// Dot and the variables of one template body.
struct Frame {
    variables: Vec<Value>,
}

/// How a list of steps ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl Machine<'_> {
    fn body(&mut self, body: usize, dot: &Value) -> Result<(), Fault> {
        let program = self.program;
        let Some(body) = program.bodies.get(body) else { return Ok(()) };
        let mut variables = vec![Value::Nil; body.variables];
        if let Some(root) = variables.first_mut() {
            *root = dot.clone();
        }
        self.nested(|machine| machine.steps(&body.steps, dot, &mut Frame { variables })).map(|_| ())
    }

    fn nested<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.nesting >= NESTING {
            return Err(Fault::new(format!("blocks and templates nest deeper than {NESTING} levels")));
        }
        self.nesting += 1;
        let result = work(self);
        self.nesting -= 1;
        result
    }

    fn steps(&mut self, steps: &[Instruction], dot: &Value, frame: &mut Frame) -> Result<Flow, Fault> {
        for step in steps {
            self.budget.steps(1)?;
            let flow = match step {
                Instruction::Text(text) => self.write(text).map(|()| Flow::Next),
                Instruction::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot, frame)?;
                    self.at = pipeline.at;
                    self.print(&value).map(|()| Flow::Next)
                }
                Instruction::Keep(pipeline) => self.bound(pipeline, dot, frame).map(|_| Flow::Next),
                Instruction::If(branch) => {
                    let holds = self.bound(&branch.pipeline, dot, frame)?.is_true();
                    let steps = if holds { &branch.then } else { &branch.otherwise };
                    self.nested(|machine| machine.steps(steps, dot, frame))
                }
                Instruction::With(branch) => {
                    let value = self.bound(&branch.pipeline, dot, frame)?;
                    if value.is_true() {
                        self.nested(|machine| machine.steps(&branch.then, &value, frame))
                    } else {
                        self.nested(|machine| machine.steps(&branch.otherwise, dot, frame))
                    }
                }
                Instruction::Range(branch) => self.nested(|machine| machine.range(branch, dot, frame)),
                Instruction::Template { at, body, dot: pipeline } => {
                    let value = match pipeline {
                        Some(pipeline) => self.bound(pipeline, dot, frame)?,
                        None => Value::Nil,
                    };
                    self.at = *at;
                    self.body(*body, &value).map(|()| Flow::Next)
                }
                Instruction::Break => Ok(Flow::Break),
                Instruction::Continue => Ok(Flow::Continue),
            }?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, branch: &Branch, dot: &Value, frame: &mut Frame) -> Result<Flow, Fault> {
        let value = self.pipeline(&branch.pipeline, dot, frame)?;
        self.at = branch.pipeline.at;
        let mut turns = false;
        match &value {
            Value::Nil => {}
            Value::List(list) => {
                for (position, item) in (0..).zip(list.items()) {
                    turns = true;
                    if self.turn(branch, Value::Int(position), item, frame)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, item) in map.entries() {
                    turns = true;
                    if self.turn(branch, Value::text(key), &item, frame)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(_) if branch.pipeline.variables.len() > 1 => {
                return Err(Fault::new("can't use a number to iterate over more than one variable"));
            }
            Value::Int(count) => {
                for number in 0..*count {
                    turns = true;
                    if self.turn(branch, Value::Int(number), &Value::Int(number), frame)? == Flow::Break {
                        break;
                    }
                }
            }
            other => return Err(Fault::new(format!("range can't iterate over {}", other.type_name()))),
        }
        if turns { Ok(Flow::Next) } else { self.steps(&branch.otherwise, dot, frame) }
    }

    fn turn(&mut self, branch: &Branch, key: Value, item: &Value, frame: &mut Frame) -> Result<Flow, Fault> {
        self.budget.steps(1)?;
        match branch.pipeline.variables.as_slice() {
            [] => {}
            [value] => self.keep(frame, *value, item.clone()),
            [first, second, ..] => {
                self.keep(frame, *first, key);
                self.keep(frame, *second, item.clone());
            }
        }
        self.steps(&branch.then, item, frame)
    }

    /// The value of a pipeline, which is also assigned to its variables.
    fn bound(&mut self, pipeline: &Pipeline, dot: &Value, frame: &mut Frame) -> Result<Value, Fault> {
        let value = self.pipeline(pipeline, dot, frame)?;
        for variable in &pipeline.variables {
            self.keep(frame, *variable, value.clone());
        }
        Ok(value)
    }

    fn keep(&mut self, frame: &mut Frame, variable: usize, value: Value) {
        if let Some(slot) = frame.variables.get_mut(variable) {
            self.budget.gone(slot);
            *slot = value;
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value, frame: &mut Frame) -> Result<Value, Fault> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(match command {
                Operand::Call { at, function, arguments } => {
                    self.call(*at, function, arguments, value, dot, frame)?
                }
                other => self.operand(other, value, dot, frame)?,
            });
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    /// The value of an operand. Only a field at the start of a command can take the `piped` value, for the function
    /// call inside it.
    fn operand(
        &mut self,
        operand: &Operand,
        piped: Option<Value>,
        dot: &Value,
        frame: &mut Frame,
    ) -> Result<Value, Fault> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::NilCommand { at } => self.fail(*at, "nil is not a command"),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Int(value) => Ok(Value::Int(*value)),
            Operand::Float(value) => Ok(Value::Float(*value)),
            Operand::Text(text) => Ok(Value::Text(text.clone())),
            Operand::Overflow { at, literal } => self.fail(*at, format!("{literal} overflows int")),
            Operand::Variable(variable) => Ok(frame.variables.get(*variable).cloned().unwrap_or(Value::Nil)),
            Operand::Fields { of, names } => {
                let mut value = self.operand(of, piped, dot, frame)?;
                for (at, name) in names {
                    self.at = *at;
                    value = field(&value, name)?;
                }
                Ok(value)
            }
            Operand::Pipeline(pipeline) => self.bound(pipeline, dot, frame),
            Operand::Call { at, function, arguments } => {
                self.call(*at, function, arguments, piped, dot, frame)
            }
            Operand::NotAFunction { at } => self.fail(*at, "only a function takes arguments"),
        }
    }

    fn call(
        &mut self,
        at: Position,
        function: &'static Function,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
        frame: &mut Frame,
    ) -> Result<Value, Fault> {
        self.at = at;
        function.takes(operands.len() + usize::from(piped.is_some()))?;
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            let value = self.nested(|machine| machine.operand(operand, None, dot, frame))?;
            if function.stops_at() == Some(value.is_true()) {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(piped);
        self.at = at;
        let result = function.call(&arguments, &mut self.budget, self.tokens.as_deref_mut());
        for argument in &arguments {
            self.budget.gone(argument);
        }
        result.map_err(|Fault(message)| Fault(format!("{}: {message}", function.name)))
    }

    fn fail<T>(&mut self, at: Position, message: impl Into<String>) -> Result<T, Fault> {
        self.at = at;
        Err(Fault::new(message))
    }

    fn write(&mut self, text: &str) -> Result<(), Fault> {
        if self.output.len() + text.len() > OUTPUT {
            return Err(Fault::new(format!("the rendered text is larger than {} MiB", OUTPUT >> 20)));
        }
        self.output.push_str(text);
        Ok(())
    }

    /// Prints a value as Go does. A safe rendering prints a token for the text of the event.
    fn print(&mut self, value: &Value) -> Result<(), Fault> {
        if self.tokens.is_none() {
            let text = printed(value, &mut self.budget)?;
            return self.write(&text);
        }
        match value {
            Value::Text(text) => {
                let written = self.emitted(text)?;
                self.write(&written)
            }
            Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Time(_) => {
                let text = printed(value, &mut self.budget)?;
                self.write(&text)
            }
            Value::List(_) | Value::Map(_) => {
                let text = Text::opaque(printed(value, &mut self.budget)?);
                let written = self.emitted(&text)?;
                self.write(&written)
            }
        }
    }

    fn emitted(&mut self, text: &Text) -> Result<Arc<str>, Fault> {
        let Some(tokens) = self.tokens.as_deref_mut() else { return Ok(Arc::clone(&text.text)) };
        match &text.emission {
            Emission::Literal => Ok(Arc::clone(&text.text)),
            Emission::Shaped(shape) => Ok(Arc::clone(shape)),
            Emission::Opaque => {
                self.budget.values(1)?;
                Ok(tokens.opaque(&text.text))
            }
            Emission::Json(quoting) => {
                // No fewer than there are texts.
                self.budget.values(text.text.matches('"').count() / 2)?;
                let shape = tokens.json(&text.text, *quoting);
                self.budget.text(shape.len())?;
                Ok(shape.into())
            }
        }
    }
}

/// `.name` of a value, with `missingkey=error`.
fn field(value: &Value, name: &str) -> Result<Value, Fault> {
    match value {
        Value::Map(map) => {
            map.get(name).ok_or_else(|| Fault::new(format!("map has no entry for key {name:?}")))
        }
        Value::Nil => Err(Fault::new(format!("nil has no field {name:?}"))),
        other => Err(Fault::new(format!("can't evaluate field {name} in type {}", other.type_name()))),
    }
}
