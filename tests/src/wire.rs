//! Protobuf on the wire, read without the definitions that the product uses. Field numbers are those of the published
//! `.proto` files.

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// A varint, or a fixed number of 4 or 8 bytes.
    Number(u64),
    /// A text, bytes, or a message of its own.
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The number; bytes have none.
    pub fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Bytes(_) => panic!("{self:?} is no number"),
        }
    }

    /// The bytes; a number has none.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) => panic!("{self:?} is no bytes"),
        }
    }

    /// The bytes as text.
    pub fn text(self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("UTF-8")
    }
}

/// A message: its fields in order; `None` if the bytes are not a message.
pub fn message(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
            2 => {
                let length = varint(&mut bytes)?.try_into().ok()?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            5 => Field::Number(u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?).into()),
            _ => return None,
        };
        fields.push((key >> 3, field));
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let bytes =
            [0x08, 0x96, 0x01, 0x12, 0x07, b't', b'e', b's', b't', b'i', b'n', b'g', 0x1d, 1, 0, 0, 0];
        let expected = [(1, Field::Number(150)), (2, Field::Bytes(b"testing")), (3, Field::Number(1))];
        assert_eq!(message(&bytes).unwrap(), expected);
        assert_eq!(message(&bytes[..5]), None);
        assert_eq!(message(&[0x0b]), None, "groups are gone");
    }
}
