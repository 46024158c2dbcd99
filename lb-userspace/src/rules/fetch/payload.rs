//! Samples of what a connection of mode tcp has brought so far, before it is known to be all that matters.

use super::{Side, hello, rdp};
use crate::rules::{
    args::Call,
    problem::Problem,
    scene::Scene,
    tls_fact::TlsFact,
    value::{Kind, Value},
};

/// Bytes that are kept to be looked at, at most: HAProxy's `tune.bufsize` less `tune.maxrewrite`.
pub const MOST: usize = 15 * 1024;

/// Most header fields of what is to be a request.
const MOST_FIELDS: usize = 101;

/// What has come so far.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Nothing more is waited for.
    pub is_final: bool,
}

/// A sample of it.
#[derive(Debug, Clone)]
pub enum Payload {
    /// `req.len`: how many bytes there are.
    Length(Side),
    /// `req.payload`: some of them; no length is all there are.
    Bytes {
        /// Of which side.
        side: Side,
        /// Where they begin.
        offset: usize,
        /// How many.
        length: Option<usize>,
    },
    /// `req.payload_lv`: some of them, whose number stands among them.
    Counted {
        /// Of which side.
        side: Side,
        /// Where the number is.
        at: usize,
        /// How many bytes it has.
        width: usize,
        /// Where they begin.
        from: Offset,
    },
    /// `req.ssl_hello_type`: 1 for what a TLS client says first, 2 for what a server does.
    HelloType(Side),
    /// Further parts of a TLS client's first message.
    Hello(HelloPart),
    /// `req.rdp_cookie`: what an RDP client begins with; no name is any.
    Rdp {
        /// The cookie's name.
        name: String,
        /// Whether it is there, in place of its value.
        count: bool,
    },
    /// `req.proto_http`: whether it is the whole head of a request.
    IsHttp,
    /// `wait_end`: nothing more is waited for.
    End,
}

/// A part of a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloPart {
    /// `req.ssl_alpn`: the protocols that the client offers, by commas.
    Alpn,
    /// `req.ssl_ver`: the version, its major number 65,536-fold.
    Version,
    /// `req.ssl_st_ext`: whether it takes tickets: 1, and 2 if it has one.
    Ticket,
    /// `req.ssl_ec_ext`: whether it says which elliptic curves it knows.
    Curves,
}

impl HelloPart {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ssl_alpn" => Self::Alpn,
            "ssl_ver" => Self::Version,
            "ssl_st_ext" => Self::Ticket,
            "ssl_ec_ext" => Self::Curves,
            _ => return None,
        })
    }

    fn kind(self) -> Kind {
        match self {
            Self::Alpn => Kind::Str,
            Self::Version | Self::Ticket => Kind::Int,
            Self::Curves => Kind::Bool,
        }
    }

    fn find(self, all: &[u8]) -> Found<Value<'static>> {
        let body = match hello::body(all) {
            hello::Body::Partial(_) => return Found::NotYet,
            hello::Body::Other => return Found::Never,
            hello::Body::Whole(body) => body,
        };
        self.of(&body).map_or(Found::Never, Found::Is)
    }

    fn of(self, body: &[u8]) -> Option<Value<'static>> {
        Some(match self {
            Self::Version => {
                let (major, minor) = (*body.first()?, *body.get(1)?);
                Value::Int(i64::from(major) << 16 | i64::from(minor))
            }
            Self::Ticket => Value::Int(match hello::extension(body, SESSION_TICKET)? {
                None => 0,
                Some([]) => 1,
                Some(_) => 2,
            }),
            Self::Curves => Value::Bool(hello::extension(body, SUPPORTED_GROUPS)?.is_some()),
            Self::Alpn => {
                let offered = hello::protocols(hello::extension(body, ALPN)??)?;
                Value::Str(offered.join(&b',').into())
            }
        })
    }
}

/// Numbers of extensions.
const SUPPORTED_GROUPS: u16 = 10;
const ALPN: u16 = 16;
const SESSION_TICKET: u16 = 35;

/// Where counted bytes begin.
#[derive(Debug, Clone, Copy)]
pub enum Offset {
    /// There, from the beginning.
    Absolute(usize),
    /// So far behind the number.
    Behind(i64),
}

/// What was found.
enum Found<T> {
    /// This.
    Is(T),
    /// There is no such thing, and there will not be.
    Never,
    /// More bytes may bring it.
    NotYet,
}

impl Payload {
    /// A fetch by its name, of the request unless the name says otherwise; with how many arguments it takes.
    pub(super) fn parse(call: &Call) -> Result<Option<(Self, usize)>, Problem> {
        let (side, rest) = match call.name.split_once('.') {
            Some(("req", rest)) => (Side::Request, rest),
            Some(("res", rest)) => (Side::Response, rest),
            Some(_) => return Ok(None),
            None => match call.name.as_str() {
                "req_len" => (Side::Request, "len"),
                "req_ssl_ver" => (Side::Request, "ssl_ver"),
                "req_ssl_hello_type" => (Side::Request, "ssl_hello_type"),
                "rdp_cookie" | "req_rdp_cookie" => (Side::Request, "rdp_cookie"),
                "rdp_cookie_cnt" | "req_rdp_cookie_cnt" => (Side::Request, "rdp_cookie_cnt"),
                "req_proto_http" => (Side::Request, "proto_http"),
                "wait_end" => return Ok(Some((Self::End, 0))),
                name @ ("payload" | "payload_lv") => (Side::Request, name),
                _ => return Ok(None),
            },
        };
        let number = |index: usize| -> Result<usize, Problem> {
            let what = "a number of bytes";
            let text = call.need(index, what)?;
            text.trim()
                .parse()
                .ok()
                .filter(|number| *number <= MOST)
                .ok_or_else(|| {
                    Problem::new(
                        format!("`{text}` is no number of bytes"),
                        format!("write a number up to {MOST}"),
                    )
                })
        };
        Ok(Some(match (rest, side) {
            ("len", _) => (Self::Length(side), 0),
            ("payload", _) => {
                let length = number(1)?;
                let payload = Self::Bytes {
                    side,
                    offset: number(0)?,
                    length: (length > 0).then_some(length),
                };
                (payload, 2)
            }
            ("payload_lv", _) => {
                let width = number(1)?;
                if !(1..=4).contains(&width) {
                    let message = format!("a number of {width} bytes is none");
                    return Err(Problem::new(message, "write 1 to 4"));
                }
                let from = match call.optional(2) {
                    None => Offset::Behind(0),
                    Some(text) if text.starts_with(['+', '-']) => {
                        Offset::Behind(text.parse().map_err(|_| {
                            Problem::bare(format!("`{text}` is no number of bytes"))
                        })?)
                    }
                    Some(_) => Offset::Absolute(number(2)?),
                };
                let at = number(0)?;
                (
                    Self::Counted {
                        side,
                        at,
                        width,
                        from,
                    },
                    3,
                )
            }
            ("ssl_hello_type", _) => (Self::HelloType(side), 0),
            (name @ ("rdp_cookie" | "rdp_cookie_cnt"), Side::Request) => {
                let cookie = Self::Rdp {
                    name: call.optional(0).unwrap_or_default().trim().to_owned(),
                    count: name == "rdp_cookie_cnt",
                };
                (cookie, 1)
            }
            ("proto_http", Side::Request) => (Self::IsHttp, 0),
            (name, Side::Request) => match HelloPart::named(name) {
                Some(part) => (Self::Hello(part), 0),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    /// The type of its values.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Hello(part) => part.kind(),
            Self::Length(_) | Self::HelloType(_) | Self::Rdp { count: true, .. } => Kind::Int,
            Self::Rdp { count: false, .. } => Kind::Str,
            Self::Bytes { .. } | Self::Counted { .. } => Kind::Bin,
            Self::IsHttp | Self::End => Kind::Bool,
        }
    }

    /// Whether it is about what the server says; `None`: mode http has it too.
    pub(super) fn is_of_response(&self) -> Option<bool> {
        match self {
            Self::IsHttp | Self::End => None,
            _ => Some(self.side()? == Side::Response),
        }
    }

    fn side(&self) -> Option<Side> {
        match self {
            Self::Length(side)
            | Self::HelloType(side)
            | Self::Bytes { side, .. }
            | Self::Counted { side, .. } => Some(*side),
            Self::IsHttp | Self::Rdp { .. } | Self::Hello(_) => Some(Side::Request),
            Self::End => None,
        }
    }

    /// What is seen of its side, or of whichever is looked at.
    fn seen<'a>(&self, scene: &Scene<'a>) -> Option<Seen<'a>> {
        match self.side() {
            Some(side) => scene.world.seen(side),
            None => scene
                .world
                .seen(Side::Response)
                .or_else(|| scene.world.seen(Side::Request)),
        }
    }

    pub(super) fn sample<'a>(&self, scene: &Scene<'a>) -> Option<Value<'a>> {
        let Some(seen) = self.seen(scene) else {
            // Whoever has come as far as rules of requests has sent one, and nothing is waited for.
            let holds = match self {
                Self::IsHttp => scene.world.request_line().is_some(),
                Self::End => true,
                _ => return None,
            };
            return Some(Value::Bool(holds));
        };
        match self.find(seen) {
            Found::Is(value) => Some(value),
            Found::Never | Found::NotYet => None,
        }
    }

    /// Whether its value may still change, or come to be.
    pub(super) fn may_change(&self, scene: &Scene<'_>) -> bool {
        let Some(seen) = self.seen(scene).filter(|seen| !seen.is_final) else {
            return false;
        };
        match self {
            Self::Length(_) | Self::End => true,
            Self::Bytes { length: None, .. } => true,
            _ => matches!(self.find(seen), Found::NotYet),
        }
    }

    fn find<'a>(&self, seen: Seen<'a>) -> Found<Value<'a>> {
        let all = seen.bytes;
        match self {
            Self::Length(_) => Found::Is(Value::Int(i64::try_from(all.len()).unwrap_or(i64::MAX))),
            Self::Bytes {
                offset,
                length: None,
                ..
            } => match all.get(*offset..) {
                Some(rest) if !rest.is_empty() => Found::Is(bin(rest)),
                _ => Found::NotYet,
            },
            Self::Bytes {
                offset,
                length: Some(length),
                ..
            } => slice(all, *offset, *length),
            Self::Counted {
                at, width, from, ..
            } => {
                let number = match all.get(*at..at + width) {
                    Some(number) => number,
                    None => return Found::NotYet,
                };
                let length = number
                    .iter()
                    .fold(0usize, |n, byte| n << 8 | usize::from(*byte));
                let from = match from {
                    Offset::Absolute(from) => Some(*from),
                    Offset::Behind(offset) => i64::try_from(at + width)
                        .ok()
                        .and_then(|end| usize::try_from(end.saturating_add(*offset)).ok()),
                };
                match from {
                    Some(from) if length > 0 => slice(all, from, length),
                    _ => Found::Never,
                }
            }
            Self::HelloType(_) => hello_type(all),
            Self::Hello(part) => part.find(all),
            Self::Rdp { name, count } => match (rdp::cookie(all, name.as_bytes()), count) {
                (rdp::Cookie::NotYet, _) => Found::NotYet,
                (rdp::Cookie::Is(value), false) => Found::Is(Value::Str(value.into())),
                (rdp::Cookie::Never, false) => Found::Never,
                (found, true) => Found::Is(Value::Int((found != rdp::Cookie::Never).into())),
            },
            Self::IsHttp => is_http(all),
            Self::End => match seen.is_final {
                true => Found::Is(Value::Bool(true)),
                false => Found::NotYet,
            },
        }
    }
}

fn bin(found: &[u8]) -> Value<'_> {
    Value::Bin(found.into())
}

fn slice(all: &[u8], offset: usize, length: usize) -> Found<Value<'_>> {
    match all.get(offset..offset.saturating_add(length)) {
        Some(found) => Found::Is(bin(found)),
        None if offset.saturating_add(length) > MOST => Found::Never,
        None => Found::NotYet,
    }
}

/// The type of a TLS handshake's first message, once all of it is there.
fn hello_type(all: &[u8]) -> Found<Value<'static>> {
    let Some(kind) = all.first() else {
        return Found::NotYet;
    };
    if !(0x14..=0x17).contains(kind) {
        return Found::Never;
    }
    let Some([_, major, minor, high, low, message, length @ ..]) = all.first_chunk::<9>() else {
        return Found::NotYet;
    };
    if u16::from_be_bytes([*major, *minor]) < 0x0300 || u16::from_be_bytes([*high, *low]) < 4 {
        return Found::Never;
    }
    let length = length
        .iter()
        .fold(0usize, |n, byte| n << 8 | usize::from(*byte));
    match all.len() < 9 + length {
        true if 9 + length > MOST => Found::Never,
        true => Found::NotYet,
        false => Found::Is(Value::Int((*message).into())),
    }
}

/// Whether it begins with the head of a request, once all of that is there.
fn is_http(all: &[u8]) -> Found<Value<'static>> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    match httparse::Request::new(&mut fields).parse(all) {
        Ok(httparse::Status::Complete(_)) => Found::Is(Value::Bool(true)),
        Ok(httparse::Status::Partial) if all.len() < MOST => Found::NotYet,
        Ok(httparse::Status::Partial) | Err(_) => Found::Never,
    }
}

/// The name that a TLS client asks for whose TLS passes through.
pub(super) fn server_name<'a>(scene: &Scene<'a>) -> Option<Value<'a>> {
    if let Some(name) = scene.world.tls(TlsFact::Sni) {
        return Some(name);
    }
    match hello::parse(scene.world.seen(Side::Request)?.bytes) {
        hello::Hello::Complete(Some(name)) => Some(Value::Str(name.into_bytes().into())),
        _ => None,
    }
}

/// Whether that may still come.
pub(super) fn server_name_may_come(scene: &Scene<'_>) -> bool {
    let seen = scene.world.seen(Side::Request);
    scene.world.tls(TlsFact::Sni).is_none()
        && seen.is_some_and(|seen| {
            !seen.is_final && matches!(hello::parse(seen.bytes), hello::Hello::Partial(_))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::args;

    /// What becomes of a fetch: its value, `…` while more may bring it, `-` if nothing will.
    fn asked(fetch: &str, bytes: &[u8]) -> String {
        let calls = args::calls(fetch).unwrap();
        let (payload, most) = Payload::parse(&calls[0]).unwrap().unwrap();
        calls[0].most(most).unwrap();
        match payload.find(Seen {
            bytes,
            is_final: false,
        }) {
            Found::Is(value) => String::from_utf8_lossy(&value.into_text()).into_owned(),
            Found::NotYet => "…".to_owned(),
            Found::Never => "-".to_owned(),
        }
    }

    #[test]
    fn bytes_are_found_once_they_are_there() {
        for (fetch, bytes, found) in [
            ("req.len", &b""[..], "0"),
            ("req.len", b"abc", "3"),
            ("req.payload(0,0)", b"", "…"),
            ("req.payload(1,0)", b"abc", "bc"),
            ("req.payload(1,2)", b"ab", "…"),
            ("req.payload(1,2)", b"abcd", "bc"),
            ("req.payload(15000,1000)", b"abcd", "-"),
            ("req.payload_lv(1,1)", b"x", "…"),
            ("req.payload_lv(1,1)", b"x\x02a", "…"),
            ("req.payload_lv(1,1)", b"x\x02abc", "ab"),
            ("req.payload_lv(1,2)", b"x\0\x02abc", "ab"),
            ("req.payload_lv(1,1,+1)", b"x\x02abcd", "bc"),
            ("req.payload_lv(1,1,0)", b"x\x01abcd", "x"),
            ("req.payload_lv(1,1)", b"x\0abcd", "-"),
            ("req.payload_lv(0,4)", b"\xff\xff\xff\xffabcd", "-"),
            ("req.payload_lv(0,1,-9)", b"\x01abcd", "-"),
            ("wait_end", b"abcd", "…"),
            ("req.proto_http", b"", "…"),
            ("req.proto_http", b"GET / HTTP/1.1\r\nHost: a\r\n", "…"),
            ("req.proto_http", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "1"),
            ("req.proto_http", b"SSH-2.0-x\r\n", "-"),
            ("req.ssl_hello_type", b"", "…"),
            ("req.ssl_hello_type", b"GET", "-"),
            ("req.ssl_hello_type", b"\x16\x03\x01\0\x09\x01\0\0\x02", "…"),
            (
                "req.ssl_hello_type",
                b"\x16\x03\x01\0\x09\x01\0\0\x02ab",
                "1",
            ),
            (
                "res.ssl_hello_type",
                b"\x16\x03\x01\0\x09\x02\0\0\x02ab",
                "2",
            ),
            (
                "req.ssl_hello_type",
                b"\x16\x02\x01\0\x09\x01\0\0\x02ab",
                "-",
            ),
        ] {
            assert_eq!(
                asked(fetch, bytes),
                found,
                "{fetch} of {}",
                bytes.escape_ascii()
            );
        }
    }
}
