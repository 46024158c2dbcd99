//! Blocks that are read. Pure.

use std::ops::ControlFlow;

use super::{
    Name, TABLE, Value,
    huffman::{self, Malformed},
    table::Table,
};

/// Reads one connection's blocks, in the order in which they come.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    pub(super) table: Table,
}

/// Why a block, and with it all that follow, cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Unreadable {
    /// It is no block.
    Malformed,
    /// Whoever takes the fields wants no more of them.
    Unwanted,
}

impl From<Malformed> for Unreadable {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl Decoder {
    pub(in super::super) const fn new() -> Self {
        Self {
            table: Table::new(),
        }
    }

    /// Hands every field of a block to `each`, until that breaks off.
    ///
    /// # Errors
    /// See [`Unreadable`]; the connection cannot go on after it.
    pub(in super::super) fn decode(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(Name, Value) -> ControlFlow<()>,
    ) -> Result<(), Unreadable> {
        let mut reader = Reader {
            rest: block,
            text: Vec::new(),
        };
        // The table's size changes at the beginning alone.
        let mut begun = false;
        while let Some(&first) = reader.rest.first() {
            let (name, value) = if first & 0x80 != 0 {
                let number = reader.integer(7)?;
                self.table.entry(number).ok_or(Malformed)?
            } else if first & 0xe0 == 0x20 {
                let most = reader.integer(5)?;
                if begun || most > TABLE {
                    return Err(Unreadable::Malformed);
                }
                self.table.resize(most);
                continue;
            } else {
                let indexed = first & 0x40 != 0;
                let (name, mut value) = reader.literal(&self.table, if indexed { 6 } else { 4 })?;
                if indexed {
                    self.table.insert(name.clone(), value.clone());
                } else if first & 0x10 != 0
                    && let Value::Field(value) = &mut value
                {
                    // Whoever passes it on is not to have it in a table either.
                    value.set_sensitive(true);
                }
                (name, value)
            };
            begun = true;
            if each(name, value).is_break() {
                return Err(Unreadable::Unwanted);
            }
        }
        Ok(())
    }
}

/// The rest of a block.
struct Reader<'a> {
    rest: &'a [u8],
    /// What a coded string says.
    text: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// RFC 7541 section 5.1: a number that begins in the last `bits` of a byte. Far beyond what a block may have is none.
    fn integer(&mut self, bits: u32) -> Result<usize, Malformed> {
        let (&first, mut rest) = self.rest.split_first().ok_or(Malformed)?;
        let most = (1usize << bits) - 1;
        let mut number = usize::from(first) & most;
        if number == most {
            let mut shift = 0;
            loop {
                let (&next, after) = rest.split_first().ok_or(Malformed)?;
                rest = after;
                number += usize::from(next & 0x7f) << shift;
                shift += 7;
                if next & 0x80 == 0 {
                    break;
                }
                if shift > 21 {
                    return Err(Malformed);
                }
            }
        }
        self.rest = rest;
        Ok(number)
    }

    /// RFC 7541 section 5.2: a string, and whether it is coded.
    fn string(&mut self) -> Result<(&'a [u8], bool), Malformed> {
        let coded = self.rest.first().ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (string, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok((string, coded))
    }

    /// The same in plain.
    fn plain(&mut self) -> Result<&[u8], Malformed> {
        let (string, coded) = self.string()?;
        if !coded {
            return Ok(string);
        }
        self.text.clear();
        huffman::decode(string, &mut self.text)?;
        Ok(&self.text)
    }

    /// A field whose value, and perhaps name, is spelled out; the name's number has `bits`.
    fn literal(&mut self, table: &Table, bits: u32) -> Result<(Name, Value), Malformed> {
        let name = match self.integer(bits)? {
            0 => Name::read(self.plain()?),
            number => table.name(number).ok_or(Malformed)?,
        };
        let value = Value::read(&name, self.plain()?);
        Ok((name, value))
    }
}
