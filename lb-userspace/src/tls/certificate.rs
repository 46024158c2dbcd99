//! One certificate with its key: read, put together, and looked into for names and dates.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    Error as LibraryError,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate, X509Name},
};

use super::{
    error::{Remark, TlsError},
    files::{self, Reader},
    issuers::Issuers,
    options::CertificateFiles,
};

/// A certificate that can be served.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    /// Lower-case names that it is for, `*.` in front for wildcards.
    pub(super) names: Vec<String>,
    /// Not valid before and after, seconds since 1970.
    valid: (i64, i64),
}

impl Certificate {
    /// Reads one.
    pub(super) fn load(
        files: &CertificateFiles,
        issuers: &Issuers,
        reader: &mut Reader<'_>,
    ) -> Result<Self, TlsError> {
        let pem = reader.read(&files.cert)?;
        let mut chain = files::chain(&files.cert, &pem)?;
        issuers.apply(&mut chain);
        let (key_path, key) = key(files, &pem, reader)?;
        let signing =
            any_supported_type(&key).map_err(|_| TlsError::UnsupportedKey(key_path.clone()))?;
        let leaf = Leaf::read(&files.cert, &chain)?;
        let mut certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(LibraryError::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => {
                return Err(TlsError::Mismatch {
                    cert: files.cert.clone(),
                    key: key_path.clone(),
                });
            }
        }
        if let Some(path) = &files.ocsp {
            let response = reader.read(path)?;
            // An OCSPResponse is a SEQUENCE (RFC 6960, section 4.2.1).
            if response.first() != Some(&0x30) {
                return Err(TlsError::Broken {
                    path: path.clone(),
                    why: "it is no OCSP response in DER".into(),
                });
            }
            certified.ocsp = Some(response);
        }
        Ok(Self {
            certified: Arc::new(certified),
            names: leaf.names,
            valid: leaf.valid,
        })
    }

    /// When it expires, seconds since 1970.
    pub(super) fn expires(&self) -> i64 {
        self.valid.1
    }

    /// What is worth saying of it at `now`.
    pub(super) fn remark(&self, path: &Path, now: SystemTime) -> Option<Remark> {
        let now = now
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok())?;
        let path = path.display();
        let days = |seconds: i64| seconds / 86_400;
        match self.valid {
            (_, until) if until < now => Some(Remark {
                message: match days(now - until) {
                    0 => format!("the certificate in `{path}` has expired"),
                    days => format!("the certificate in `{path}` expired {days} days ago"),
                },
                mend: "renew it: clients refuse it".into(),
            }),
            (from, _) if from > now => Some(Remark {
                message: format!("the certificate in `{path}` is not valid yet"),
                mend: "look at this host's clock, or wait: clients refuse it until then".into(),
            }),
            _ => None,
        }
    }
}

/// The key of a certificate whose file is `pem`: where the file says, else in the same file, else beside it.
pub(super) fn key(
    files: &CertificateFiles,
    pem: &[u8],
    reader: &mut Reader<'_>,
) -> Result<(PathBuf, PrivateKeyDer<'static>), TlsError> {
    let path = match &files.key {
        Some(path) => path.clone(),
        None => match files::key(&files.cert, pem)? {
            Some(key) => return Ok((files.cert.clone(), key)),
            None => reader
                .beside(&files.cert, "key")
                .ok_or_else(|| TlsError::NoKey(files.cert.clone()))?,
        },
    };
    let pem = reader.read(&path)?;
    match files::key(&path, &pem)? {
        Some(key) => Ok((path, key)),
        None => Err(TlsError::NoKey(path)),
    }
}

/// Not before and not after, seconds since 1970.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some((
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}

/// What is read out of a chain's first certificate.
struct Leaf {
    names: Vec<String>,
    valid: (i64, i64),
}

impl Leaf {
    fn read(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Self, TlsError> {
        let broken = |why: String| TlsError::Broken {
            path: path.to_owned(),
            why,
        };
        let first = chain
            .first()
            .ok_or_else(|| TlsError::NoCertificate(path.to_owned()))?;
        let (_, parsed) =
            X509Certificate::from_der(first).map_err(|error| broken(error.to_string()))?;
        let mut names = Vec::new();
        // As HAProxy: the alternative names and the common name too.
        if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
            for name in &alternative.value.general_names {
                if let GeneralName::DNSName(name) = name {
                    names.push(name.to_ascii_lowercase());
                }
            }
        }
        let common = parsed.subject().iter_common_name();
        names.extend(common.filter_map(|name| Some(name.as_str().ok()?.to_ascii_lowercase())));
        names.sort();
        names.dedup();
        let validity = parsed.validity();
        Ok(Self {
            names,
            valid: (
                validity.not_before.timestamp(),
                validity.not_after.timestamp(),
            ),
        })
    }
}

/// A name as HAProxy's `ssl_c_s_dn` writes it: `/C=FR/O=Example/CN=client`.
pub(super) fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts = parts(name).into_iter();
    parts
        .map(|(name, value)| format!("/{name}={value}"))
        .collect()
}

/// The parts of a name, in order.
pub(super) fn parts(name: &X509Name<'_>) -> Vec<(String, String)> {
    use x509_parser::objects::{oid_registry, oid2abbrev};
    let part = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let name = match oid2abbrev(attribute.attr_type(), oid_registry()) {
            Ok(short) => short.to_owned(),
            Err(_) => attribute.attr_type().to_id_string(),
        };
        let value = match attribute.as_str() {
            Ok(value) => value.to_owned(),
            Err(_) => String::from_utf8_lossy(attribute.as_slice()).into_owned(),
        };
        (name, value)
    };
    name.iter_attributes().map(part).collect()
}
