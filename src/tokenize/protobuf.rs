//! The little of protobuf's wire format that a SentencePiece model file needs.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// What a field holds, by its wire type.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// An integer, a boolean or an enum. Negative 32-bit integers come sign-extended to 64 bits.
    Varint(u64),
    /// Four bytes, little endian: a float.
    Fixed32(u32),
    /// Eight bytes: nothing that SentencePiece writes.
    Fixed64,
    /// Bytes, a string or a message, and where in the file they start.
    Bytes(&'a [u8], usize),
}

/// Where and why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Bytes from the start of the file.
    pub at: usize,
    pub what: &'static str,
}

/// The fields of one message in file order, as (field number, value). Ends after the first damage.
pub struct Fields<'a> {
    data: &'a [u8],
    at: usize,
    base: usize,
}

impl<'a> Fields<'a> {
    /// Reads `data`, which starts `base` bytes into the file.
    pub fn new(data: &'a [u8], base: usize) -> Self {
        Self { data, at: 0, base }
    }

    fn damage(&self, what: &'static str) -> Damage {
        Damage { at: self.base + self.at, what }
    }

    fn varint(&mut self) -> Result<u64, Damage> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damage("a number is longer than ten bytes"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let bytes = self
            .at
            .checked_add(count)
            .and_then(|end| self.data.get(self.at..end))
            .ok_or_else(|| self.damage("the data ends in the middle of a field"))?;
        self.at += count;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Damage> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let start = self.base + self.at;
                Value::Bytes(self.take(count)?, start)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            _ => return Err(self.damage("a field has an unknown wire type")),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.data.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.data.len();
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_wire_type() {
        let data = [0x08, 0x96, 0x01, 0x15, 0, 0, 0x80, 0x3F, 0x1A, 2, b'h', b'i'];
        let fields: Vec<_> = Fields::new(&data, 100).map(Result::unwrap).collect();
        assert!(matches!(fields[0], (1, Value::Varint(150))));
        assert!(matches!(fields[1], (2, Value::Fixed32(0x3F80_0000))));
        assert!(matches!(fields[2], (3, Value::Bytes(b"hi", 110))));
    }

    #[test]
    fn names_the_place_of_a_cut() {
        let mut fields = Fields::new(&[0x1A, 200, 1, 0], 10);
        let damage = fields.next().unwrap().unwrap_err();
        assert_eq!(damage, Damage { at: 13, what: "the data ends in the middle of a field" });
        assert!(fields.next().is_none());
    }

    #[test]
    fn refuses_an_endless_number() {
        let damage = Fields::new(&[0xFF; 20], 0).next().unwrap().unwrap_err();
        assert_eq!(damage.what, "a number is longer than ten bytes");
    }
}
