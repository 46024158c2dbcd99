//! What a PROXY header of version 2 from another balancer tells besides the ends, and whether the header is whole. Pure.

use super::{
    header::HeaderError,
    told::{AUTHORITY, CHECKSUM, UNIQUE_ID, crc32c},
};

/// No name has more bytes (RFC 1035), and no id that the protocol's text permits.
const LONGEST_NAME: usize = 255;
const LONGEST_ID: usize = 128;

/// What of it rules may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// The name that the client asked the other balancer for.
    pub authority: Option<Box<[u8]>>,
    /// What the other calls the connection.
    pub unique_id: Option<Box<[u8]>>,
}

/// Reads what `header`, a whole one, tells from `at` on: a type, a length of two bytes and a value again and again.
///
/// # Errors
/// It does not add up, or its checksum is another: what is heard of the ends may be as wrong.
pub(super) fn read(header: &[u8], at: usize) -> Result<Heard, HeaderError> {
    let mut heard = Heard::default();
    let mut at = at;
    while at < header.len() {
        let rest = header.get(at..).unwrap_or_default();
        let (head, rest) = rest.split_first_chunk::<3>().ok_or(HeaderError::Invalid)?;
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let value = rest.get(..length).ok_or(HeaderError::Invalid)?;
        at += head.len();
        match head[0] {
            CHECKSUM => {
                let sum: [u8; 4] = value.try_into().map_err(|_| HeaderError::Invalid)?;
                if u32::from_be_bytes(sum) != checksum(header, at) {
                    return Err(HeaderError::Invalid);
                }
            }
            AUTHORITY if length > LONGEST_NAME => return Err(HeaderError::Invalid),
            UNIQUE_ID if length > LONGEST_ID => return Err(HeaderError::Invalid),
            AUTHORITY => heard.authority = Some(value.into()),
            UNIQUE_ID => heard.unique_id = Some(value.into()),
            _ => {}
        }
        at += length;
    }
    Ok(heard)
}

/// That of the header with none in its place, which is `at`.
fn checksum(header: &[u8], at: usize) -> u32 {
    let mut bare = header.to_vec();
    if let Some(place) = bare.get_mut(at..at + 4) {
        place.fill(0);
    }
    crc32c(&bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_and_the_last_word_counts() {
        let header = b"0123\x02\0\x03one\x04\0\x01-\x05\0\x02id\x02\0\x03two\x20\0\0";
        let heard = Heard {
            authority: Some((*b"two").into()),
            unique_id: Some((*b"id").into()),
        };
        assert_eq!(read(header, 4), Ok(heard));
        assert_eq!(read(header, header.len()), Ok(Heard::default()));
    }

    #[test]
    fn what_does_not_add_up_is_no_header() {
        let long = |kind: u8, length: u8| {
            [&[kind, 0, length][..], &vec![b'x'; usize::from(length)]].concat()
        };
        for told in [
            b"\x02".to_vec(),
            b"\x02\0".to_vec(),
            b"\x02\0\x02a".to_vec(),
            b"\x04\0\0\x04\0".to_vec(),
            b"\x03\0\x03abc".to_vec(),
            b"\x03\0\x04abcd".to_vec(),
            [&b"\x02\x01\0"[..], &[b'x'; 256]].concat(),
            long(UNIQUE_ID, 129),
        ] {
            assert_eq!(read(&told, 0), Err(HeaderError::Invalid), "{told:?}");
        }
        assert!(read(&long(UNIQUE_ID, 128), 0).is_ok());
        assert!(read(&long(AUTHORITY, 255), 0).is_ok());
    }

    #[test]
    fn a_checksum_is_looked_at_wherever_it_is() {
        let mut header = b"0123\x04\0\x01-\x03\0\x04\0\0\0\0\x04\0\x01-".to_vec();
        let sum = crc32c(&header);
        header[11..15].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(read(&header, 4), Ok(Heard::default()));
        header[7] = b'+';
        assert_eq!(read(&header, 4), Err(HeaderError::Invalid));
    }
}
