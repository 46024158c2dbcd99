//! Whose certificates of clients are taken at a bind, besides the CA: keys of its `tls:`.

use std::path::PathBuf;

use super::{
    decode::Decoder,
    source::{Span, Spanned},
    table::Table,
    tree::Entry,
};
use crate::tls::Ignored;

/// What those keys say.
#[derive(Debug, Default)]
pub(super) struct Verified {
    pub(super) further_ca: Option<Spanned<PathBuf>>,
    pub(super) names: Option<Spanned<bool>>,
    pub(super) revoked: Option<Spanned<PathBuf>>,
    pub(super) of_certificates: Option<Spanned<Ignored>>,
    pub(super) of_authorities: Option<Spanned<Ignored>>,
}

impl Verified {
    /// Takes them.
    pub(super) fn take(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Self {
        let path = |d: &mut Decoder<'_>, e: &Entry| {
            let path = d.path(&e.value, &format!("`{}`", e.key))?;
            Some(Spanned::new(path, e.key_span))
        };
        Self {
            further_ca: table.take("client_ca_verify").and_then(|e| path(d, e)),
            names: table.take("client_ca_names").and_then(|e| {
                let told = d.boolean(&e.value, "`client_ca_names`")?;
                Some(Spanned::new(told, e.key_span))
            }),
            revoked: table.take("client_crl").and_then(|e| path(d, e)),
            of_certificates: table
                .take("ignore_client_errors")
                .and_then(|e| ignored(d, e)),
            of_authorities: table
                .take("ignore_client_ca_errors")
                .and_then(|e| ignored(d, e)),
        }
    }

    /// Those that mean nothing where no client is asked for a certificate.
    pub(super) fn spans(&self) -> impl Iterator<Item = (&'static str, Span)> {
        let all = [
            ("client_ca_verify", self.further_ca.as_ref().map(|s| s.span)),
            ("client_ca_names", self.names.as_ref().map(|s| s.span)),
            ("client_crl", self.revoked.as_ref().map(|s| s.span)),
            (
                "ignore_client_errors",
                self.of_certificates.as_ref().map(|s| s.span),
            ),
            (
                "ignore_client_ca_errors",
                self.of_authorities.as_ref().map(|s| s.span),
            ),
        ];
        all.into_iter().filter_map(|(key, span)| Some((key, span?)))
    }

    /// What is passed over.
    pub(super) fn ignored(&self) -> [Ignored; 2] {
        let of = |ignored: &Option<Spanned<Ignored>>| ignored.as_ref().map(|s| s.value);
        [&self.of_certificates, &self.of_authorities].map(|ignored| of(ignored).unwrap_or_default())
    }
}

/// `all`, or a list of OpenSSL's numbers and names.
fn ignored(d: &mut Decoder<'_>, entry: &Entry) -> Option<Spanned<Ignored>> {
    let what = format!("`{}`", entry.key);
    let mut ignored = Ignored::default();
    let nodes = d.one_or_more(&entry.value);
    for node in nodes {
        let error = d.word(node, &what)?;
        if error == "all" && nodes.len() == 1 {
            ignored = Ignored::ALL;
        } else if !ignored.add(&error) {
            d.error(
                node.span,
                format!("`{error}` is no error of a certificate"),
                "write OpenSSL's number, from 1 to 63, or its name, such as `CERT_HAS_EXPIRED`; or `all`",
            );
            return None;
        }
    }
    Some(Spanned::new(ignored, entry.key_span))
}
