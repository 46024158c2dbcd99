//! A fragment (`#…`) is none of a request's target: HAProxy answers 400. hyper leaves it out in silence, so it is given what
//! no target may have instead, and refuses that.
//!
//! Looked for is it where a head comes as one piece or as several; not in a head that has come behind a body.

use memchr::memchr;

use super::invalid;

/// What hyper takes in no place of a head.
const REFUSED: u8 = 0x7f;

/// Heads have come that begin with `bytes`.
pub(super) fn refuse(bytes: &mut [u8]) {
    if memchr(b'#', bytes).is_some() {
        refuse_any(bytes);
    }
}

#[cold]
fn refuse_any(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        let Some((begins, ends)) = line(rest) else {
            return;
        };
        if let Some(fragment) = fragment(&rest[begins..ends]) {
            bytes[at + begins + fragment] = REFUSED;
            return;
        }
        // Requests may be sent ahead of an answer.
        match invalid::after(rest) {
            Some(length @ 1..) => at = at.saturating_add(length),
            _ => return,
        }
    }
}

/// `bytes` have come of a head that has begun before and is `all` with them.
pub(super) fn refuse_late(all: &[u8], bytes: &mut [u8]) {
    let Some(before) = all.len().checked_sub(bytes.len()) else {
        return;
    };
    let Some((begins, ends)) = line(all).filter(|(_, ends)| *ends >= before) else {
        return;
    };
    if let Some(fragment) = fragment(&all[begins..ends]) {
        // Where it has come before, whatever follows it in its line will do.
        let at = (begins + fragment).saturating_sub(before);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = REFUSED;
        }
    }
}

/// Puts what was `sent` back into its end that was `unread`.
pub(super) fn restore(sent: &[u8], unread: &mut [u8]) {
    for (sent, unread) in sent.iter().rev().zip(unread.iter_mut().rev()) {
        match *unread {
            REFUSED => *unread = *sent,
            byte if byte != *sent => return,
            _ => {}
        }
    }
}

/// Where the first line begins and ends; empty ones before it are passed over.
fn line(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut blank = bytes.iter();
    let begins = blank.position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    Some((begins, begins + memchr(b'\n', &bytes[begins..])?))
}

/// Where a fragment begins in a request's line; `None` also if it is no such line.
fn fragment(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let method = memchr(b' ', line)?;
    let version = line.len().checked_sub(b" HTTP/1.1".len())?;
    let is_request = invalid::is_method(&line[..method])
        && matches!(&line[version..], b" HTTP/1.0" | b" HTTP/1.1");
    let at = memchr(b'#', line.get(method..version)?)?;
    is_request.then_some(method + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        refuse(&mut bytes);
        let shown = String::from_utf8(bytes.clone()).unwrap();
        restore(text.as_bytes(), &mut bytes);
        assert_eq!(bytes, text.as_bytes());
        shown
    }

    #[test]
    fn fragments_are_found_in_targets_alone() {
        for text in [
            "GET /a HTTP/1.1\r\nreferer: /#b\r\n\r\n",
            "G#T /a HTTP/1.1\r\n\r\n",
            // The middle of a head.
            "erer: /a#b\r\nGET /#c HTTP/1.1\r\n\r\n",
            "a b#c\r\n\r\n",
            // Bodies.
            "PUT / HTTP/1.1\r\ncontent-length: 20\r\n\r\nPUT /#b HTTP/1.1\r\n\r\n",
            "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n#\r\n0\r\n\r\n",
            "PUT / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n#",
            "GET /#",
            "#",
        ] {
            assert_eq!(whole(text), text);
        }
        for (text, refused) in [
            ("GET /#b HTTP/1.1\r\n\r\n", "GET /\x7fb HTTP/1.1\r\n\r\n"),
            ("\r\nGET # HTTP/1.0\n\n", "\r\nGET \x7f HTTP/1.0\n\n"),
            (
                "GET / HTTP/1.1\r\n\r\nGET /?a#b HTTP/1.1\r\n\r\n",
                "GET / HTTP/1.1\r\n\r\nGET /?a\x7fb HTTP/1.1\r\n\r\n",
            ),
            (
                "PUT / HTTP/1.1\r\ncontent-length: 1\r\n\r\n#GET /#b HTTP/1.1\r\n\r\n",
                "PUT / HTTP/1.1\r\ncontent-length: 1\r\n\r\n#GET /\x7fb HTTP/1.1\r\n\r\n",
            ),
        ] {
            assert_eq!(whole(text), refused);
        }
    }

    #[test]
    fn a_head_in_pieces_is_refused_with_the_piece_that_ends_its_line() {
        let text = b"GET /a#b HTTP/1.1\r\nx: #\r\n\r\n";
        for at in 1..text.len() {
            let mut piece = text[at..].to_vec();
            refuse_late(text, &mut piece);
            let refused = piece.iter().position(|&byte| byte == REFUSED);
            // Its line ends at 18, the fragment is at 6.
            let expected = (at <= 18).then_some(6_usize.saturating_sub(at));
            assert_eq!(refused, expected, "{at}");
        }
    }
}
