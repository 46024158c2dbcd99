//! JSON web tokens in their compact form (RFC 7515): what they say, and whether who signed them had the key.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{
    hmac,
    signature::{self, UnparsedPublicKey, VerificationAlgorithm},
};
use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};

use super::{Converter, json_query::Query};
use crate::rules::{
    args::Call,
    problem::Problem,
    process::Var,
    registry::Registry,
    scene::State,
    value::{Kind, Value},
};

/// Base64 as tokens have it, and as forgiving as HAProxy is.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// HAProxy's numbers for what comes of a verification, besides 1 for yes and 0 for no.
const UNKNOWN_ALGORITHM: i64 = -1;
const INVALID_TOKEN: i64 = -3;
const UNKNOWN_KEY: i64 = -5;

/// What is made of a token.
#[derive(Debug, Clone)]
pub enum Token {
    /// `jwt_header_query`, `jwt_payload_query`: a part, or what is asked of its JSON.
    Part(usize, Option<Query>),
    /// `jwt_verify`: by which algorithm, and by what.
    Verify {
        /// Its name.
        algorithm: Word,
        /// A secret, or the path of a public key.
        key: Word,
        /// The public key at that path.
        public: Option<Arc<PublicKey>>,
        /// Those of paths that a variable may name.
        keys: Arc<PublicKeys>,
    },
}

/// A word that is written, or a variable's.
#[derive(Debug, Clone)]
pub enum Word {
    /// As it is written.
    Fixed(String),
    /// What the variable is then.
    Var(Var),
}

/// A public key of a file.
#[derive(Debug)]
pub struct PublicKey {
    path: String,
    der: Vec<u8>,
}

/// All that a configuration has.
#[derive(Debug, Default)]
pub struct PublicKeys(Mutex<Vec<Arc<PublicKey>>>);

impl PublicKeys {
    fn named(&self, path: &str) -> Option<Arc<PublicKey>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find(|key| key.path == path).map(Arc::clone)
    }

    /// The key in the file that the configuration calls `path`, and that is at `file`.
    fn read(&self, path: &str, file: &Path) -> Result<Arc<PublicKey>, Problem> {
        if let Some(key) = self.named(path) {
            return Ok(key);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_file(file).map_err(|error| {
            Problem::new(
                format!("`{path}` has no public key: {error}"),
                "write the path of a PEM file that begins with `BEGIN PUBLIC KEY`",
            )
        })?;
        let key = Arc::new(PublicKey {
            path: path.to_owned(),
            der: der.as_ref().to_vec(),
        });
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.push(Arc::clone(&key));
        Ok(key)
    }
}

/// How a token is signed.
#[derive(Clone, Copy)]
enum Algorithm {
    Nothing,
    Hmac(hmac::Algorithm),
    Public(&'static dyn VerificationAlgorithm),
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        let public = |algorithm| Some(Self::Public(algorithm));
        match name {
            "none" => Some(Self::Nothing),
            "HS256" => Some(Self::Hmac(hmac::HMAC_SHA256)),
            "HS384" => Some(Self::Hmac(hmac::HMAC_SHA384)),
            "HS512" => Some(Self::Hmac(hmac::HMAC_SHA512)),
            "RS256" => public(&signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => public(&signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => public(&signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => public(&signature::RSA_PSS_2048_8192_SHA256),
            "PS384" => public(&signature::RSA_PSS_2048_8192_SHA384),
            "PS512" => public(&signature::RSA_PSS_2048_8192_SHA512),
            "ES256" => public(&signature::ECDSA_P256_SHA256_FIXED),
            "ES384" => public(&signature::ECDSA_P384_SHA384_FIXED),
            "ES512" => public(&signature::ECDSA_P521_SHA512_FIXED),
            _ => None,
        }
    }
}

impl Word {
    fn parse(text: &str, registry: &mut Registry<'_>) -> Result<Self, Problem> {
        // What is written like a variable is one, as HAProxy has it.
        let scope = text.split_once('.').map(|(scope, _)| scope);
        Ok(match scope {
            Some("proc" | "sess" | "txn" | "req" | "res") => Self::Var(registry.var(text)?),
            _ => Self::Fixed(text.to_owned()),
        })
    }

    fn get(&self, state: &State) -> Option<String> {
        match self {
            Self::Fixed(text) => Some(text.clone()),
            Self::Var(var) => String::from_utf8(var.get(state)?.into_text().into_owned()).ok(),
        }
    }
}

impl Token {
    /// A converter by its name.
    pub(super) fn parse(
        call: &Call,
        registry: &mut Registry<'_>,
    ) -> Result<Option<Converter>, Problem> {
        let part = match call.name.as_str() {
            "jwt_header_query" => 0,
            "jwt_payload_query" => 1,
            "jwt_verify" => {
                call.most(2)?;
                return Self::verification(call, registry).map(|it| Some(Converter::Token(it)));
            }
            _ => return Ok(None),
        };
        call.most(2)?;
        let number = match call.optional(1) {
            None => false,
            Some("int") => true,
            Some(other) => {
                return Err(Problem::new(
                    format!("`{other}` is no type"),
                    "write `int`, or leave it out",
                ));
            }
        };
        let query = call.optional(0).map(|path| Query::parse(path, number));
        Ok(Some(Converter::Token(Self::Part(part, query.transpose()?))))
    }

    fn verification(call: &Call, registry: &mut Registry<'_>) -> Result<Self, Problem> {
        let algorithm = Word::parse(call.need(0, "an algorithm, such as HS256")?, registry)?;
        // That of `none` may be empty.
        let key = match call.args.get(1) {
            Some(key) => Word::parse(key, registry)?,
            None => {
                return Err(Problem::new(
                    "`jwt_verify` needs a secret, or the path of a key",
                    "write `jwt_verify(HS256,secret)`",
                ));
            }
        };
        let how = match &algorithm {
            Word::Var(_) => None,
            Word::Fixed(name) => Some(Algorithm::named(name).ok_or_else(|| {
                Problem::new(
                    format!("there is no algorithm `{name}`"),
                    "write HS256, RS256, ES256 or PS256, or one of their kind of 384 or 512 bits",
                )
            })?),
        };
        let keys = registry.public_keys();
        let public = match (&key, how) {
            (Word::Var(_), _) | (_, Some(Algorithm::Hmac(_) | Algorithm::Nothing)) => None,
            (Word::Fixed(path), _) if !registry.reads_files() => keys.named(path),
            (Word::Fixed(path), Some(_)) => Some(keys.read(path, &registry.path(path))?),
            // It may be a secret, too: that shows when the algorithm does.
            (Word::Fixed(path), None) => keys.read(path, &registry.path(path)).ok(),
        };
        Ok(Self::Verify {
            algorithm,
            key,
            public,
            keys,
        })
    }

    pub(super) fn apply(&self, value: Value<'_>, state: &State) -> Option<Value<'static>> {
        let text = value.into_bytes();
        match self {
            Self::Part(part, query) => {
                let part = text.split(|byte| *byte == b'.').nth(*part)?;
                let json = FORGIVING.decode(part).ok()?;
                match query {
                    Some(query) => query.apply(&json),
                    None => Some(Value::Str(json.into())),
                }
            }
            Self::Verify {
                algorithm,
                key,
                public,
                keys,
            } => {
                let (algorithm, key) = (algorithm.get(state)?, key.get(state)?);
                let public = public.clone();
                let find = || public.or_else(|| keys.named(&key));
                Some(Value::Int(verify(&text, &algorithm, &key, find)))
            }
        }
    }

    /// Whether it looks at nothing but the value.
    pub(super) fn is_pure(&self) -> bool {
        matches!(self, Self::Part(..))
    }

    /// What it makes of bytes; `None` where that depends on what comes.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Part(_, Some(_)) => None,
            Self::Part(_, None) => Some(Kind::Str),
            Self::Verify { .. } => Some(Kind::Int),
        }
    }
}

/// What comes of a token, as HAProxy numbers it.
fn verify(
    token: &[u8],
    algorithm: &str,
    secret: &str,
    public: impl FnOnce() -> Option<Arc<PublicKey>>,
) -> i64 {
    let is_ecdsa = algorithm.starts_with("ES");
    let Some(algorithm) = Algorithm::named(algorithm) else {
        return UNKNOWN_ALGORITHM;
    };
    let dots = token.iter().filter(|byte| **byte == b'.').count();
    let Some(end) = token.iter().rposition(|byte| *byte == b'.') else {
        return INVALID_TOKEN;
    };
    if dots != 2 {
        return INVALID_TOKEN;
    }
    let (signed, signature) = (&token[..end], &token[end + 1..]);
    if let Algorithm::Nothing = algorithm {
        return signature.is_empty().into();
    }
    let Some(signature) = FORGIVING.decode(signature).ok().filter(|s| !s.is_empty()) else {
        return INVALID_TOKEN;
    };
    let good = match algorithm {
        Algorithm::Nothing => false,
        Algorithm::Hmac(algorithm) => {
            let key = hmac::Key::new(algorithm, secret.as_bytes());
            hmac::verify(&key, signed, &signature).is_ok()
        }
        Algorithm::Public(algorithm) => {
            if is_ecdsa && signature.len() % 2 == 1 {
                return INVALID_TOKEN;
            }
            let Some(public) = public() else {
                return UNKNOWN_KEY;
            };
            let key = UnparsedPublicKey::new(algorithm, &public.der);
            key.verify(signed, &signature).is_ok()
        }
    };
    good.into()
}
