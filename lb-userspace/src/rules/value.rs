//! What fetches return and converters change: a value of one of a few types, with HAProxy's casts between them.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Longest text, bytes: several times a head.
const LONGEST: usize = 256 << 10;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// True or false.
    Bool,
    /// 64 bits, signed.
    Int,
    /// An IPv4 or IPv6 address.
    Ip,
    /// Text; any bytes, since header fields may have them.
    Str,
    /// Bytes that are no text.
    Bin,
    /// A method: text with a type of its own in HAProxy.
    Method,
}

impl Kind {
    /// Its name for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "a number",
            Self::Ip => "an address",
            Self::Str => "text",
            Self::Bin => "bytes",
            Self::Method => "a method",
        }
    }

    /// Whether a value of this type can become one of `wanted`. That a certain text is no number shows only when it comes.
    pub const fn casts_to(self, wanted: Self) -> bool {
        !matches!(
            (self, wanted),
            (Self::Ip, Self::Bool)
                | (Self::Bool | Self::Bin | Self::Method, Self::Ip)
                | (Self::Bin | Self::Method, Self::Bool | Self::Int)
                | (Self::Bool | Self::Int | Self::Ip, Self::Method)
        )
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// True or false.
    Bool(bool),
    /// A number.
    Int(i64),
    /// An address.
    Ip(IpAddr),
    /// Text, methods included.
    Str(Cow<'a, [u8]>),
    /// Bytes.
    Bin(Cow<'a, [u8]>),
}

impl<'a> Value<'a> {
    /// Text that is borrowed.
    pub fn text(text: &'a str) -> Self {
        Self::Str(Cow::Borrowed(text.as_bytes()))
    }

    /// The bytes of hexadecimal digits.
    pub fn bytes_of_hex(digits: &str) -> Option<Self> {
        super::convert::unhex(digits.as_bytes()).map(|bytes| Self::Bin(bytes.into()))
    }

    /// Its type. A method has become text.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Ip(_) => Kind::Ip,
            Self::Str(_) => Kind::Str,
            Self::Bin(_) => Kind::Bin,
        }
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Bool(v) => Value::Bool(v),
            Self::Int(v) => Value::Int(v),
            Self::Ip(v) => Value::Ip(v),
            Self::Str(v) => Value::Str(Cow::Owned(v.into_owned())),
            Self::Bin(v) => Value::Bin(Cow::Owned(v.into_owned())),
        }
    }

    /// The same, cut where it is longer than any text of a request can become by what is sensible. A variable that is made
    /// of itself would otherwise grow with each request, and replacements of replacements without end.
    pub fn bounded(mut self) -> Self {
        if let Self::Str(text) | Self::Bin(text) = &mut self
            && text.len() > LONGEST
        {
            match text {
                Cow::Borrowed(text) => *text = &text[..LONGEST],
                Cow::Owned(text) => {
                    text.truncate(LONGEST);
                    text.shrink_to_fit();
                }
            }
        }
        self
    }

    /// The same, borrowing from this one.
    pub fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Bool(v) => Value::Bool(*v),
            Self::Int(v) => Value::Int(*v),
            Self::Ip(v) => Value::Ip(*v),
            Self::Str(v) => Value::Str(Cow::Borrowed(v)),
            Self::Bin(v) => Value::Bin(Cow::Borrowed(v)),
        }
    }

    /// As `kind`; `None` where there is no such cast, or the text is none.
    pub fn cast(self, kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Bool => Self::Bool(self.as_bool()?),
            Kind::Int => Self::Int(self.as_int()?),
            Kind::Ip => Self::Ip(self.as_ip()?),
            Kind::Str | Kind::Method => Self::Str(self.into_text()),
            Kind::Bin => Self::Bin(self.into_bytes()),
        })
    }

    /// As `kind`, for what somebody has written: a text that is to be a number is one from end to end.
    pub fn read(self, kind: Kind) -> Option<Self> {
        match (&self, kind) {
            (Self::Str(text), Kind::Int) => {
                let number = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
                Some(Self::Int(number))
            }
            _ => self.cast(kind),
        }
    }

    /// As a number.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Bool(v) => Some(i64::from(*v)),
            Self::Int(v) => Some(*v),
            Self::Ip(IpAddr::V4(v)) => Some(i64::from(u32::from(*v))),
            Self::Str(v) => leading_int(v),
            Self::Ip(IpAddr::V6(_)) | Self::Bin(_) => None,
        }
    }

    /// As a truth value: numbers are true unless 0, and texts are the numbers that they begin with.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(v) => Some(*v),
            Self::Ip(_) | Self::Bin(_) => None,
            Self::Int(_) | Self::Str(_) => Some(self.as_int()? != 0),
        }
    }

    /// As an address.
    pub fn as_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(v) => Some(*v),
            Self::Int(v) => Some(Ipv4Addr::from(u32::try_from(*v).ok()?).into()),
            Self::Str(v) => std::str::from_utf8(v).ok()?.trim().parse().ok(),
            Self::Bool(_) | Self::Bin(_) => None,
        }
    }

    /// As text. Bytes end at their first NUL, as HAProxy has it.
    pub fn into_text(self) -> Cow<'a, [u8]> {
        match self {
            Self::Bool(v) => Cow::Borrowed(if v { b"1" } else { b"0" }),
            Self::Int(v) => Cow::Owned(v.to_string().into_bytes()),
            Self::Ip(v) => Cow::Owned(v.to_string().into_bytes()),
            Self::Str(v) => v,
            Self::Bin(v) => match v.iter().position(|&b| b == 0) {
                Some(end) => Cow::Owned(v[..end].to_vec()),
                None => v,
            },
        }
    }

    /// As bytes: numbers are eight in network order, addresses four or sixteen.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Self::Bool(v) => Cow::Owned(i64::from(v).to_be_bytes().to_vec()),
            Self::Int(v) => Cow::Owned(v.to_be_bytes().to_vec()),
            Self::Ip(IpAddr::V4(v)) => Cow::Owned(v.octets().to_vec()),
            Self::Ip(IpAddr::V6(v)) => Cow::Owned(v.octets().to_vec()),
            Self::Str(v) | Self::Bin(v) => v,
        }
    }
}

/// An address as 128 bits; IPv4 in its mapped form, so that both families are compared alike.
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address with all but the first `length` bits cleared.
pub(super) fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32)));
            Ipv4Addr::from(v4.to_bits() & mask.unwrap_or(0)).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128)));
            Ipv6Addr::from(v6.to_bits() & mask.unwrap_or(0)).into()
        }
    }
}

/// The number that a text begins with, and 0 where it begins with none; `None` for an empty one. So HAProxy has it.
fn leading_int(text: &[u8]) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digits = digits
        .iter()
        .map_while(|byte| char::from(*byte).to_digit(10));
    Some(digits.fold(0i64, |number, digit| {
        let number = number.saturating_mul(10);
        match negative {
            true => number.saturating_sub(digit.into()),
            false => number.saturating_add(digit.into()),
        }
    }))
}
