//! Percent-encoding (RFC 3986, section 2.1), wherever it is written or read.

use std::borrow::Cow;

/// Characters that mean nothing anywhere in an address (section 2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `text` with all encoded that does not stay as it is.
pub(crate) fn encoded(text: &[u8], stays: impl Fn(u8) -> bool) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len() + 8);
    for &byte in text {
        match stays(byte) {
            true => out.push(byte),
            false => {
                // Four bits are less than 16.
                let digits = [byte >> 4, byte & 15].map(|four| DIGITS[usize::from(four)]);
                out.extend([b'%', digits[0], digits[1]]);
            }
        }
    }
    out
}

/// `text` with all encoded that may not stand in a field: control characters but for tabs, as HAProxy has it.
pub(crate) fn controls_encoded(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let stays = |b: u8| b == b'\t' || !b.is_ascii_control();
    match text.iter().all(|&b| stays(b)) {
        true => text,
        false => encoded(&text, stays).into(),
    }
}

/// What stands for a blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    /// Forms write blanks as `+`.
    Blank,
    /// It is itself.
    Itself,
}

/// `text` decoded; `None` if a percent sign has no two digits behind it.
pub(crate) fn decoded(text: &[u8], plus: Plus) -> Option<Vec<u8>> {
    decode(text, plus, |_| None)
}

/// `text` decoded, in which a percent sign without two digits behind it is itself.
pub(crate) fn decoded_as_far(text: &[u8], plus: Plus) -> Vec<u8> {
    decode(text, plus, Some).unwrap_or_default()
}

fn decode(text: &[u8], plus: Plus, bare: impl Fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        out.push(match byte {
            b'+' if plus == Plus::Blank => b' ',
            b'%' => match (digit(at), digit(at + 1)) {
                (Some(high), Some(low)) => {
                    at += 2;
                    u8::try_from(high << 4 | low).ok()?
                }
                _ => bare(byte)?,
            },
            _ => byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_reads_back() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encoded(&all, is_unreserved);
        assert!(text.iter().all(|&b| is_unreserved(b) || b == b'%'));
        assert_eq!(decoded(&text, Plus::Itself), Some(all));
        assert_eq!(encoded(b"a b\xff~", is_unreserved), b"a%20b%FF~");
    }

    #[test]
    fn what_would_end_a_field_is_encoded_and_all_else_stays() {
        let all: Vec<u8> = (0..=255).filter(|&b| b != b'%').collect();
        let text = controls_encoded(Cow::Borrowed(&all));
        let lines: Vec<u8> = (0..0x20).filter(|&b| b != b'\t').chain([0x7f]).collect();
        for byte in 0..=255 {
            assert_eq!(text.contains(&byte), !lines.contains(&byte), "{byte}");
        }
        assert_eq!(decoded(&text, Plus::Itself), Some(all));
    }

    #[test]
    fn a_sign_without_digits_is_itself_or_a_fault() {
        for text in ["%", "%4", "%4g", "a%zz"] {
            assert_eq!(decoded(text.as_bytes(), Plus::Blank), None, "{text}");
            assert_eq!(
                decoded_as_far(text.as_bytes(), Plus::Blank),
                text.as_bytes()
            );
        }
        assert_eq!(
            decoded(b"a+b%2b", Plus::Blank).as_deref(),
            Some(&b"a b+"[..])
        );
        assert_eq!(
            decoded(b"a+b%2B", Plus::Itself).as_deref(),
            Some(&b"a+b+"[..])
        );
    }
}
