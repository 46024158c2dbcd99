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
    server::{ClientHello, ResolvesServerCert},
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
    ocsp,
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
    /// The same with an OCSP response, and until when that holds.
    stapled: Option<(Arc<CertifiedKey>, i64)>,
    /// What is to be said of it.
    pub(super) remarks: Vec<Remark>,
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
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(LibraryError::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => {
                let key = Arc::clone(&certified.key);
                let is_of = |other: &CertificateDer<'static>| {
                    let other = CertifiedKey::new(vec![other.clone()], Arc::clone(&key));
                    other.keys_match().is_ok()
                };
                if certified.cert.iter().skip(1).any(is_of) {
                    return Err(TlsError::Disordered(files.cert.clone()));
                }
                return Err(TlsError::Mismatch {
                    cert: files.cert.clone(),
                    key: key_path,
                });
            }
        }
        let certified = Arc::new(certified);
        let mut remarks = Vec::new();
        let mut stapled = None;
        let given =
            || Some(files::appended(&files.cert, "ocsp")).filter(|path| reader.is_given(path));
        if let Some(path) = &files.ocsp.clone().or_else(given) {
            let response = reader.read(path)?;
            match ocsp::holds_until(&response, &certified.cert, now()) {
                Ok(until) => {
                    let mut with = CertifiedKey::clone(&certified);
                    with.ocsp = Some(response);
                    stapled = Some((Arc::new(with), until));
                }
                // Without one clients get on; without the certificate they do not.
                Err(why) => remarks.push(Remark {
                    message: format!(
                        "the OCSP response in `{}` is not stapled: {why}",
                        path.display()
                    ),
                    mend: format!(
                        "fetch another: `openssl ocsp -issuer CA -cert {} -url URL -noverify -respout {}`, or remove it",
                        files.cert.display(),
                        path.display()
                    ),
                }),
            }
        }
        let mut this = Self {
            certified,
            names: leaf.names,
            valid: leaf.valid,
            stapled,
            remarks,
        };
        this.remarks.extend(this.remark(&files.cert));
        Ok(this)
    }

    /// As it is served.
    pub(super) fn served(&self) -> Arc<Served> {
        Arc::new(Served {
            bare: Arc::clone(&self.certified),
            stapled: self.stapled.clone(),
        })
    }

    /// When it expires, seconds since 1970.
    pub(super) fn expires(&self) -> i64 {
        self.valid.1
    }

    /// What is worth saying of its dates.
    fn remark(&self, path: &Path) -> Option<Remark> {
        let now = now();
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

/// One certificate for whoever comes, with its OCSP response as long as that holds.
#[derive(Debug)]
pub(super) struct Served {
    bare: Arc<CertifiedKey>,
    stapled: Option<(Arc<CertifiedKey>, i64)>,
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let holding = self.stapled.as_ref().filter(|(_, until)| now() < *until);
        let chosen = holding.map_or(&self.bare, |(stapled, _)| stapled);
        Some(Arc::clone(chosen))
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
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
