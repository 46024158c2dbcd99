//! The code of strings (RFC 7541 section 5.2 and appendix B), as far as it is read: we write none. Pure.
//!
//! It is canonical: the lengths of its words say all of it.

/// The bits that are looked up at once.
const FAST: usize = 10;
/// The length of the longest word, in bits.
const MOST: usize = 30;
/// What is no byte but the end; it is never written.
const END: usize = 256;

/// The length of each byte's word, and of the end's.
#[rustfmt::skip]
pub(super) const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The code, made of the lengths.
pub(super) struct Code {
    /// By length: the first word, how many there are, and where their symbols are.
    first: [u32; MOST + 1],
    count: [u32; MOST + 1],
    at: [u32; MOST + 1],
    /// Symbols by their words.
    symbols: [u16; 257],
    /// By the first bits of what is to be read: the byte, and the length of its word. 0: the word is longer.
    fast: [(u8, u8); 1 << FAST],
}

pub(super) static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self {
            first: [0; MOST + 1],
            count: [0; MOST + 1],
            at: [0; MOST + 1],
            symbols: [0; 257],
            fast: [(0, 0); 1 << FAST],
        };
        let (mut length, mut next, mut found) = (1, 0u32, 0);
        while length <= MOST {
            code.first[length] = next;
            code.at[length] = found;
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    code.symbols[found as usize] = symbol as u16;
                    found += 1;
                    code.count[length] += 1;
                    if length <= FAST {
                        // All that begin with this word.
                        let spare = FAST - length;
                        let mut with = 0;
                        while with < 1usize << spare {
                            code.fast[((next as usize) << spare) | with] =
                                (symbol as u8, length as u8);
                            with += 1;
                        }
                    }
                    next += 1;
                }
                symbol += 1;
            }
            next <<= 1;
            length += 1;
        }
        code
    }

    /// The symbol that `bits`, from the highest on, begin with, and the length of its word.
    fn long(&self, bits: u64) -> Option<(usize, u32)> {
        (FAST + 1..=MOST).find_map(|length| {
            // At most 30 bits are left.
            let word = (bits >> (64 - length)) as u32;
            let nth = word.checked_sub(self.first[length])?;
            let at = (nth < self.count[length]).then(|| self.at[length] + nth)?;
            Some((usize::from(self.symbols[at as usize]), length as u32))
        })
    }

    /// The word of a symbol.
    #[cfg(test)]
    pub(super) fn word(&self, symbol: u8) -> Option<(u32, u8)> {
        let length = LENGTHS[usize::from(symbol)];
        let (at, count) = (
            self.at[usize::from(length)],
            self.count[usize::from(length)],
        );
        let nth = (0..count).find(|nth| self.symbols[(at + nth) as usize] == u16::from(symbol));
        Some((self.first[usize::from(length)] + nth?, length))
    }
}

/// What is no string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends to `out` what `coded` says: at most eight fifths of its length.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut rest = coded.iter();
    // From the highest bit on; zeros behind.
    let (mut bits, mut have) = (0u64, 0u32);
    loop {
        while have <= 56
            && let Some(&byte) = rest.next()
        {
            bits |= u64::from(byte) << (56 - have);
            have += 8;
        }
        let (byte, length) = CODE.fast[(bits >> (64 - FAST)) as usize];
        let length = match length {
            0 => match CODE.long(bits) {
                Some((END, length)) if length <= have => return Err(Malformed),
                Some((symbol, length)) if length <= have => {
                    // Not the end, so that it is a byte.
                    out.push(symbol as u8);
                    length
                }
                _ => return padding(bits, have),
            },
            length if u32::from(length) <= have => {
                out.push(byte);
                u32::from(length)
            }
            _ => return padding(bits, have),
        };
        bits <<= length;
        have -= length;
    }
}

/// What is left is to be fewer than eight bits, all ones.
fn padding(bits: u64, have: u32) -> Result<(), Malformed> {
    let ones = bits.leading_ones();
    match have < 8 && ones >= have {
        true => Ok(()),
        false => Err(Malformed),
    }
}
