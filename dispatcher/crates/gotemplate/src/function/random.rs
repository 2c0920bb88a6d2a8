//! Sprig's random functions. A template that uses them renders differently when an event is delivered again.

use base64::Engine as _;
use uuid::Uuid;

use super::{Call, Fault, Function, Value, fault};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("uuidv4", 0, 0, |call| {
        call.budget.is_nondeterministic = true;
        call.made(Uuid::new_v4().to_string())
    }),
    Function::new("randAlpha", 1, 1, |call| letters(call, u8::is_ascii_alphabetic)),
    Function::new("randNumeric", 1, 1, |call| letters(call, u8::is_ascii_digit)),
    Function::new("randAlphaNum", 1, 1, |call| letters(call, u8::is_ascii_alphanumeric)),
    Function::new("randAscii", 1, 1, |call| letters(call, |byte| (b' '..=b'~').contains(byte))),
    Function::new("randBytes", 1, 1, |call| {
        let count = count(call)?;
        call.budget.is_nondeterministic = true;
        let bytes: Vec<u8> = random_bytes().take(count).collect();
        call.made(base64::engine::general_purpose::STANDARD.encode(bytes))
    }),
    Function::new("randInt", 2, 2, |call| {
        let (low, high) = (call.int(0)?, call.int(1)?);
        call.budget.is_nondeterministic = true;
        let span = high.checked_sub(low).filter(|span| *span > 0);
        match span {
            Some(span) => Ok(Value::Int(low + below(span))),
            None => fault("the second number must be larger than the first"),
        }
    }),
    Function::new("shuffle", 1, 1, |call| {
        call.budget.is_nondeterministic = true;
        let mut characters: Vec<char> = call.str(0)?.chars().collect();
        call.budget.steps(characters.len())?;
        for last in (1..characters.len()).rev() {
            let other = below(i64::try_from(last).unwrap_or(0) + 1);
            characters.swap(last, usize::try_from(other).unwrap_or(last));
        }
        call.made(characters.into_iter().collect::<String>())
    }),
];

/// Random bytes of the operating system, without the fixed bits of a UUID.
fn random_bytes() -> impl Iterator<Item = u8> {
    std::iter::repeat_with(|| {
        let bytes = Uuid::new_v4().into_bytes();
        (0..16).filter(|index| !matches!(index, 6 | 8)).map(move |index| bytes[index])
    })
    .flatten()
}

/// A number from 0 up to `bound`, which is positive.
fn below(bound: i64) -> i64 {
    let random = random_bytes().take(8).fold(0u64, |number, byte| number << 8 | u64::from(byte));
    let scaled = (u128::from(random) * u128::from(bound.unsigned_abs())) >> 64;
    i64::try_from(scaled).unwrap_or(0)
}

fn count(call: &mut Call<'_>) -> Result<usize, Fault> {
    match usize::try_from(call.int(0)?) {
        Ok(count) if count <= 10_000 => Ok(count),
        _ => fault("the length must be from 0 to 10000"),
    }
}

fn letters(call: &mut Call<'_>, wanted: fn(&u8) -> bool) -> Result<Value, Fault> {
    let count = count(call)?;
    call.budget.is_nondeterministic = true;
    call.budget.steps(count)?;
    call.made(random_bytes().filter(wanted).map(char::from).take(count).collect::<String>())
}
