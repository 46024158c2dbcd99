//! The chunked coding (RFC 9112 section 7.1), as servers send it.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::framing::{Decoded, Malformed};

/// Most bytes of all chunk extensions of a message: they say nothing, and cost time to step over.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// Largest trailer section.
const MAX_TRAILERS: usize = 16 * 1024;
/// Most fields in it.
const MAX_FIELDS: usize = 100;

/// Where in the coding the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a chunk's size, of which digits have been seen or not.
    Size(bool),
    /// Behind the size: blanks alone.
    Blank,
    /// In an extension.
    Extension,
    /// The line's CR has been seen.
    SizeEnd,
    /// In a chunk's data.
    Data,
    /// Behind it.
    DataEnd,
    /// In the line end behind it.
    DataEndLf,
    /// In the trailer section.
    Trailers,
    /// Behind the body.
    End,
}

/// Takes the coding off a body.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    /// Of the present chunk.
    left: u64,
    /// Bytes of extensions so far.
    extensions: usize,
}

impl Chunked {
    /// Nothing has come yet.
    pub(super) fn new() -> Self {
        Self {
            state: State::Size(false),
            left: 0,
            extensions: 0,
        }
    }

    /// The next part of the body in `read`, which is taken out of it.
    ///
    /// # Errors
    /// It is not in the coding.
    pub(super) fn decode(&mut self, read: &mut BytesMut) -> Result<Decoded, Malformed> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                State::Trailers => return self.trailers(read),
                State::Data => {
                    if read.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let n = usize::try_from(self.left).map_or(read.len(), |n| n.min(read.len()));
                    self.left -= n as u64;
                    if self.left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Decoded::Data(take(read, n)));
                }
                _ => {
                    let Some(&byte) = read.first() else {
                        return Ok(Decoded::More);
                    };
                    self.state = self.step(byte)?;
                    read.advance(1);
                }
            }
        }
    }

    /// Whether nothing but the end as all write it is behind the data, and is in `read`, out of which it is taken.
    pub(super) fn ends(&mut self, read: &mut BytesMut) -> bool {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        let ends = self.state == State::DataEnd && read.starts_with(END);
        if ends {
            read.advance(END.len());
            self.state = State::End;
        }
        ends
    }

    /// What follows `byte`, which is none of data or trailers.
    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::Size(_), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // One of these it is.
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                let size = self.left.checked_mul(16).ok_or(Malformed)?;
                self.left = size + u64::from(digit);
                State::Size(true)
            }
            (State::Size(true) | State::Blank, b' ' | b'\t') => {
                self.count_extension()?;
                State::Blank
            }
            (State::Size(true) | State::Blank, b';') => State::Extension,
            (State::Size(true) | State::Blank | State::Extension, b'\r') => State::SizeEnd,
            // One alone could be taken for the end of the line.
            (State::Extension, b'\n') => return Err(Malformed),
            (State::Extension, _) => {
                self.count_extension()?;
                State::Extension
            }
            (State::SizeEnd, b'\n') if self.left == 0 => State::Trailers,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataEnd, b'\r') => State::DataEndLf,
            (State::DataEndLf, b'\n') => State::Size(false),
            _ => return Err(Malformed),
        })
    }

    fn count_extension(&mut self) -> Result<(), Malformed> {
        self.extensions += 1;
        match self.extensions <= MAX_EXTENSIONS {
            true => Ok(()),
            false => Err(Malformed),
        }
    }

    fn trailers(&mut self, read: &mut BytesMut) -> Result<Decoded, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let (length, trailers) = match httparse::parse_headers(read, &mut fields) {
            Ok(httparse::Status::Complete((length, fields))) => {
                let mut trailers = HeaderMap::with_capacity(fields.len());
                for field in fields {
                    let name = HeaderName::from_bytes(field.name.as_bytes());
                    let value = HeaderValue::from_bytes(field.value);
                    trailers.append(name.map_err(|_| Malformed)?, value.map_err(|_| Malformed)?);
                }
                (length, trailers)
            }
            Ok(httparse::Status::Partial) if read.len() <= MAX_TRAILERS => {
                return Ok(Decoded::More);
            }
            Ok(httparse::Status::Partial) | Err(_) => return Err(Malformed),
        };
        read.advance(length);
        self.state = State::End;
        match trailers.is_empty() {
            true => Ok(Decoded::End),
            false => Ok(Decoded::Trailers(trailers)),
        }
    }
}

/// The first `n` bytes, without a copy.
pub(super) fn take(read: &mut BytesMut, n: usize) -> Bytes {
    read.split_to(n).freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the trailers and whether it has ended, where it comes in pieces of `size` bytes.
    fn decoded(bytes: &[u8], size: usize) -> Result<(Vec<u8>, Vec<String>, bool), Malformed> {
        let mut chunked = Chunked::new();
        let (mut read, mut data, mut trailers) = (BytesMut::new(), Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            read.extend_from_slice(piece);
            loop {
                match chunked.decode(&mut read)? {
                    Decoded::Data(more) => data.extend_from_slice(&more),
                    Decoded::Trailers(fields) => trailers.extend(
                        fields
                            .iter()
                            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())),
                    ),
                    Decoded::End => {
                        assert!(read.is_empty());
                        return Ok((data, trailers, true));
                    }
                    Decoded::More => break,
                }
            }
        }
        Ok((data, trailers, false))
    }

    /// Bytes, the data in them, the trailers, and whether they end.
    type Case = (&'static [u8], &'static [u8], &'static [&'static str], bool);

    #[test]
    fn bodies_are_read_however_they_come() {
        let cases: [Case; 8] = [
            (b"0\r\n\r\n", b"", &[], true),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello", &[], true),
            (
                b"00A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n",
                b"0123456789x",
                &[],
                true,
            ),
            (
                b"5 \t;a=b;c=\"\xe9\"\r\nhello\r\n0;x\r\n\r\n",
                b"hello",
                &[],
                true,
            ),
            (
                b"1\r\na\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n",
                b"a",
                &["x-sum: 1", "x-sum: 2"],
                true,
            ),
            (b"5\r\nhel", b"hel", &[], false),
            (b"5\r\nhello\r\n0\r\nA: b\r\n", b"hello", &[], false),
            (b"5\r\nhello\r\n0\r\n", b"hello", &[], false),
        ];
        for (bytes, data, trailers, ended) in cases {
            for size in 1..=bytes.len() {
                let said = decoded(bytes, size).expect("well formed");
                let trailers = trailers.iter().map(|&t| t.to_owned()).collect();
                assert_eq!(said, (data.to_vec(), trailers, ended), "{bytes:?}, {size}");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_told() {
        let endless = [b"1;".as_slice(), &[b'a'; MAX_EXTENSIONS + 1]].concat();
        let trailers = [b"0\r\nA: ".as_slice(), &[b'a'; MAX_TRAILERS]].concat();
        let fields = [b"0\r\n".as_slice(), &b"A: b\r\n".repeat(MAX_FIELDS + 1)].concat();
        for bytes in [
            b"\r\n".as_slice(),
            b"x\r\n",
            b" 1\r\na\r\n0\r\n\r\n",
            b"-1\r\n",
            b"+1\r\na\r\n",
            b"0x1\r\na\r\n",
            b"1\na\n0\n\n",
            b"1;a\na\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n0\r\n\r\n",
            b"1 1\r\na\r\n",
            b"10000000000000000\r\n",
            b"fffffffffffffffff\r\n",
            b"0\r\n bad: x\r\n\r\n",
            b"0\r\nbad x\r\n\r\n",
            &endless,
            &trailers,
            &fields,
        ] {
            for size in [1, bytes.len()] {
                assert!(decoded(bytes, size).is_err(), "{bytes:?}");
            }
        }
    }
}
