//! Which certificate a client gets: by the name that it asks for, then by what it can verify.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    SignatureAlgorithm, SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::certificate::Certificate;

/// Certificates of one name, ECDSA before RSA: smaller and faster, for those who know it.
type Choice = Vec<Arc<CertifiedKey>>;

/// The certificates of a bind.
#[derive(Debug)]
pub(super) struct Resolver {
    exact: HashMap<Box<str>, Choice>,
    /// By what follows the first label: `*.example.org` is under `example.org`.
    wildcard: HashMap<Box<str>, Choice>,
    /// For those who ask for another name, or for none.
    default: Choice,
}

impl Resolver {
    /// Where two certificates of a kind have the same name, the first one is used.
    pub(super) fn new(certificates: &[Certificate]) -> Self {
        let mut this = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: Vec::new(),
        };
        let mut sorted: Vec<_> = certificates.iter().collect();
        sorted.sort_by_key(|certificate| {
            certificate.certified.key.algorithm() == SignatureAlgorithm::RSA
        });
        for certificate in sorted {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut this.wildcard, parent),
                    None => (&mut this.exact, name.as_str()),
                };
                map.entry(name.into())
                    .or_default()
                    .push(Arc::clone(&certificate.certified));
            }
        }
        if let Some(first) = certificates.first() {
            // The first of the file, and its sisters of other kinds.
            this.default.push(Arc::clone(&first.certified));
            let sisters = certificates
                .iter()
                .skip(1)
                .filter(|other| !first.names.is_empty() && other.names == first.names);
            this.default
                .extend(sisters.map(|other| Arc::clone(&other.certified)));
            this.default
                .sort_by_key(|certified| certified.key.algorithm() == SignatureAlgorithm::RSA);
        }
        this
    }

    fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        let usable = |choice: Option<&'_ Choice>| -> Option<usize> {
            choice?
                .iter()
                .position(|certified| certified.key.choose_scheme(schemes).is_some())
        };
        if let Some(name) = name {
            let lower = name.to_ascii_lowercase();
            let exact = self.exact.get(lower.as_str());
            if let Some(at) = usable(exact) {
                return exact?.get(at);
            }
            let parent = lower.split_once('.').map(|(_, parent)| parent);
            let wildcard = parent.and_then(|parent| self.wildcard.get(parent));
            if let Some(at) = usable(wildcard) {
                return wildcard?.get(at);
            }
        }
        let at = usable(Some(&self.default)).unwrap_or(0);
        self.default.get(at)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
            .cloned()
    }
}
