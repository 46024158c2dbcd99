//! Messages that are none: where they are wrong, and where an operator finds them.
//!
//! hyper says only that a message is wrong. Where is found by reading what came once more, with HAProxy's states and
//! their names; this happens to bad messages alone.

use std::{sync::Arc, time::SystemTime};

use http::response;

use super::{client::Client, fragment, recent};
use crate::topology::{
    Backend, Server,
    invalid::{Fault, Invalid},
};

/// Most bytes that are kept of a message: HAProxy's buffer.
const MOST: usize = 16 * 1024;

/// Keeps a request that was none; `unread` is what hyper has not taken of it.
pub(super) fn request(client: &Client, unread: &[u8]) {
    let recent = recent::take(client);
    let mut unread = unread.to_vec();
    fragment::restore(&recent, &mut unread);
    let bytes = sent(recent, &unread);
    let fault = fault(&bytes, false);
    keep(client, None, bytes, fault);
}

/// Keeps a response that was none.
pub(super) fn response(client: &Client, from: (&Arc<Backend>, &Arc<Server>), mut bytes: Vec<u8>) {
    bytes.truncate(MOST);
    let fault = fault(&bytes, true);
    keep(client, Some(from), bytes, fault);
}

/// A response's head as it was understood, where its bytes are gone.
pub(super) fn written(head: &response::Parts) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn keep(
    client: &Client,
    from: Option<(&Arc<Backend>, &Arc<Server>)>,
    bytes: Vec<u8>,
    fault: Fault,
) {
    let frontend = client.frontend();
    let server =
        from.map(|(backend, server)| (Arc::clone(&backend.name), Arc::clone(&server.name)));
    let invalid = Invalid {
        at: SystemTime::now(),
        event: client.worker.shared.topology.invalid_events.next(),
        frontend: Arc::clone(&frontend.name),
        server,
        source: client.peer,
        bytes,
        fault,
    };
    match from {
        Some((backend, _)) => backend.invalid_response.set(invalid),
        None => frontend.invalid_request.set(invalid),
    }
}

/// The message that ended what was read: `recent` is what has come since a head began, `unread` its end that was not
/// taken. Where hyper refuses a head as it reads it, that is all in `unread`.
fn sent(mut recent: Vec<u8>, unread: &[u8]) -> Vec<u8> {
    let is_head = unread.len() >= 4 && scan(unread, false).is_err();
    if is_head || recent.is_empty() {
        return unread[..unread.len().min(MOST)].to_vec();
    }
    // Requests that were sent ahead of it in the same piece have been answered.
    let taken = recent.len() - recent.strip_suffix(unread).map_or(0, |_| unread.len());
    let mut start = 0;
    // A length is a client's word: it may lead beyond the end of all numbers.
    while let Some(next) = after(&recent[start..]).and_then(|length| start.checked_add(length))
        && next > start
        && next < taken
    {
        start = next;
    }
    recent.drain(..start);
    recent
}

/// The length of a request in which nothing is wrong, and whose end is told by its head.
pub(super) fn after(bytes: &[u8]) -> Option<usize> {
    let fields = scan(bytes, false).ok()?;
    if contradiction(bytes, &fields, false).is_some() {
        return None;
    }
    let &(_, end, _) = fields.last()?;
    if named(bytes, &fields, "transfer-encoding").next().is_some() {
        return None;
    }
    match named(bytes, &fields, "content-length").next() {
        None => Some(end),
        Some(&(_, from, to)) => {
            let length: usize = std::str::from_utf8(&bytes[from..to])
                .ok()?
                .trim()
                .parse()
                .ok()?;
            end.checked_add(length)
        }
    }
}

/// What is read at a place, as HAProxy calls it.
type State = (&'static str, u8);
const METHOD: State = ("MSG_RQMETH", 2);
const TARGET: State = ("MSG_RQURI", 4);
const VERSION: State = ("MSG_RQVER", 6);
const RESPONSE_VERSION: State = ("MSG_RPVER", 10);
const CODE: State = ("MSG_RPCODE", 12);
const LINE_END: State = ("MSG_RQLINE_END", 8);
const NAME: State = ("MSG_HDR_NAME", 17);
const VALUE: State = ("MSG_HDR_VAL", 22);
const DIVIDER: State = ("MSG_HDR_L2_LWS", 24);
const LAST: State = ("MSG_LAST_LF", 25);
const CHUNK: State = ("MSG_CHUNK_SIZE", 26);

/// The first fault of a message.
fn fault(bytes: &[u8], response: bool) -> Fault {
    let (position, state) = match scan(bytes, response) {
        Err(fault) => fault,
        Ok(fields) => contradiction(bytes, &fields, response)
            .unwrap_or_else(|| beyond(bytes, &fields, response)),
    };
    Fault { position, state }
}

/// A field's places: name, value, end.
type Field = (usize, usize, usize);

/// Reads a head. The places of its fields, and last of all its end; or the first byte that may not stand where it stands.
fn scan(bytes: &[u8], response: bool) -> Result<Vec<Field>, (usize, State)> {
    let mut at = 0;
    // Empty lines before a request are passed over.
    while !response && matches!(bytes.get(at), Some(b'\r' | b'\n')) {
        at += 1;
    }
    at = match response {
        true => status_line(bytes, at)?,
        false => request_line(bytes, at)?,
    };
    let mut fields = Vec::new();
    loop {
        match bytes.get(at) {
            Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => {
                fields.push((at, at + 2, at + 2));
                return Ok(fields);
            }
            Some(b'\n') => {
                fields.push((at, at + 1, at + 1));
                return Ok(fields);
            }
            _ => {}
        }
        let name = at;
        at = skip(bytes, at, is_token);
        if bytes.get(at) != Some(&b':') || at == name {
            return Err((at, NAME));
        }
        let value = skip(bytes, at + 1, |byte| matches!(byte, b' ' | b'\t'));
        at = skip(bytes, value, |byte| {
            byte == b'\t' || byte >= b' ' && byte != 0x7f
        });
        fields.push((name, value, at));
        at = line_end(bytes, at, VALUE)?;
    }
}

fn request_line(bytes: &[u8], start: usize) -> Result<usize, (usize, State)> {
    let mut at = skip(bytes, start, is_token);
    if at == start || bytes.get(at) != Some(&b' ') {
        return Err((at, METHOD));
    }
    let target = at + 1;
    at = skip(bytes, target, |byte| {
        byte.is_ascii_graphic() && byte != b'#'
    });
    if at == target || bytes.get(at) != Some(&b' ') {
        return Err((at, TARGET));
    }
    at += 1;
    for (offset, expected) in b"HTTP/1.".iter().enumerate() {
        if bytes.get(at + offset) != Some(expected) {
            return Err((at + offset, VERSION));
        }
    }
    at += 7;
    match bytes.get(at) {
        Some(b'0' | b'1') => line_end(bytes, at + 1, LINE_END),
        _ => Err((at, VERSION)),
    }
}

fn status_line(bytes: &[u8], start: usize) -> Result<usize, (usize, State)> {
    let mut at = start;
    for expected in b"HTTP/1." {
        if bytes.get(at) != Some(expected) {
            return Err((at, RESPONSE_VERSION));
        }
        at += 1;
    }
    if !matches!(bytes.get(at), Some(b'0' | b'1')) || bytes.get(at + 1) != Some(&b' ') {
        return Err((at, RESPONSE_VERSION));
    }
    let code = at + 2;
    at = skip(bytes, code, |byte| byte.is_ascii_digit());
    if at != code + 3 || !matches!(bytes.get(at), Some(b' ' | b'\r' | b'\n')) {
        return Err((at, CODE));
    }
    at = skip(bytes, at, |byte| {
        byte == b'\t' || byte >= b' ' && byte != 0x7f
    });
    line_end(bytes, at, CODE)
}

fn line_end(bytes: &[u8], at: usize, state: State) -> Result<usize, (usize, State)> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(at + 2),
        (Some(b'\n'), _) => Ok(at + 1),
        (Some(b'\r'), Some(_)) => Err((at + 1, state)),
        _ => Err((at, state)),
    }
}

/// The fields of a name.
fn named<'a>(
    bytes: &'a [u8],
    fields: &'a [Field],
    wanted: &'static str,
) -> impl Iterator<Item = &'a Field> {
    fields.iter().filter(move |&&(name, value, _)| {
        let text = &bytes[name..value];
        let end = text.iter().position(|&byte| byte == b':');
        text[..end.unwrap_or(text.len())].eq_ignore_ascii_case(wanted.as_bytes())
    })
}

/// What contradicts something before it in a head whose bytes are all allowed: a second host or another length, a name
/// that looks like another.
fn contradiction(bytes: &[u8], fields: &[Field], response: bool) -> Option<(usize, State)> {
    let all = |wanted| named(bytes, fields, wanted);
    for wanted in ["host", "content-length", "transfer-encoding"] {
        if (wanted != "host" || !response)
            && let Some(&(_, value, _)) = all(wanted).nth(1)
        {
            return Some((value, DIVIDER));
        }
    }
    if let Some(&(_, value, end)) = all("transfer-encoding").next() {
        let coding = bytes[value..end].trim_ascii();
        if !coding.eq_ignore_ascii_case(b"chunked") || all("content-length").next().is_some() {
            return Some((value, DIVIDER));
        }
    }
    for wanted in [
        "content_length",
        "transfer_encoding",
        "content.length",
        "transfer.encoding",
    ] {
        if let Some(&(name, ..)) = all(wanted).next() {
            return Some((name, NAME));
        }
    }
    let no_digits = |&&(_, value, end): &&Field| {
        let digits = bytes[value..end].trim_ascii_end();
        digits.is_empty() || !digits.iter().all(u8::is_ascii_digit)
    };
    let &(_, value, _) = all("content-length").find(no_digits)?;
    Some((value, DIVIDER))
}

/// What is wrong if the head by itself is not: what follows it is no chunk, or its target says another host.
fn beyond(bytes: &[u8], fields: &[Field], response: bool) -> (usize, State) {
    // Where the head ends: its last field is its last line.
    let end = fields.last().map_or(bytes.len(), |&(_, end, _)| end);
    if named(bytes, fields, "transfer-encoding").next().is_some() {
        let at = skip(bytes, end, |byte| byte.is_ascii_hexdigit());
        if at < bytes.len() && (at == end || !matches!(bytes[at], b'\r' | b'\n' | b';' | b' ')) {
            return (at, CHUNK);
        }
    }
    match named(bytes, fields, "host").next() {
        Some(&(_, value, _)) if !response => (value, LAST),
        _ => (end.min(bytes.len()), LAST),
    }
}

fn skip(bytes: &[u8], from: usize, may: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let end = rest.iter().position(|&byte| !may(byte));
    from + end.unwrap_or(rest.len())
}

/// Whether it may be a method.
pub(super) fn is_method(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token(byte))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Positions and states are those of HAProxy 2.6.

    #[test]
    fn the_first_wrong_byte_is_found() {
        for (text, position, state) in [
            (
                "GET / HTTP/1.1\r\nhost: a\r\nbad/name: x\r\n\r\n",
                28,
                "MSG_HDR_NAME",
            ),
            (
                "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
                31,
                "MSG_HDR_L2_LWS",
            ),
            (
                "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
                60,
                "MSG_HDR_L2_LWS",
            ),
            ("GET /\0 HTTP/1.1\r\nhost: b\r\n\r\n", 5, "MSG_RQURI"),
            (
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
                56,
                "MSG_CHUNK_SIZE",
            ),
            (
                "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n",
                30,
                "MSG_LAST_LF",
            ),
            ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", 20, "MSG_HDR_NAME"),
            ("\r\nGET / HTTP/2.1\r\n\r\n", 13, "MSG_RQVER"),
            ("GET / HTTP/1.1\r\na: b\rc\r\n\r\n", 21, "MSG_HDR_VAL"),
            ("GET / HTTP/1.1\r\nhost: a\r\n", 25, "MSG_HDR_NAME"),
            ("", 0, "MSG_RQMETH"),
        ] {
            let fault = fault(text.as_bytes(), false);
            assert_eq!(
                (fault.position, fault.state.0),
                (position, state),
                "{text:?}"
            );
        }
        for (text, position, state) in [
            (
                "HTTP/1.0 200 OK\r\nheader/bizarre:blah\r\n\r\n",
                23,
                "MSG_HDR_NAME",
            ),
            ("garbage and more\r\n\r\n", 0, "MSG_RPVER"),
            ("HTTP/1.1 20 OK\r\n\r\n", 11, "MSG_RPCODE"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
                55,
                "MSG_HDR_L2_LWS",
            ),
        ] {
            let fault = fault(text.as_bytes(), true);
            assert_eq!(
                (fault.position, fault.state.0),
                (position, state),
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_request_that_was_wrong_is_told_from_those_before_it() {
        let good = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let bad = "GET /b HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n";
        let sent = |recent: &str, unread: &str| {
            String::from_utf8(sent(recent.into(), unread.as_bytes())).expect("it is text")
        };
        assert_eq!(sent(bad, ""), bad);
        assert_eq!(sent(&format!("{good}{bad}"), ""), bad);
        // hyper has not taken it.
        assert_eq!(
            sent(&format!("{good}garbage\r\n\r\n"), "garbage\r\n\r\n"),
            "garbage\r\n\r\n"
        );
        // What follows is shown too.
        let both = format!("{bad}{good}");
        assert_eq!(sent(&both, good), both);
        let body = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(sent(&format!("{body}{bad}"), ""), bad);
        // The body is wrong, and what is before it is its head.
        let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
        assert_eq!(sent(chunked, ""), chunked);
        assert_eq!(sent(&format!("{good}{chunked}"), ""), chunked);
        assert_eq!(sent("", ""), "");
        // A length that leads around the end of all numbers to where it began.
        let first = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let around = |length: u64| format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
        let whole = (first.len() + around(u64::MAX).len()) as u64;
        let second = around((u64::MAX - whole) + 1);
        assert_eq!(sent(&format!("{first}{second}"), ""), second);
    }
}
