//! Fields that are called as those of an answer before were.
//!
//! A server's answers nearly all have the same fields in the same order. The names of one that has been understood need not
//! be looked up in the table of names, nor be hashed and placed anew: the map is copied with its places, and only the values
//! are put in. Nor need a head be taken apart that begins each line as the one before it did.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use httparse::Header;

use super::fields::Fields;

/// Lists that a thread remembers.
const LISTS: usize = 16;
/// Fields, and bytes of their names, of a list that is worth it.
const MAX_FIELDS: usize = 32;
const MAX_NAMES: usize = 1024;
/// Which of the lists that come to a place already taken takes it: one that differs each time, as a server might have it,
/// is not remembered each time.
const TAKES_OVER: u8 = 8;

thread_local! {
    static KNOWN: RefCell<[Place; LISTS]> = const { RefCell::new([const { Place { list: None, others: TAKES_OVER - 1 } }; LISTS]) };
}

struct Place {
    list: Option<Box<List>>,
    /// So many others have come since, or lists that are not to be remembered.
    others: u8,
}

/// Fields in a certain order.
struct List {
    status: StatusCode,
    /// The first line of the answer that had them, with its end; nothing where it is none of HTTP/1.1 with the usual words.
    line: Vec<u8>,
    /// Their names as they were written, a colon after each.
    names: Vec<u8>,
    /// Where each ends, past its colon.
    ends: Vec<usize>,
    /// Them, with empty values.
    headers: HeaderMap,
    fields: Fields,
}

impl List {
    fn is_of(&self, fields: &[Header<'_>]) -> bool {
        let mut names = self.names.as_slice();
        self.headers.len() == fields.len()
            && fields.iter().all(|field| {
                let rest = names.strip_prefix(field.name.as_bytes());
                match rest.and_then(|rest| rest.strip_prefix(b":")) {
                    Some(rest) => {
                        names = rest;
                        true
                    }
                    None => false,
                }
            })
    }
}

/// Where a list may be.
fn place(fields: &[Header<'_>]) -> usize {
    let length: usize = fields.iter().map(|field| field.name.len()).sum();
    (length + fields.len()) % LISTS
}

/// A map of those fields, all values of which are still to be put in, in the fields' order; and those that concern a proxy
/// whatever their values are. First where the list is, for [`read`].
pub(super) fn find(fields: &[Header<'_>]) -> Option<(usize, HeaderMap, Fields)> {
    KNOWN.with_borrow(|known| {
        let at = place(fields);
        let list = known[at].list.as_ref()?;
        list.is_of(fields)
            .then(|| (at, list.headers.clone(), list.fields))
    })
}

/// Takes a head out of `read` that has the first line and the names of the list at `at`, and values that can only be read
/// in one way. Of any other nothing is taken, nor is anything said of it.
pub(super) fn read(read: &mut BytesMut, at: usize) -> Option<(StatusCode, HeaderMap, Fields)> {
    KNOWN.with_borrow(|known| {
        let list = known.get(at)?.list.as_ref()?;
        if list.line.is_empty() {
            return None;
        }
        let whole: &[u8] = read;
        let mut rest = whole.strip_prefix(list.line.as_slice())?;
        let mut values = [(0, 0); MAX_FIELDS];
        let mut names = list.names.as_slice();
        let mut begin = 0;
        for (&end, value) in list.ends.iter().zip(&mut values) {
            let (name, others) = names.split_at_checked(end - begin)?;
            (names, begin) = (others, end);
            rest = rest.strip_prefix(name)?.strip_prefix(b" ")?;
            let length = plain(rest);
            let from = whole.len() - rest.len();
            let (text, after) = rest.split_at_checked(length)?;
            // What is blank at either end belongs to no value (RFC 9112 section 5).
            if text.first().is_none_or(|&byte| byte == b' ') || text.last() == Some(&b' ') {
                return None;
            }
            rest = after.strip_prefix(b"\r\n")?;
            *value = (from, from + length);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let length = whole.len() - rest.len();
        let bytes = read.split_to(length).freeze();
        let mut headers = list.headers.clone();
        for (put, &(from, to)) in headers.values_mut().zip(&values) {
            // SAFETY: `plain` lets nothing pass but what `HeaderValue` takes.
            *put = unsafe { value(&bytes, from, to) };
        }
        let fields = list.fields.with_values(&headers);
        Some((list.status, headers, fields))
    })
}

/// A part of a head as a value.
///
/// # Safety
/// Nothing is in it but tabs and bytes from the blank on that are not DEL.
pub(super) unsafe fn value(bytes: &Bytes, from: usize, to: usize) -> HeaderValue {
    // SAFETY: by the caller.
    unsafe { HeaderValue::from_maybe_shared_unchecked(bytes.slice(from..to)) }
}

/// How many bytes at the beginning are from the blank on and not DEL: all that a value consists of but for tabs.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let (eights, rest) = bytes.as_chunks::<8>();
    for (at, &eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(eight);
        // The highest bit of each byte that is below the blank, or DEL; those above the first such may be wrong.
        let below = word.wrapping_sub(ONES * 0x20) & !word;
        let del = word ^ (ONES * 0x7f);
        let del = del.wrapping_sub(ONES) & !del;
        let found = (below | del) & (ONES * 0x80);
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &u8| *byte >= b' ' && *byte != 0x7f;
    let more = rest.iter().position(|byte| !is_plain(byte));
    eights.len() * 8 + more.unwrap_or(rest.len())
}

/// The names of a list that is not known, for [`note`], if it is worth it to remember them.
pub(super) fn unknown(fields: &[Header<'_>]) -> Option<(usize, Vec<u8>)> {
    let at = place(fields);
    let takes = KNOWN.with_borrow_mut(|known| {
        let place = &mut known[at];
        place.others = (place.others + 1) % TAKES_OVER;
        place.others == 0
    });
    if !takes || fields.is_empty() || fields.len() > MAX_FIELDS {
        return None;
    }
    let mut names = Vec::new();
    for field in fields {
        names.extend_from_slice(field.name.as_bytes());
        names.push(b':');
    }
    (names.len() <= MAX_NAMES).then_some((at, names))
}

/// Remembers a list, where its `headers` are in its order, as those of which there are several are not, and none of them
/// looks like another. `status` is that of the answer, if nothing else is in its first line.
pub(super) fn note(
    (at, names): (usize, Vec<u8>),
    status: Option<StatusCode>,
    headers: &HeaderMap,
    fields: Fields,
) {
    let mut written = names.split(|&byte| byte == b':');
    let in_order = headers.keys().all(|name| {
        written
            .next()
            .is_some_and(|written| written.eq_ignore_ascii_case(name.as_str().as_bytes()))
    });
    if !in_order || fields.any(Fields::LOOK_ALIKE) || headers.keys_len() != headers.len() {
        return;
    }
    let mut headers = headers.clone();
    for value in headers.values_mut() {
        *value = HeaderValue::from_static("");
    }
    let line = status.and_then(|status| {
        let words = status.canonical_reason()?;
        Some(format!("HTTP/1.1 {} {words}\r\n", status.as_str()))
    });
    let colons = names.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let list = Box::new(List {
        status: status.unwrap_or_default(),
        line: line.unwrap_or_default().into_bytes(),
        ends: colons.map(|(at, _)| at + 1).collect(),
        names,
        headers,
        fields,
    });
    KNOWN.with_borrow_mut(|known| {
        known[at] = Place {
            list: Some(list),
            others: 0,
        };
    });
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::Method;

    use super::*;
    use crate::wire::h1::head;

    const NAMES: [&str; 12] = [
        "Server",
        "server",
        "X-A",
        "x-b",
        "X-b",
        "Date",
        "Vary",
        "Connection",
        "Content_Length",
        "Set-Cookie",
        "Pragma",
        "x-long-and-of-nobody",
    ];

    #[test]
    fn whatever_came_before_a_head_is_what_it_says() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 33) as usize % below
        };
        let mut known = 0;
        for round in 0..20_000 {
            let fields: Vec<(&str, String)> = (0..=random(3))
                .map(|at| (NAMES[random(NAMES.len())], format!("{round}.{at}")))
                .collect();
            let mut text = String::from("HTTP/1.1 200 OK\r\n");
            for (name, value) in &fields {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            text.push_str("\r\n");
            let list: Vec<_> = fields
                .iter()
                .map(|(name, value)| Header {
                    name,
                    value: value.as_bytes(),
                })
                .collect();
            known += usize::from(find(&list).is_some());
            let answer = head::read(&mut BytesMut::from(&*text), &Method::GET, &mut {
                usize::MAX
            })
            .expect("an answer")
            .expect("all of it");
            let headers = &answer.head.headers;
            assert_eq!(headers.len(), fields.len(), "{text}");
            assert_eq!(answer.fields, Fields::of(headers), "{text}");
            for name in NAMES {
                let come = headers.get_all(name).iter().map(HeaderValue::as_bytes);
                let sent = fields.iter().filter(|of| of.0.eq_ignore_ascii_case(name));
                assert!(come.eq(sent.map(|of| of.1.as_bytes())), "{name} in {text}");
            }
        }
        // Else this has shown nothing.
        assert!(known > 1000, "{known}");
    }

    #[test]
    fn what_looks_like_the_one_before_is_what_it_is_alone() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 33) as usize % below
        };
        let lines = [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 404 Not Found\r\n",
            "HTTP/1.1 200 Fine\r\n",
            "HTTP/1.1 200 \r\n",
            "HTTP/1.1 200\r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 200 OK\n",
        ];
        let names = ["Server", "server", "Content-Length", "Date"];
        let values: [&[u8]; 14] = [
            b" nginx",
            b" 17",
            b" 18",
            b" a",
            b" of more than eight bytes",
            b" and \xc3\xa9 \xff",
            b" ",
            b"",
            b"x",
            b"  x",
            b" x ",
            b" \tx",
            b" a\tb",
            b" seven77\x7f",
        ];
        let ends: [&[u8]; 6] = [b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\r\n", b"\r\n x\r\n"];
        let rests: [&[u8]; 4] = [b"\r\n", b"\r\nbody", b"\r", b""];
        let (mut alike, mut taken) = (usize::MAX, 0);
        for round in 0..50_000 {
            let mut text = Vec::from(lines[random(lines.len())]);
            // Often so that it is like others, and often with something odd in it.
            let odd = random(4);
            for name in names.iter().take(1 + random(names.len())) {
                text.extend_from_slice(name.as_bytes());
                text.push(b':');
                text.extend_from_slice(values[random(if odd == 0 { values.len() } else { 6 })]);
                text.extend_from_slice(ends[random(if odd == 0 { ends.len() } else { 3 })]);
            }
            text.extend_from_slice(rests[random(if odd < 2 { rests.len() } else { 2 })]);
            let show = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            let parsed = |alike: &mut usize| {
                let mut bytes = BytesMut::from(&*text);
                let answer = head::read(&mut bytes, &Method::GET, alike);
                let answer = answer.map(|found| {
                    found.map(|of| {
                        (
                            of.head.status,
                            of.head.version,
                            of.head.headers,
                            of.fields,
                            of.keeps,
                        )
                    })
                });
                (answer.map_err(|_| ()), bytes)
            };
            taken += usize::from(read(&mut BytesMut::from(&*text), alike).is_some());
            // Before the other may remember it.
            let like = parsed(&mut alike);
            let alone = parsed(&mut { usize::MAX });
            assert_eq!(like, alone, "{round}: {:?}", show(&text));
        }
        // Else this has shown nothing.
        assert!(taken > 1000, "{taken}");
    }

    #[test]
    fn plain_bytes_end_where_the_first_other_is() {
        for other in [0, b'\t', b'\r', b'\n', 0x1f, 0x7f] {
            for at in 0..40 {
                let mut text = vec![0xff; 40];
                text[at] = other;
                text[at / 2] = if at / 2 < at { b' ' } else { other };
                assert_eq!(plain(&text), at, "{other} at {at}");
                assert_eq!(plain(&text[..at]), at);
            }
        }
        let all: Vec<u8> = (b' '..=u8::MAX).filter(|&byte| byte != 0x7f).collect();
        assert_eq!(plain(&all), all.len());
    }
}
