//! What is wrong with certificates and keys, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::accounts;

/// Why TLS cannot be set up.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("`{}` cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        why: String,
        /// There is no such file.
        absent: bool,
        /// It is for others to read.
        denied: bool,
    },
    /// A folder without a certificate in it.
    #[error("the folder `{}` has no certificate in it", .0.display())]
    EmptyFolder(PathBuf),
    /// A file that is to have a certificate.
    #[error("`{}` has no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// A file that is to have a key.
    #[error("`{}` has no private key in it", .0.display())]
    NoKey(PathBuf),
    /// A key that wants a pass phrase.
    #[error("the private key in `{}` is encrypted: there is nobody to ask for its pass phrase", .0.display())]
    EncryptedKey(PathBuf),
    /// A key of a kind that is not supported.
    #[error("the private key in `{}` is of no kind that is supported (RSA from 2048 bits, ECDSA P-256, P-384 or P-521, Ed25519)", .0.display())]
    UnsupportedKey(PathBuf),
    /// A key of another certificate.
    #[error("the private key in `{}` is not that of the certificate in `{}`", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A chain whose first certificate is another than the key's.
    #[error("the certificates in `{}` are in the wrong order: the first is a CA's, and the key belongs to a later one", .0.display())]
    Disordered(PathBuf),
    /// Not what it is to be.
    #[error("`{}` is broken: {why}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// In which way.
        why: String,
    },
    /// Lists of revoked certificates that cannot be gone by.
    #[error("the list of revoked certificates in `{}` cannot be used: {why}", path.display())]
    Revocations {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A line of a list of certificates.
    #[error("`{}` is wrong at line {line}: {why}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In which way.
        why: String,
    },
    /// Nobody who may have signed clients' certificates.
    #[error("clients are to show certificates, but no CA is named to verify them by")]
    NoClientCa,
    /// A choice of suites or curves that has none of those there are.
    #[error("nothing is left of `{0}`: lb has none of what it names")]
    NoneLeft(&'static str),
    /// Files of keys of tickets.
    #[error("`{}` has no keys of tickets: {why}", path.display())]
    TicketKeys {
        /// The file.
        path: PathBuf,
        /// In which way.
        why: String,
    },
    /// Limits of versions that exclude each other.
    #[error("no version of TLS is left: the oldest is newer than the newest")]
    NoVersion,
    /// Neither a certificate nor a list that has one.
    #[error("there is no certificate to serve")]
    NoneListed,
    /// Nobody whom this host trusts.
    #[error("this host has no CA certificates to verify servers with")]
    NoRoots,
    /// The library does not take it.
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

impl TlsError {
    pub(super) fn unreadable(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        let text = error.to_string();
        Self::Unreadable {
            path: path.into(),
            // Without the number that Rust adds.
            why: text
                .split(" (os error")
                .next()
                .unwrap_or_default()
                .to_lowercase(),
            absent: error.kind() == io::ErrorKind::NotFound,
            denied: error.kind() == io::ErrorKind::PermissionDenied,
        }
    }

    /// The file that somebody else may read, and this process may not.
    pub fn denied(&self) -> Option<&Path> {
        match self {
            Self::Unreadable {
                path, denied: true, ..
            } => Some(path),
            _ => None,
        }
    }

    /// What to do.
    pub fn mend(&self) -> String {
        match self {
            Self::Unreadable { absent: true, .. } => {
                "name a file that is there; relative paths begin at the configuration's folder"
                    .into()
            }
            Self::Unreadable { path, denied: true, .. } => {
                let (name, path) = (accounts::own_name(), path.display());
                format!("let the user `{name}` read it: `namei -l {path}` shows who may on the way there")
            }
            Self::Unreadable { path, .. } => {
                format!("put a file of its kind there: `ls -l {}` shows what it is", path.display())
            }
            Self::EmptyFolder(_) => {
                "put PEM files with chain and key there, or `NAME.crt` beside `NAME.key`".into()
            }
            Self::NoCertificate(_) => {
                "it takes PEM: `-----BEGIN CERTIFICATE-----`, the server's own first, then those between".into()
            }
            Self::NoKey(path) => format!(
                "append the key to it, or name its file: `{{ cert: {}, key: FILE }}`",
                path.display()
            ),
            Self::EncryptedKey(path) => {
                format!("decrypt it: `openssl pkey -in {} -out NEW`, readable for lb alone", path.display())
            }
            Self::UnsupportedKey(_) => {
                "make a new one: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`, and a certificate for it".into()
            }
            Self::Mismatch { cert, key } => format!(
                "name the key that the certificate was made for; `openssl x509 -noout -pubkey -in {}` and `openssl pkey -pubout -in {}` show the same then",
                cert.display(),
                key.display()
            ),
            Self::Disordered(_) => {
                "put the server's own certificate first, then the one that signed it, and so on upwards".into()
            }
            Self::Broken { path, .. } => format!(
                "write it anew; `openssl storeutl -noout {}` lists what OpenSSL finds in it",
                path.display()
            ),
            Self::Revocations { path, .. } => format!(
                "let each CA write a whole one: `openssl ca -gencrl -out {}`, with `crlnumber` in its configuration",
                path.display()
            ),
            Self::List { .. } => {
                "write a certificate, options in brackets, and names: `site.pem [alpn h2] *.example.org`".into()
            }
            Self::NoClientCa => "name one: `ca-file FILE` beside `verify`, or for the whole bind".into(),
            Self::NoneLeft("curves") => "name one of X25519, P-256, P-384 and X25519MLKEM768, or remove it".into(),
            Self::NoneLeft(_) => {
                "name suites with ECDHE and AES-GCM or ChaCha20, the only ones that there are, or remove it".into()
            }
            Self::TicketKeys { .. } => {
                "write three lines of `openssl rand -base64 80 | tr -d '\\n'` or more, the last but one being used".into()
            }
            Self::NoVersion => "let the limits of a list's line and of its bind agree".into(),
            Self::NoneListed => "name one, or let a list name one".into(),
            Self::NoRoots => "install them (`apt install ca-certificates`), or name a file: `tls: { ca: FILE }`".into(),
            Self::Library(_) => "see docs/configuration.md for what TLS can do here".into(),
        }
    }
}

/// Something about a certificate that is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// What.
    pub message: String,
    /// What to do.
    pub mend: String,
}

/// What was found in files that are to be used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What is worth saying.
    pub remarks: Vec<Remark>,
    /// What is wrong: they cannot be used.
    pub errors: Vec<TlsError>,
}

/// What there is of `result`; what is wrong instead is kept, once.
pub(super) fn kept<T>(result: Result<T, TlsError>, wrong: &mut Vec<TlsError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            if !wrong.contains(&error) {
                wrong.push(error);
            }
            None
        }
    }
}
