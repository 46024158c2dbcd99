//! Which of the fields that concern a proxy a head has.
//!
//! Most heads have few fields, and few of those concern us: one look over the names costs less than a search by hash for
//! each field that might be there.

use std::ops::BitOr;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_LENGTH};

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields(u16);

impl Fields {
    /// Cache-Control.
    pub const CACHE_CONTROL: Self = Self(1);
    /// Connection.
    pub const CONNECTION: Self = Self(1 << 1);
    /// Content-Length.
    pub const CONTENT_LENGTH: Self = Self(1 << 2);
    /// Cookie.
    pub const COOKIE: Self = Self(1 << 3);
    /// Expect.
    pub const EXPECT: Self = Self(1 << 4);
    /// Keep-Alive and Proxy-Connection.
    pub const HOP: Self = Self(1 << 5);
    /// Names that servers may take for Content-Length or Transfer-Encoding, and a list of lengths.
    pub const LOOK_ALIKE: Self = Self(1 << 6);
    /// Pragma.
    pub const PRAGMA: Self = Self(1 << 7);
    /// Set-Cookie.
    pub const SET_COOKIE: Self = Self(1 << 8);
    /// TE.
    pub const TE: Self = Self(1 << 9);
    /// Trailer.
    pub const TRAILER: Self = Self(1 << 13);
    /// Transfer-Encoding.
    pub const TRANSFER_ENCODING: Self = Self(1 << 10);
    /// Upgrade.
    pub const UPGRADE: Self = Self(1 << 11);
    /// ETag, Expires and Last-Modified.
    pub const VALIDATOR: Self = Self(1 << 12);

    /// Those that `headers` has.
    pub fn of(headers: &HeaderMap) -> Self {
        headers
            .iter()
            .fold(Self::default(), |found, (name, value)| {
                found | Self::one(name, value)
            })
    }

    /// The one that `name` stands for, if it is one of them, as `value` has it.
    fn one(name: &HeaderName, value: &HeaderValue) -> Self {
        let name = name.as_str();
        // By length: most have that of none, or of one or two. Servers that turn both `-` and `_` (some also `.`) into `_`
        // would take the look-alikes for the real ones.
        match name.len() {
            2 if name == "te" => Self::TE,
            4 if name == "etag" => Self::VALIDATOR,
            6 => match name {
                "cookie" => Self::COOKIE,
                "expect" => Self::EXPECT,
                "pragma" => Self::PRAGMA,
                _ => Self::default(),
            },
            7 => match name {
                "expires" => Self::VALIDATOR,
                "trailer" => Self::TRAILER,
                "upgrade" => Self::UPGRADE,
                _ => Self::default(),
            },
            10 => match name {
                "connection" => Self::CONNECTION,
                "keep-alive" => Self::HOP,
                "set-cookie" => Self::SET_COOKIE,
                _ => Self::default(),
            },
            13 => match name {
                "cache-control" => Self::CACHE_CONTROL,
                "last-modified" => Self::VALIDATOR,
                _ => Self::default(),
            },
            14 => match name {
                "content-length" if value.as_bytes().contains(&b',') => {
                    Self::CONTENT_LENGTH | Self::LOOK_ALIKE
                }
                "content-length" => Self::CONTENT_LENGTH,
                "content_length" | "content.length" => Self::LOOK_ALIKE,
                _ => Self::default(),
            },
            16 if name == "proxy-connection" => Self::HOP,
            17 => match name {
                "transfer-encoding" => Self::TRANSFER_ENCODING,
                "transfer_encoding" | "transfer.encoding" => Self::LOOK_ALIKE,
                _ => Self::default(),
            },
            _ => Self::default(),
        }
    }

    /// Whether `name` is any of their names.
    pub fn has(name: &HeaderName) -> bool {
        Self::one(name, &HeaderValue::from_static("")) != Self::default()
    }

    /// Them, of a head that has the same names as the one that they are of, which had no look-alikes.
    pub fn with_values(self, headers: &HeaderMap) -> Self {
        match self.any(Self::CONTENT_LENGTH) {
            true => headers
                .get_all(CONTENT_LENGTH)
                .iter()
                .fold(self, |found, value| {
                    found | Self::one(&CONTENT_LENGTH, value)
                }),
            false => self,
        }
    }

    /// Whether any of `those` is among them.
    pub fn any(self, those: Self) -> bool {
        self.0 & those.0 != 0
    }
}

impl BitOr for Fields {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_by_their_names() {
        let mut headers = HeaderMap::new();
        assert_eq!(Fields::of(&headers), Fields::default());
        for name in ["Host", "Proxy-Connection", "COOKIE", "cookie", "x-te"] {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_static("x"));
        }
        let fields = Fields::of(&headers);
        assert_eq!(fields, Fields::HOP | Fields::COOKIE);
        assert!(fields.any(Fields::COOKIE) && !fields.any(Fields::TE | Fields::PRAGMA));
    }

    #[test]
    fn each_name_is_known_and_those_like_it_are_not() {
        let of = |name: &str, value| {
            Fields::one(
                &HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                &HeaderValue::from_static(value),
            )
        };
        for (names, fields) in [
            ("Cache-Control", Fields::CACHE_CONTROL),
            ("Connection", Fields::CONNECTION),
            ("Content-Length", Fields::CONTENT_LENGTH),
            ("Cookie", Fields::COOKIE),
            ("Expect", Fields::EXPECT),
            ("Keep-Alive Proxy-Connection", Fields::HOP),
            (
                "content_length content.length transfer_encoding transfer.encoding",
                Fields::LOOK_ALIKE,
            ),
            ("Pragma", Fields::PRAGMA),
            ("Set-Cookie", Fields::SET_COOKIE),
            ("TE", Fields::TE),
            ("Transfer-Encoding", Fields::TRANSFER_ENCODING),
            ("Upgrade", Fields::UPGRADE),
            ("ETag Expires Last-Modified", Fields::VALIDATOR),
        ] {
            for name in names.split(' ') {
                assert_eq!(of(name, "x"), fields, "{name}");
                let last = &name[name.len() - 1..];
                let other = if last == "x" { "y" } else { "x" };
                let like = format!("{}{other}", &name[..name.len() - 1]);
                assert_eq!(of(&like, "x"), Fields::default(), "{like}");
            }
        }
        assert_eq!(
            of("content-length", "5, 5"),
            Fields::CONTENT_LENGTH | Fields::LOOK_ALIKE
        );
    }
}
