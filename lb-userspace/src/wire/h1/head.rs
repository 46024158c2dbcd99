//! Heads of answers, as they are read.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    response,
};
use hyper::ext::ReasonPhrase;

use super::{
    alike,
    chunked::Chunked,
    fields::Fields,
    framing::{Framing, Malformed},
};

/// Most fields of an answer.
const MAX_FIELDS: usize = 100;
/// Decimal digits of a 64-bit number.
const DIGITS: usize = 20;

/// The head of an answer.
#[derive(Debug)]
pub struct Answer {
    /// The head itself.
    pub head: response::Parts,
    /// Which of the fields that concern a proxy it has.
    pub fields: Fields,
    /// How its body is framed.
    pub framing: Framing,
    /// The connection may be used again after it.
    pub keeps: bool,
}

/// Takes the head of an answer to a request of `method` out of `read`, if it is all there. What it looks like is likely to be
/// what is known by `alike`, from the one before it.
///
/// # Errors
/// It is none, or its length cannot be told (RFC 9112 section 6.3).
pub fn read(
    read: &mut BytesMut,
    method: &Method,
    alike: &mut usize,
) -> Result<Option<Answer>, Malformed> {
    if let Some((status, headers, fields)) = alike::read(read, *alike) {
        let head = (status, false, None);
        return answer(head, (headers, fields), method).map(Some);
    }
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config.parse_response_with_uninit_headers(&mut parsed, read, &mut fields);
    let length = match status {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    let status = parsed.code.ok_or(Malformed)?;
    let status = StatusCode::from_u16(status).map_err(|_| Malformed)?;
    let reason = parsed.reason.unwrap_or_default();
    let reason = match Some(reason) == status.canonical_reason() {
        true => None,
        false => ReasonPhrase::try_from(reason.as_bytes()).ok(),
    };
    let old = parsed.version != Some(1);
    // Where names and values are, of a head that is shorter than what such a number counts to.
    let mut places = [(0_u32, 0_u32, 0_u32, 0_u32); MAX_FIELDS];
    let count = parsed.headers.len();
    let start = read.as_ptr() as usize;
    let place = |part: &[u8]| {
        let at = part.as_ptr() as usize - start;
        (at as u32, (at + part.len()) as u32)
    };
    for (field, of) in parsed.headers.iter().zip(&mut places) {
        let (name, name_end) = place(field.name.as_bytes());
        let (value, value_end) = match field.value.is_empty() {
            true => (name_end, name_end),
            false => place(field.value),
        };
        *of = (name, name_end, value, value_end);
    }
    let known = alike::find(parsed.headers);
    let unknown = match &known {
        Some(_) => None,
        None => alike::unknown(parsed.headers),
    };
    let bytes = read.split_to(length).freeze();
    let value = |from: u32, to: u32| {
        // SAFETY: the parser lets no byte pass in a value that `HeaderValue` would not take: a tab, and all from the
        // blank on but DEL. (hyper goes by the same.)
        unsafe { alike::value(&bytes, from as usize, to as usize) }
    };
    let (headers, fields) = match known {
        Some((at, mut headers, fields)) => {
            *alike = at;
            for (put, &(.., from, to)) in headers.values_mut().zip(&places[..count]) {
                *put = value(from, to);
            }
            let fields = fields.with_values(&headers);
            (headers, fields)
        }
        None => {
            let mut headers = HeaderMap::with_capacity(count);
            for &(name, name_end, from, to) in &places[..count] {
                let name = &bytes[name as usize..name_end as usize];
                let name = HeaderName::from_bytes(name).map_err(|_| Malformed)?;
                headers.append(name, value(from, to));
            }
            let fields = Fields::of(&headers);
            if let Some(unknown) = unknown {
                *alike = unknown.0;
                let status = (!old && reason.is_none()).then_some(status);
                alike::note(unknown, status, &headers, fields);
            }
            (headers, fields)
        }
    };
    answer((status, old, reason), (headers, fields), method).map(Some)
}

/// An answer of this status, which may be of HTTP/1.0 and have words of its own.
fn answer(
    (status, old, reason): (StatusCode, bool, Option<ReasonPhrase>),
    (headers, fields): (HeaderMap, Fields),
    method: &Method,
) -> Result<Answer, Malformed> {
    let mut keeps = !old;
    let mut closes = false;
    if fields.any(Fields::CONNECTION) {
        for value in headers.get_all(CONNECTION) {
            closes |= has_token(value, b"close");
            keeps |= has_token(value, b"keep-alive");
        }
    }
    let framing = framing(status, old, (&headers, fields), method)?;
    let mut head = response::Response::new(()).into_parts().0;
    head.status = status;
    head.version = match old {
        true => Version::HTTP_10,
        false => Version::HTTP_11,
    };
    head.headers = headers;
    if let Some(reason) = reason {
        head.extensions.insert(reason);
    }
    Ok(Answer {
        keeps: keeps && !closes && !matches!(framing, Framing::Close),
        head,
        fields,
        framing,
    })
}

/// Where the body ends. A length that is none is none in any answer: where no body follows, or a coding says how long it
/// is, whoever reads it next may still go by it.
fn framing(
    status: StatusCode,
    old: bool,
    (headers, fields): (&HeaderMap, Fields),
    method: &Method,
) -> Result<Framing, Malformed> {
    let length = match fields.any(Fields::CONTENT_LENGTH) {
        true => one_length(headers)?,
        false => None,
    };
    let none = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || method == Method::HEAD;
    if none {
        return Ok(Framing::Length(0));
    }
    if fields.any(Fields::TRANSFER_ENCODING)
        && let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back()
    {
        // HTTP/1.0 knows no codings: it is anybody's guess who has understood it on the way.
        if old {
            return Err(Malformed);
        }
        let last = last.as_bytes().rsplit(|&byte| byte == b',').next();
        let last = last.unwrap_or_default().trim_ascii();
        return Ok(match last.eq_ignore_ascii_case(b"chunked") {
            true => Framing::Chunked(Chunked::new()),
            false => Framing::Close,
        });
    }
    Ok(length.map_or(Framing::Close, Framing::Length))
}

/// The length that all of a head's Content-Length fields say, if there are any.
fn one_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    let length = length_of(first).ok_or(Malformed)?;
    match lengths.all(|other| length_of(other) == Some(length)) {
        true => Ok(Some(length)),
        false => Err(Malformed),
    }
}

/// The number that a Content-Length is, or the same one in a list (RFC 9110 section 8.6).
pub fn length_of(value: &HeaderValue) -> Option<u64> {
    let mut each = value.as_bytes().split(|&byte| byte == b',');
    let number = |text: &[u8]| {
        let text = text.trim_ascii();
        let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(text).ok().filter(|_| is_number)?;
        // What has more digits is too large, or begins with noughts for no good reason.
        text.parse().ok().filter(|_| text.len() <= DIGITS)
    };
    let first = number(each.next()?)?;
    each.all(|other| number(other) == Some(first))
        .then_some(first)
        // The largest stands for no length in places.
        .filter(|&length| length < u64::MAX - 2)
}

fn has_token(value: &HeaderValue, token: &[u8]) -> bool {
    let mut tokens = value.as_bytes().split(|&byte| byte == b',');
    tokens.any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
}

/// Whether the length of an answer with these headers, which has `fields`, can be read in one way alone, whoever reads it.
pub fn is_clear(headers: &HeaderMap, fields: Fields) -> bool {
    !fields.any(Fields::LOOK_ALIKE)
        && (!fields.any(Fields::TRANSFER_ENCODING)
            || !fields.any(Fields::CONTENT_LENGTH) && is_coding_known(headers))
}

/// Whether a message is in no coding, or in the one that all know.
pub fn is_coding_known(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// Whether another answer follows one with this status. After a `101` what follows is no HTTP.
pub fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str, method: Method) -> Result<Option<(String, bool)>, Malformed> {
        let mut bytes = BytesMut::from(text);
        let answer = read(&mut bytes, &method, &mut { usize::MAX })?;
        Ok(answer.map(|answer| {
            let framing = match answer.framing {
                Framing::Length(length) => length.to_string(),
                Framing::Chunked(_) => "chunked".to_owned(),
                Framing::Close => "close".to_owned(),
            };
            (framing, answer.keeps)
        }))
    }

    #[test]
    fn the_end_of_an_answer_is_what_the_rfc_says() {
        let get = |head: &str| answer(&format!("{head}\r\n\r\n"), Method::GET);
        for (head, framing, keeps) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5", "5", true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5",
                "5",
                true,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5", "5", true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, Close",
                "5",
                false,
            ),
            (
                "HTTP/1.1 200\r\nTransfer-Encoding: gzip, Chunked",
                "chunked",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
                "chunked",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip",
                "close",
                false,
            ),
            ("HTTP/1.1 200 OK", "close", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5", "5", false),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive",
                "5",
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nConnection: close",
                "5",
                false,
            ),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5", "0", true),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5", "0", true),
            ("HTTP/1.1 100 Continue", "0", true),
        ] {
            assert_eq!(get(head), Ok(Some((framing.to_owned(), keeps))), "{head}");
        }
        let head = answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD);
        assert_eq!(head, Ok(Some(("0".to_owned(), true))));
        let head = answer(
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            Method::HEAD,
        );
        assert_eq!(head, Err(Malformed));
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6",
            "HTTP/1.1 200 OK\r\nContent-Length: +5",
            "HTTP/1.1 200 OK\r\nContent-Length: ",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616",
            "HTTP/1.1 200 OK\r\nContent-Length: 000000000000000000000005",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: +5",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: +5",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nContent-Length: 6",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5, 6",
            "HTTP/1.1 103 Early Hints\r\nContent-Length: x",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nA: b\r\n c",
            "HTTP/1.1 200 OK\r\nA : b",
            "HTTP/1.1 99 Odd",
            "HTTP/2.0 200 OK",
            "ICY 200 OK",
        ] {
            assert_eq!(get(bad), Err(Malformed), "{bad}");
        }
        let many = format!("HTTP/1.1 200 OK{}", "\r\nA: b".repeat(MAX_FIELDS + 1));
        assert_eq!(get(&many), Err(Malformed));
        let whole = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(answer(&whole[..end], Method::GET), Ok(None));
        }
    }

    #[test]
    fn a_head_is_taken_whole_and_nothing_else() {
        let mut bytes = BytesMut::from("HTTP/1.1 200 Fine\r\nX-A:  b \r\nx-a:\r\n\r\nbody");
        let answer = read(&mut bytes, &Method::GET, &mut { usize::MAX })
            .unwrap()
            .unwrap();
        assert_eq!(bytes, "body");
        let values: Vec<_> = answer.head.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["b", ""]);
        let reason = answer.head.extensions.get::<ReasonPhrase>();
        assert_eq!(reason.map(ReasonPhrase::as_bytes), Some(b"Fine".as_slice()));
    }
    #[test]
    fn answers_with_the_same_fields_have_each_its_own_values() {
        let shown = |text: &str| {
            let answer = read(&mut BytesMut::from(text), &Method::GET, &mut { usize::MAX })
                .expect("an answer")
                .expect("a whole one");
            let fields: Vec<String> = answer
                .head
                .headers
                .iter()
                .map(|(name, value)| format!("{name}={}", value.to_str().expect("text")))
                .collect();
            (fields.join(" "), answer.fields, answer.keeps)
        };
        // More than once each, in turn: of some the names are known then, in whatever order and case they come.
        for round in 0..20 {
            let length = round % 7;
            let text = format!(
                "HTTP/1.1 200 OK\r\nServer: a{round}\r\nX-Odd: {round}\r\nContent-Length: {length}\r\n\r\n"
            );
            let is = format!("server=a{round} x-odd={round} content-length={length}");
            assert_eq!(shown(&text), (is, Fields::CONTENT_LENGTH, true));
            let text = format!(
                "HTTP/1.1 200 OK\r\nserver: {round}\r\ncontent-length: {length}\r\nx-odd:\r\n\r\n"
            );
            let is = format!("server={round} content-length={length} x-odd=");
            assert_eq!(shown(&text), (is, Fields::CONTENT_LENGTH, true));
            // As long, with other names.
            let text = format!(
                "HTTP/1.1 200 OK\r\nserves: {round}\r\ncontent-length: 1,1\r\nx-add:\r\n\r\n"
            );
            let is = format!("serves={round} content-length=1,1 x-add=");
            let list = Fields::CONTENT_LENGTH | Fields::LOOK_ALIKE;
            assert_eq!(shown(&text), (is, list, true));
            let closes = round % 3 == 0;
            let how = if closes { "close" } else { "x" };
            let text = format!(
                "HTTP/1.1 200 OK\r\nconnection: {how}\r\ncontent-length: {length}\r\nx-length: 3\r\n\r\n"
            );
            let is = format!("connection={how} content-length={length} x-length=3");
            let fields = Fields::CONTENT_LENGTH | Fields::CONNECTION;
            assert_eq!(shown(&text), (is, fields, !closes));
            let text = format!(
                "HTTP/1.1 200 OK\r\nset-cookie: a={round}\r\nset-cookie: b\r\ncontent_length: 3\r\n\r\n"
            );
            let is = format!("set-cookie=a={round} set-cookie=b content_length=3");
            let fields = Fields::SET_COOKIE | Fields::LOOK_ALIKE;
            assert_eq!(shown(&text), (is, fields, false));
        }
    }
}
