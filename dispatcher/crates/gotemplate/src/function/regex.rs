//! Sprig's functions with regular expressions, in RE2 syntax as Go's.

use regex::{NoExpand, Regex, RegexBuilder};

use super::{Call, Fault, Function, Value, texts};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("regexMatch", 2, 2, |call| {
        let text = call.str(1)?;
        Ok(Value::Bool(compiled(call, 0).is_ok_and(|regex| regex.is_match(text))))
    }),
    Function::new("mustRegexMatch", 2, 2, |call| {
        let text = call.str(1)?;
        Ok(Value::Bool(compiled(call, 0)?.is_match(text)))
    }),
    Function::new("regexFind", 2, 2, find),
    Function::new("mustRegexFind", 2, 2, find),
    Function::new("regexFindAll", 3, 3, find_all),
    Function::new("mustRegexFindAll", 3, 3, find_all),
    Function::new("regexReplaceAll", 3, 3, |call| replace_all(call, true)),
    Function::new("mustRegexReplaceAll", 3, 3, |call| replace_all(call, true)),
    Function::new("regexReplaceAllLiteral", 3, 3, |call| replace_all(call, false)),
    Function::new("mustRegexReplaceAllLiteral", 3, 3, |call| replace_all(call, false)),
    Function::new("regexSplit", 3, 3, split),
    Function::new("mustRegexSplit", 3, 3, split),
    Function::new("regexQuoteMeta", 1, 1, |call| {
        let text = call.str(0)?;
        call.budget.room(text.len().saturating_mul(2))?;
        let mut quoted = String::new();
        for character in text.chars() {
            if r"\.+*?()|[]{}^$".contains(character) {
                quoted.push('\\');
            }
            quoted.push(character);
        }
        call.made(quoted)
    }),
];

/// The largest compiled expression, in bytes.
const SIZE: usize = 1 << 20;

fn compiled(call: &mut Call<'_>, position: usize) -> Result<Regex, Fault> {
    let expression = call.str(position)?;
    // Compiling costs more than anything else a function does.
    call.budget.steps(1_000 + expression.len())?;
    let built = RegexBuilder::new(expression).size_limit(SIZE).dfa_size_limit(SIZE).build();
    built.map_err(|_| Fault::new("invalid regular expression"))
}

fn find(call: &mut Call<'_>) -> Result<Value, Fault> {
    let text = call.str(1)?;
    let found = compiled(call, 0)?.find(text).map_or("", |found| found.as_str());
    call.made(found)
}

fn most(call: &Call<'_>) -> Result<usize, Fault> {
    Ok(usize::try_from(call.int(2)?).unwrap_or(usize::MAX))
}

fn find_all(call: &mut Call<'_>) -> Result<Value, Fault> {
    let (text, most) = (call.str(1)?, most(call)?);
    call.budget.text(text.len())?;
    let regex = compiled(call, 0)?;
    call.budget.values(regex.find_iter(text).take(most).count())?;
    call.made_list(texts(regex.find_iter(text).take(most).map(|found| found.as_str())))
}

fn replace_all(call: &mut Call<'_>, expand: bool) -> Result<Value, Fault> {
    let (text, replacement) = (call.str(1)?, call.str(2)?);
    let regex = compiled(call, 0)?;
    // Each match may expand every group of the replacement to the whole match.
    let hits = regex.find_iter(text).count();
    let groups = if expand { replacement.matches('$').count().saturating_mul(text.len()) } else { 0 };
    let grown = hits.saturating_mul(replacement.len()).saturating_add(groups);
    call.budget.room(text.len().saturating_add(grown))?;
    Ok(Value::text(if expand {
        regex.replace_all(text, replacement)
    } else {
        regex.replace_all(text, NoExpand(replacement))
    }))
}

fn split(call: &mut Call<'_>) -> Result<Value, Fault> {
    let (text, most) = (call.str(1)?, most(call)?);
    call.budget.text(text.len())?;
    let regex = compiled(call, 0)?;
    call.budget.values(regex.splitn(text, most).count())?;
    call.made_list(texts(regex.splitn(text, most)))
}
