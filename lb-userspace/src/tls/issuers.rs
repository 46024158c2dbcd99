//! Chains for certificates that come without one, and CAs that clients have themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    error::TlsError,
    files::{self, Reader},
};
use crate::watched::Stamp;

/// What is sent along with certificates of a bind.
#[derive(Debug, Default)]
pub(super) struct Issuers {
    /// Chains, each from whoever signs on.
    chains: Vec<Vec<CertificateDer<'static>>>,
    skip_self_issued: bool,
}

impl Issuers {
    /// Reads those of a folder: a chain a file.
    pub(super) fn read(
        folder: Option<&Path>,
        skip_self_issued: bool,
        reader: &mut Reader<'_>,
    ) -> Result<Self, TlsError> {
        let mut issuers = Self {
            chains: Vec::new(),
            skip_self_issued,
        };
        let Some(folder) = folder else {
            return Ok(issuers);
        };
        reader.seen.push((folder.to_owned(), Stamp::of(folder)));
        let unreadable = |error: std::io::Error| TlsError::unreadable(folder, &error);
        let mut found: Vec<PathBuf> = fs::read_dir(folder)
            .map_err(unreadable)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file())
            .collect();
        found.sort();
        for path in found {
            let pem = reader.read(&path)?;
            // What else lies there is none, as for HAProxy.
            issuers.chains.extend(files::chain(&path, &pem));
        }
        Ok(issuers)
    }

    /// Completes a chain, or shortens it.
    pub(super) fn apply(&self, chain: &mut Vec<CertificateDer<'static>>) {
        if let [only] = chain.as_slice() {
            let signed = |chain: &&Vec<CertificateDer<'static>>| {
                chain.first().is_some_and(|issuer| issues(issuer, only))
            };
            if let Some(rest) = self.chains.iter().find(signed) {
                chain.extend(rest.iter().cloned());
            }
        }
        if self.skip_self_issued && chain.len() > 1 {
            let mut place = 0;
            chain.retain(|certificate| {
                place += 1;
                place == 1 || !is_self_issued(certificate)
            });
        }
    }
}

/// Whether one has the name that another says its issuer has, and the key, which has to be said (as for HAProxy).
fn issues(issuer: &CertificateDer<'_>, certificate: &CertificateDer<'_>) -> bool {
    use x509_parser::extensions::ParsedExtension as Extension;
    let (Some(issuer), Some(certificate)) = (parse(issuer), parse(certificate)) else {
        return false;
    };
    let mut of_issuer = issuer.extensions().iter();
    let own = of_issuer.find_map(|extension| match extension.parsed_extension() {
        Extension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    let mut of_certificate = certificate.extensions().iter();
    let wanted = of_certificate.find_map(|extension| match extension.parsed_extension() {
        Extension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref()?.0),
        _ => None,
    });
    issuer.subject().as_raw() == certificate.issuer().as_raw() && own.is_some() && own == wanted
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_some_and(|own| own.subject().as_raw() == own.issuer().as_raw())
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    Some(X509Certificate::from_der(der).ok()?.1)
}
