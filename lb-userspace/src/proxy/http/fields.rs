//! Which of the fields that concern a proxy a head has.
//!
//! Most heads have few fields, and few of those concern us: one look over the names costs less than a search by hash for
//! each field that might be there.

use std::ops::BitOr;

use http::HeaderMap;

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
                // Servers that turn both `-` and `_` (some also `.`) into `_` would take the look-alikes for the real ones.
                found
                    | match name.as_str() {
                        "cache-control" => Self::CACHE_CONTROL,
                        "connection" => Self::CONNECTION,
                        "content-length" if value.as_bytes().contains(&b',') => {
                            Self::CONTENT_LENGTH | Self::LOOK_ALIKE
                        }
                        "content-length" => Self::CONTENT_LENGTH,
                        "content_length" | "transfer_encoding" | "content.length"
                        | "transfer.encoding" => Self::LOOK_ALIKE,
                        "cookie" => Self::COOKIE,
                        "etag" | "expires" | "last-modified" => Self::VALIDATOR,
                        "expect" => Self::EXPECT,
                        "keep-alive" | "proxy-connection" => Self::HOP,
                        "pragma" => Self::PRAGMA,
                        "set-cookie" => Self::SET_COOKIE,
                        "te" => Self::TE,
                        "transfer-encoding" => Self::TRANSFER_ENCODING,
                        "upgrade" => Self::UPGRADE,
                        _ => Self::default(),
                    }
            })
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
    use http::{HeaderName, HeaderValue};

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
}
