//! What has come of a message's body, where rules ask for it.

use bytes::Bytes;

use super::{
    args::Call,
    fetch::{Side, is_between_parameters, parameters},
    problem::Problem,
    value::{Kind, Value},
};

/// What has come so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodySeen {
    /// The bytes.
    pub bytes: Bytes,
    /// How many there will be, if the message says so.
    pub announced: Option<u64>,
}

/// A sample of it.
#[derive(Debug, Clone)]
pub enum BodyPart {
    /// `req.body`, `res.body`.
    Whole,
    /// `req.body_len`, `res.body_len`: how many bytes have come.
    Length,
    /// `req.body_size`, `res.body_size`: how many there are.
    Size,
    /// `req.body_param`: a field of a form, as it was sent.
    Parameter(Option<String>),
}

impl BodyPart {
    /// A fetch by its name, and whose body it looks at; with how many arguments it takes.
    pub(super) fn parse(call: &Call) -> Result<Option<(Side, Self, usize)>, Problem> {
        let (side, rest) = match call.name.split_once('.') {
            Some(("req", rest)) => (Side::Request, rest),
            Some(("res", rest)) => (Side::Response, rest),
            _ => return Ok(None),
        };
        Ok(Some(match rest {
            "body" => (side, Self::Whole, 0),
            "body_len" => (side, Self::Length, 0),
            "body_size" => (side, Self::Size, 0),
            "body_param" if side == Side::Request => (
                side,
                Self::Parameter(call.optional(0).map(str::to_owned)),
                1,
            ),
            _ => return Ok(None),
        }))
    }

    /// The type of its values.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Whole => Kind::Bin,
            Self::Length | Self::Size => Kind::Int,
            Self::Parameter(_) => Kind::Str,
        }
    }

    pub(super) fn sample<'a>(&'a self, seen: &'a BodySeen) -> Option<Value<'a>> {
        let length = || i64::try_from(seen.bytes.len()).unwrap_or(i64::MAX);
        Some(match self {
            Self::Whole => Value::Bin((&*seen.bytes).into()),
            Self::Length => Value::Int(length()),
            Self::Size => Value::Int(match seen.announced {
                Some(size) => i64::try_from(size).unwrap_or(i64::MAX),
                None => length(),
            }),
            Self::Parameter(name) => {
                let found =
                    parameters(&seen.bytes, name.as_deref(), is_between_parameters).next()?;
                Value::Str(found.into())
            }
        })
    }
}
