//! Whose certificates a bind takes of clients.

use std::{path::Path, sync::Arc};

use rustls::{RootCertStore, crypto::CryptoProvider, server::WebPkiClientVerifier};

use super::{
    error::{TlsError, kept},
    files::{self, Reader},
    options::{BindOptions, ClientAuth},
    revocation::Revocations,
    trust::Clients,
};

/// Whose certificates of clients are taken. `trust` gets what says so: a ticket holds no longer than that does. `None` if
/// something is wrong.
pub(super) fn clients(
    options: &BindOptions,
    reader: &mut Reader<'_>,
    provider: &Arc<CryptoProvider>,
    trust: &mut Vec<u8>,
    wrong: &mut Vec<TlsError>,
) -> Option<Arc<Clients>> {
    let before = wrong.len();
    // Who was let in without a certificate, or with a bad one, has a ticket as well.
    trust.extend(format!("{:?} {:?}\n", options.client_auth, options.ignored).bytes());
    let mut told = RootCertStore::empty();
    let mut all = RootCertStore::empty();
    let mut pinned = Vec::new();
    let named = [
        (&options.client_ca, !options.no_ca_names),
        (&options.client_ca_verify, false),
    ];
    for (path, tell) in named {
        let Some(path) = path else { continue };
        let read = reader.authorities(path).and_then(|pem| {
            let (roots, chain) = (roots(path, &pem)?, files::chain(path, &pem)?);
            Ok((pem, roots, chain))
        });
        let Some((pem, roots, chain)) = kept(read, wrong) else {
            continue;
        };
        if tell {
            told.roots.extend(roots.roots.iter().cloned());
        }
        all.roots.extend(roots.roots.iter().cloned());
        pinned.extend(chain);
        trust.extend(pem);
    }
    if all.is_empty() && wrong.len() == before {
        wrong.push(TlsError::NoClientCa);
    }
    let mut revoked = None;
    if let Some(path) = &options.client_crl {
        let read = reader.read(path).and_then(|pem| {
            let revoked = Revocations::read(path, &pem, provider)?;
            trust.extend(pem);
            Ok(revoked)
        });
        revoked = kept(read, wrong);
    }
    if wrong.len() > before {
        return None;
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(all), Arc::clone(provider))
            .clear_root_hint_subjects()
            .add_root_hint_subjects(told.subjects());
    if let Some(lists) = revoked.as_ref().and_then(Revocations::of_profile) {
        // As OpenSSL has it, a list that should be there and is too old is no list.
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    if options.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    let chains = builder
        .build()
        .map_err(|error| TlsError::Library(error.to_string()));
    let chains = kept(chains, wrong)?;
    let ignored = options.ignored;
    Some(Arc::new(Clients::new(
        chains,
        pinned,
        revoked.as_ref(),
        ignored,
        Arc::clone(provider),
    )))
}

/// The CAs in a file.
pub(super) fn roots(path: &Path, pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in files::chain(path, pem)? {
        roots.add(certificate).map_err(|error| TlsError::Broken {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(Arc::new(roots))
}
