//! Which certificate a client gets: by the name that it asks for, then by what it can verify.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    CipherSuite, ServerConfig, SignatureAlgorithm, SignatureScheme, server::ClientHello,
    sign::CertifiedKey,
};

use super::{session::ClientCertificate, trust::Clients};

/// Certificates of one name, ECDSA before RSA: smaller and faster, for those who know it.
type Choice = Vec<usize>;

/// A certificate, and how whoever gets it is served.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) certified: Arc<CertifiedKey>,
    /// What rules may ask of it.
    pub(super) known: Option<Arc<ClientCertificate>>,
    pub(super) config: Arc<ServerConfig>,
    /// Whose certificates of clients are taken with it.
    pub(super) clients: Option<Arc<Clients>>,
    /// Lower-case names that it is for, `*.` in front for wildcards, `!` for those that a wildcard is not for.
    pub(super) names: Vec<String>,
    /// Which of the bind's options it has: those of an equal number are the same.
    pub(super) terms: usize,
}

/// The certificates of a bind.
#[derive(Debug)]
pub(super) struct Resolver {
    entries: Vec<Entry>,
    exact: HashMap<Box<str>, Choice>,
    /// By what follows the first label: `*.example.org` is under `example.org`.
    wildcard: HashMap<Box<str>, Choice>,
    /// For those who ask for another name, or for none.
    default: Choice,
    /// There are no such.
    strict: bool,
}

impl Resolver {
    /// Where two certificates of a kind have the same name, the first one is used.
    pub(super) fn new(entries: Vec<Entry>, strict: bool) -> Self {
        let mut this = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: Vec::new(),
            entries: Vec::new(),
            strict,
        };
        let mut sorted: Vec<usize> = (0..entries.len()).collect();
        sorted.sort_by_key(|&at| is_rsa(&entries[at]));
        for at in sorted {
            for name in &entries[at].names {
                if name.starts_with('!') {
                    continue;
                }
                // What else begins so is like no name.
                let (map, name) = match name.strip_prefix('*') {
                    Some(parent) => match parent.strip_prefix('.') {
                        Some(parent) => (&mut this.wildcard, parent),
                        None => continue,
                    },
                    None => (&mut this.exact, name.as_str()),
                };
                map.entry(name.into()).or_default().push(at);
            }
        }
        if let Some(first) = entries.first() {
            // The first of the file, and its sisters of other kinds.
            this.default.push(0);
            let is_sister = |other: &Entry| {
                !first.names.is_empty() && other.names == first.names && other.terms == first.terms
            };
            let sisters = (1..entries.len()).filter(|&at| is_sister(&entries[at]));
            this.default.extend(sisters);
            this.default.sort_by_key(|&at| is_rsa(&entries[at]));
        }
        this.entries = entries;
        this
    }

    /// For a client that says this; `None` if it is to be refused.
    pub(super) fn for_hello(&self, hello: &ClientHello<'_>) -> Option<&Entry> {
        let schemes = hello.signature_schemes();
        if ecdsa_will_do(hello.cipher_suites()) {
            return self.choose(hello.server_name(), schemes);
        }
        let known: Vec<SignatureScheme> = schemes
            .iter()
            .filter(|scheme| scheme.as_str().is_some_and(|name| name.starts_with("RSA_")))
            .copied()
            .collect();
        self.choose(hello.server_name(), &known)
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Entry> {
        let usable = |at: &&usize| {
            let key = &self.entries[**at].certified.key;
            key.choose_scheme(schemes).is_some()
        };
        if let Some(name) = name {
            let lower = name.to_ascii_lowercase();
            let exact = self.exact.get(lower.as_str());
            let parent = lower.split_once('.').map(|(_, parent)| parent);
            let wildcard = parent.and_then(|parent| self.wildcard.get(parent));
            let but = |at: &&usize| !self.entries[**at].excludes(&lower);
            let exact = exact.into_iter().flatten();
            let wildcard = wildcard.into_iter().flatten().filter(but);
            let mut all = exact.chain(wildcard);
            if let Some(at) = all.find(usable) {
                return self.entries.get(*at);
            }
        }
        if self.strict {
            return None;
        }
        let at = self.default.iter().find(usable);
        self.entries.get(*at.or(self.default.first())?)
    }
}

impl Entry {
    fn excludes(&self, lower: &str) -> bool {
        let mut not = self.names.iter().filter_map(|name| name.strip_prefix('!'));
        not.any(|name| name == lower)
    }
}

fn is_rsa(entry: &Entry) -> bool {
    entry.certified.key.algorithm() == SignatureAlgorithm::RSA
}

/// Whether one of a client's suites can be had with an ECDSA certificate: those of TLS 1.3 say nothing of it.
fn ecdsa_will_do(suites: &[CipherSuite]) -> bool {
    suites.iter().any(|suite| {
        let name = suite.as_str().unwrap_or("");
        name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_ECDSA_")
    })
}
