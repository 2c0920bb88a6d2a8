//! Sprig's defaults, conditions and type tests.

use super::super::compare::deep_equal;
use super::{Call, Emission, Fault, Function, MANY, Value, fault};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("default", 1, MANY, |call| {
        let given = call.count() > 1 && call.any(1).is_true();
        Ok(call.any(usize::from(given)).clone())
    }),
    Function::new("empty", 1, 1, |call| Ok(Value::Bool(!call.any(0).is_true()))),
    Function::new("coalesce", 0, MANY, |call| {
        Ok(call.arguments.iter().find(|value| value.is_true()).cloned().unwrap_or(Value::Nil))
    }),
    Function::new("all", 0, MANY, |call| Ok(Value::Bool(call.arguments.iter().all(Value::is_true)))),
    Function::new("any", 0, MANY, |call| Ok(Value::Bool(call.arguments.iter().any(Value::is_true)))),
    Function::new("ternary", 3, 3, |call| Ok(call.any(usize::from(!call.bool(2)?)).clone())),
    Function::new("fail", 1, 1, fail),
    Function::new("hello", 0, 0, |call| call.made("Hello!")),
    Function::new("kindOf", 1, 1, |call| call.made(call.any(0).kind())),
    Function::new("kindIs", 2, 2, |call| Ok(Value::Bool(call.str(0)? == call.any(1).kind()))),
    Function::new("typeOf", 1, 1, |call| call.made(call.any(0).type_name())),
    Function::new("typeIs", 2, 2, |call| Ok(Value::Bool(call.str(0)? == call.any(1).type_name()))),
    Function::new("typeIsLike", 2, 2, |call| {
        let wanted = call.str(0)?;
        Ok(Value::Bool(wanted.strip_prefix('*').unwrap_or(wanted) == call.any(1).type_name()))
    }),
    Function::new("deepEqual", 2, 2, |call| {
        Ok(Value::Bool(deep_equal(call.any(0), call.any(1), call.budget)?))
    }),
];

/// The message is shown only if it is written in the template; a computed message may contain the event's data.
fn fail(call: &mut Call<'_>) -> Result<Value, Fault> {
    let message = call.text(0)?;
    match message.emission {
        Emission::Literal => fault(message.text.to_string()),
        _ => fault("the template refuses this event"),
    }
}
