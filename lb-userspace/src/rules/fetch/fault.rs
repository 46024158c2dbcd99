//! What went wrong with a connection before anybody was served: `fc_err` and its like.

use crate::rules::{
    scene::Scene,
    tls_fact::TlsFact,
    value::{Kind, Value},
};

/// Why a connection was not let in, by HAProxy's numbers and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// HAProxy's number.
    pub code: i64,
    /// What it stands for.
    pub text: String,
    /// The same of its TLS, if that was reached.
    pub tls: Option<(i64, String)>,
}

/// What of it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPart {
    /// `fc_err`
    Code,
    /// `fc_err_str`
    Text,
    /// `ssl_fc_err`
    TlsCode,
    /// `ssl_fc_err_str`
    TlsText,
}

impl FaultPart {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "fc_err" => Self::Code,
            "fc_err_str" => Self::Text,
            "ssl_fc_err" => Self::TlsCode,
            "ssl_fc_err_str" => Self::TlsText,
            _ => return None,
        })
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Code | Self::TlsCode => Kind::Int,
            Self::Text | Self::TlsText => Kind::Str,
        }
    }

    pub(super) fn sample<'a>(self, scene: &Scene<'a>) -> Option<Value<'a>> {
        let fault = scene.world.fault();
        let tls = fault.and_then(|fault| fault.tls.as_ref());
        Some(match self {
            Self::Code => Value::Int(fault.map_or(0, |fault| fault.code)),
            Self::Text => {
                let text = fault.map_or("Success", |fault| &fault.text);
                Value::Str(text.as_bytes().into())
            }
            Self::TlsCode => match tls {
                Some((code, _)) => Value::Int(*code),
                None => scene.world.tls(TlsFact::Used).map(|_| Value::Int(0))?,
            },
            Self::TlsText => Value::Str(tls?.1.as_bytes().into()),
        })
    }
}
