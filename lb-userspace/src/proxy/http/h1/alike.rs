//! Fields that are called as those of an answer before were.
//!
//! A server's answers nearly all have the same fields in the same order. The names of one that has been understood need not
//! be looked up in the table of names, nor be hashed and placed anew: the map is copied with its places, and only the values
//! are put in.

use std::cell::RefCell;

use http::{HeaderMap, HeaderValue};
use httparse::Header;

use crate::proxy::http::fields::Fields;

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
    /// Their names as they were written, a colon after each.
    names: Vec<u8>,
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
/// whatever their values are.
pub(super) fn find(fields: &[Header<'_>]) -> Option<(HeaderMap, Fields)> {
    KNOWN.with_borrow(|known| {
        let list = known[place(fields)].list.as_ref()?;
        list.is_of(fields)
            .then(|| (list.headers.clone(), list.fields))
    })
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
/// looks like another.
pub(super) fn note((at, names): (usize, Vec<u8>), headers: &HeaderMap, fields: Fields) {
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
    let list = Box::new(List {
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
    use crate::proxy::http::h1::head;

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
            let answer = head::read(&mut BytesMut::from(&*text), &Method::GET)
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
}
