//! Rarer samples of a message's head.

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

use super::{Side, header, request};
use crate::rules::{
    args::Call,
    problem::Problem,
    scene::Scene,
    value::{Kind, Value},
};

/// A sample of it.
#[derive(Debug, Clone)]
pub enum HeadPart {
    /// `baseq`: host, path and query.
    BaseQuery,
    /// `http_auth_type`: `Basic`.
    Scheme,
    /// `http_auth_bearer`: what follows `Bearer` in a field, Authorization unless it says which.
    Bearer(HeaderName),
    /// `res.cook_cnt`: how many cookies of a name a server sets, or of any.
    SetCookies(Option<String>),
    /// `req.hdrs_bin`, `res.hdrs_bin`: all fields, each text after its length.
    Fields(Side),
}

impl HeadPart {
    /// A fetch by its name; with how many arguments it takes.
    pub(super) fn parse(call: &Call) -> Result<Option<(Self, usize)>, Problem> {
        Ok(Some(match call.name.as_str() {
            "baseq" => (Self::BaseQuery, 0),
            "http_auth_type" => (Self::Scheme, 0),
            "http_auth_bearer" => {
                let name = match call.optional(0) {
                    None => AUTHORIZATION,
                    Some(text) => HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
                        Problem::bare(format!("`{text}` cannot be a header field's name"))
                    })?,
                };
                (Self::Bearer(name), 1)
            }
            "res.cook_cnt" | "scook_cnt" => {
                (Self::SetCookies(call.optional(0).map(str::to_owned)), 1)
            }
            "req.hdrs_bin" => (Self::Fields(Side::Request), 0),
            "res.hdrs_bin" => (Self::Fields(Side::Response), 0),
            _ => return Ok(None),
        }))
    }

    /// The type of its values.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::BaseQuery | Self::Scheme | Self::Bearer(_) => Kind::Str,
            Self::SetCookies(_) => Kind::Int,
            Self::Fields(_) => Kind::Bin,
        }
    }

    /// Of which message.
    pub(super) fn side(&self) -> Side {
        match self {
            Self::BaseQuery | Self::Scheme | Self::Bearer(_) => Side::Request,
            Self::SetCookies(_) => Side::Response,
            Self::Fields(side) => *side,
        }
    }

    pub(super) fn sample<'a>(&'a self, scene: &Scene<'a>) -> Option<Value<'a>> {
        let headers = scene.headers(self.side())?;
        Some(match self {
            Self::BaseQuery => {
                let view = scene.request?;
                let mut base = view.host().unwrap_or_default().to_vec();
                let target = view.uri.path_and_query();
                base.extend_from_slice(target.map_or("", |target| target.as_str()).as_bytes());
                Value::Str(base.into())
            }
            Self::Scheme => {
                let field = header::nth(headers, &AUTHORIZATION, true, header::Occurrence::LAST)?;
                let end = field.iter().position(|byte| *byte == b' ')?;
                let known = ["Basic", "Digest", "Bearer"];
                let mut known = known.into_iter();
                Value::text(known.find(|name| field[..end].eq_ignore_ascii_case(name.as_bytes()))?)
            }
            Self::Bearer(name) => Value::Str(bearer(headers, name)?.into()),
            Self::SetCookies(name) => {
                let count = match name {
                    Some(name) => request::cookies(headers, Side::Response, name).count(),
                    None => headers.get_all(http::header::SET_COOKIE).iter().count(),
                };
                Value::Int(i64::try_from(count).ok()?)
            }
            Self::Fields(_) => {
                let mut bytes = Vec::new();
                for (name, value) in headers {
                    counted(&mut bytes, name.as_str().as_bytes());
                    counted(&mut bytes, value.as_bytes());
                }
                counted(&mut bytes, b"");
                counted(&mut bytes, b"");
                Value::Bin(bytes.into())
            }
        })
    }
}

/// What follows `Bearer` in a field.
fn bearer<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let field = headers.get(name)?.as_bytes();
    let at = field.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = field.split_at(at);
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| token.trim_ascii())
}

/// A text after its length, as HAProxy's variable-length integers have it.
fn counted(out: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 0xf0 {
        out.push(length as u8);
    } else {
        out.push((length | 0xf0) as u8);
        length = (length - 0xf0) >> 4;
        while length >= 0x80 {
            out.push((length | 0x80) as u8);
            length = (length - 0x80) >> 7;
        }
        out.push(length as u8);
    }
    out.extend_from_slice(text);
}
