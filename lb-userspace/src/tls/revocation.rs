//! Lists of revoked certificates.
//!
//! webpki asks of them what RFC 5280 does (section 5.1): version 2, extensions, and when the next one comes. `openssl ca` leaves
//! these out unless it is told, and OpenSSL takes such plain lists. Where a file has one, lb looks at the lists of the
//! file itself ([`Judge`](super::verdict::Judge)), after webpki has found the chain good; nothing is asked less than of others.

use std::{collections::HashSet, path::Path, sync::Arc};

use rustls::{
    CertRevocationListError, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateRevocationListDer as Der, TrustAnchor},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use x509_parser::{
    der_parser::oid,
    extensions::X509Extension,
    oid_registry::{OID_X509_EXT_DELTA_CRL_INDICATOR, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, Oid},
    prelude::FromDer,
    revocation_list::CertificateRevocationList,
    x509::X509Version,
};

use super::{error::TlsError, files};

/// Those of a file.
#[derive(Debug)]
pub(super) struct Revocations {
    all: Vec<Der<'static>>,
    plain: bool,
}

/// One of them, as far as it matters.
#[derive(Debug)]
pub(super) struct List {
    /// The name of whoever wrote it, in DER.
    pub(super) issuer: Vec<u8>,
    /// When it was written, and when the next one is due, in seconds since 1970.
    pub(super) written: i64,
    pub(super) next: Option<i64>,
    /// What is signed, how, and the signature.
    pub(super) signed: Vec<u8>,
    pub(super) algorithm: Oid<'static>,
    pub(super) signature: Vec<u8>,
    /// Whom it is about.
    pub(super) serials: HashSet<Box<[u8]>>,
}

impl Revocations {
    /// Reads those of a file, which has at least one.
    pub(super) fn read(
        path: &Path,
        pem: &[u8],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let all = files::revoked(path, pem)?;
        let mut plain = false;
        for der in &all {
            let Some(why) = unlike_profile(der, provider) else {
                continue;
            };
            if !is_plain(der) {
                return Err(TlsError::Revocations {
                    path: path.to_owned(),
                    why,
                });
            }
            plain = true;
        }
        if plain && !all.iter().all(is_plain) {
            return Err(TlsError::Revocations {
                path: path.to_owned(),
                why: "beside one of version 1, or without extensions, it has one for a part of the certificates"
                    .into(),
            });
        }
        Ok(Self { all, plain })
    }

    /// Whether lb looks at them itself.
    pub(super) fn are_plain(&self) -> bool {
        self.plain
    }

    /// What webpki is to look at.
    pub(super) fn of_profile(&self) -> Option<Vec<Der<'static>>> {
        (!self.plain).then(|| self.all.clone())
    }

    /// What is in them.
    pub(super) fn lists(&self) -> Vec<List> {
        self.all.iter().filter_map(List::read).collect()
    }
}

impl List {
    fn read(der: &Der<'static>) -> Option<Self> {
        let (_, list) = CertificateRevocationList::from_der(der.as_ref()).ok()?;
        let revoked = list.iter_revoked_certificates();
        Some(Self {
            issuer: list.issuer().as_raw().to_vec(),
            written: list.last_update().timestamp(),
            next: list.next_update().map(|next| next.timestamp()),
            signed: list.tbs_cert_list.as_ref().to_vec(),
            algorithm: list.signature_algorithm.algorithm.to_owned(),
            signature: list.signature_value.data.to_vec(),
            serials: revoked.map(|one| one.raw_serial().into()).collect(),
        })
    }
}

/// Why webpki does not take it.
fn unlike_profile(der: &Der<'static>, provider: &Arc<CryptoProvider>) -> Option<String> {
    // It wants somebody to trust, whom nobody is ever verified by.
    let nobody = TrustAnchor {
        subject: [].as_slice().into(),
        subject_public_key_info: [].as_slice().into(),
        name_constraints: None,
    };
    let roots = RootCertStore {
        roots: vec![nobody],
    };
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let error = match builder.with_crls([der.clone()]).build() {
        Err(VerifierBuilderError::InvalidCrl(error)) => error,
        // What else is wrong is no fault of the list.
        Ok(_) | Err(_) => return None,
    };
    let why = match error {
        CertRevocationListError::ParseError => "it is not in the form of RFC 5280",
        CertRevocationListError::UnsupportedDeltaCrl => {
            "it has only what has changed since another (a delta CRL)"
        }
        CertRevocationListError::UnsupportedIndirectCrl => {
            "it is about certificates of others (an indirect CRL)"
        }
        CertRevocationListError::UnsupportedRevocationReason => {
            "it is for some reasons of revocation alone"
        }
        CertRevocationListError::UnsupportedCriticalExtension => {
            "it has a critical extension that is not known"
        }
        CertRevocationListError::InvalidCrlNumber => "its number is over 20 bytes, or negative",
        error => return Some(format!("{error:?}")),
    };
    Some(why.into())
}

/// Whether it is about all certificates of whoever signed it, as one of version 1 is, and says nothing that has to be known.
fn is_plain(der: &Der<'static>) -> bool {
    let Ok((rest, list)) = CertificateRevocationList::from_der(der.as_ref()) else {
        return false;
    };
    let narrowing = [
        OID_X509_EXT_DELTA_CRL_INDICATOR,
        OID_X509_EXT_ISSUER_DISTRIBUTION_POINT,
        // certificateIssuer (RFC 5280, section 5.3.3).
        oid!(2.5.29.29),
    ];
    let is_passed_over =
        |extension: &X509Extension<'_>| !extension.critical && !narrowing.contains(&extension.oid);
    let mut revoked = list.iter_revoked_certificates();
    rest.is_empty()
        && list
            .version()
            .is_none_or(|version| version == X509Version::V2)
        && list.tbs_cert_list.signature == list.signature_algorithm
        && list.extensions().iter().all(is_passed_over)
        && revoked.all(|one| one.extensions().iter().all(is_passed_over))
}
