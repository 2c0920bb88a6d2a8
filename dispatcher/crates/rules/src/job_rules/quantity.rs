//! Quantities of resources: a number and a suffix, such as `250m` or `64Mi`.

use std::cmp::Ordering;

/// A quantity in billionths, as far as the number can hold it; enough for comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quantity(i128);

const SCALE: i128 = 1_000_000_000;

impl Quantity {
    pub(super) const ZERO: Self = Self(0);

    /// Reads it as Kubernetes does; `None` if it is not a quantity.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sign, unsigned) = match text.as_bytes().first()? {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let (two, ten) = factors(suffix)?;
        let mut value: i128 = 0;
        for digit in whole.bytes() {
            value = value.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
        }
        value = value.saturating_mul(SCALE);
        let mut place = SCALE / 10;
        for digit in fraction.bytes() {
            value = value.saturating_add(i128::from(digit - b'0') * place);
            place /= 10;
        }
        value = value.saturating_mul(1i128.checked_shl(two).unwrap_or(i128::MAX));
        let power = 10i128.saturating_pow(ten.unsigned_abs());
        value = if ten < 0 { value / power } else { value.saturating_mul(power) };
        Some(Self(sign * value))
    }

    pub(super) fn is_negative(self) -> bool {
        self.0.cmp(&0) == Ordering::Less
    }

    pub(super) fn is_whole(self) -> bool {
        self.0 % SCALE == 0
    }
}

/// Suffixes for powers of two and of ten.
fn factors(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => (0, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}
