//! Which suites and curves are spoken: HAProxy's and OpenSSL's words for what rustls has.

use std::sync::Arc;

use rustls::{
    CipherSuite, SupportedCipherSuite,
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
};

use super::{
    error::{Remark, TlsError},
    session::openssl_name,
};

/// `ciphers`, `ciphersuites`, `curves`: OpenSSL's names, in the order of preference; `None` is whatever rustls has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    /// Of TLS 1.2: a list as OpenSSL reads it, such as `ECDHE+AESGCM`, `!AES256`.
    pub ciphers: Option<Vec<String>>,
    /// Of TLS 1.3.
    pub suites: Option<Vec<String>>,
    /// Groups for the exchange of keys.
    pub curves: Option<Vec<String>>,
}

/// OpenSSL's names of groups, and IANA's numbers of them.
const CURVES: &[(&str, u16)] = &[
    ("X25519", 0x001d),
    ("P-256", 0x0017),
    ("prime256v1", 0x0017),
    ("secp256r1", 0x0017),
    ("P-384", 0x0018),
    ("secp384r1", 0x0018),
    ("P-521", 0x0019),
    ("secp521r1", 0x0019),
    ("X25519MLKEM768", 0x11ec),
    ("SecP256r1MLKEM768", 0x11eb),
];

impl Policy {
    /// With what `other` says where this says nothing.
    pub(super) fn or(&self, other: Self) -> Self {
        Self {
            ciphers: self.ciphers.clone().or(other.ciphers),
            suites: self.suites.clone().or(other.suites),
            curves: self.curves.clone().or(other.curves),
        }
    }

    /// Whether the order of suites is ours.
    pub(super) fn orders(&self) -> bool {
        self.ciphers.is_some() || self.suites.is_some()
    }

    /// The library with these alone.
    pub(super) fn provider(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        let mut provider = aws_lc_rs::default_provider();
        let (newer, older): (Vec<_>, Vec<_>) = std::mem::take(&mut provider.cipher_suites)
            .into_iter()
            .partition(|suite| suite.tls13().is_some());
        let newer = match &self.suites {
            Some(names) => of_names(names, &newer),
            None => newer,
        };
        let older = match &self.ciphers {
            Some(words) => chosen(words, &older),
            None => older,
        };
        if newer.is_empty() && self.suites.is_some() {
            return Err(TlsError::NoneLeft("ciphersuites"));
        }
        if older.is_empty() && self.ciphers.is_some() {
            return Err(TlsError::NoneLeft("ciphers"));
        }
        provider.cipher_suites = newer.into_iter().chain(older).collect();
        if let Some(names) = &self.curves {
            let groups: Vec<_> = names.iter().filter_map(|name| group(name)).collect();
            if groups.is_empty() {
                return Err(TlsError::NoneLeft("curves"));
            }
            provider.kx_groups = groups;
        }
        Ok(Arc::new(provider))
    }

    /// What of it there is nothing for.
    pub fn remarks(&self) -> Vec<Remark> {
        let found = [
            ("ciphers", &self.ciphers),
            ("ciphersuites", &self.suites),
            ("curves", &self.curves),
        ];
        let told = found.into_iter().filter_map(|(key, list)| {
            let names = list.iter().flatten().filter(|name| !is_known(key, name));
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            (!names.is_empty()).then(|| Remark {
                message: format!(
                    "`{key}` names what there is not in lb: {}",
                    names.join(", ")
                ),
                mend: "it is left out; all that is left is sound".into(),
            })
        });
        told.collect()
    }
}

/// The names in a list as OpenSSL reads it.
pub fn names(list: &str) -> impl Iterator<Item = &str> {
    let names = list.split([':', ',', ';', ' ']);
    names.filter(|name| !name.is_empty())
}

/// Whether `name` in a list of this key means something that there is.
pub fn is_known(key: &str, name: &str) -> bool {
    let provider = aws_lc_rs::default_provider();
    let mut all = provider.cipher_suites.iter();
    match key {
        "curves" => group(name).is_some(),
        "ciphersuites" => all.any(|suite| suite.tls13().is_some() && name_of(suite) == name),
        _ => {
            let older: Vec<_> = all
                .filter(|suite| suite.tls13().is_none())
                .copied()
                .collect();
            name.starts_with(['!', '-', '+', '@']) || matches(name, &older).next().is_some()
        }
    }
}

fn name_of(suite: &SupportedCipherSuite) -> &'static str {
    openssl_name(suite.suite())
}

fn of_names(names: &[String], all: &[SupportedCipherSuite]) -> Vec<SupportedCipherSuite> {
    let found = names.iter().filter_map(|name| {
        let mut all = all.iter();
        all.find(|suite| name_of(suite) == name).copied()
    });
    found.collect()
}

fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    let known = CURVES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    let number = known?.1;
    let all = aws_lc_rs::ALL_KX_GROUPS.iter();
    all.copied().find(|group| u16::from(group.name()) == number)
}

/// OpenSSL's cipher list format: words add, `!` takes out for good, `-` takes out, `+` moves to the end.
fn chosen(words: &[String], all: &[SupportedCipherSuite]) -> Vec<SupportedCipherSuite> {
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    let mut never: Vec<CipherSuite> = Vec::new();
    for word in words {
        let (sign, word) = match word.chars().next() {
            Some(sign @ ('!' | '-' | '+')) => (sign, &word[1..]),
            // Levels and orders of strength: all there are have one.
            Some('@') | None => continue,
            Some(_) => (' ', word.as_str()),
        };
        let of_word: Vec<_> = matches(word, all).collect();
        let is = |suite: &SupportedCipherSuite| of_word.iter().any(|s| s.suite() == suite.suite());
        match sign {
            '!' | '-' => {
                chosen.retain(|suite| !is(suite));
                if sign == '!' {
                    never.extend(of_word.iter().map(|suite| suite.suite()));
                }
            }
            '+' => {
                let (moved, rest): (Vec<_>, Vec<_>) = chosen.iter().copied().partition(is);
                chosen = rest.into_iter().chain(moved).collect();
            }
            _ => {
                for suite in of_word {
                    let known = chosen.iter().any(|s| s.suite() == suite.suite());
                    if !known && !never.contains(&suite.suite()) {
                        chosen.push(suite);
                    }
                }
            }
        }
    }
    chosen
}

/// Those that a word means: a suite's name, or properties joined by `+`.
fn matches<'a>(
    word: &'a str,
    all: &'a [SupportedCipherSuite],
) -> impl Iterator<Item = SupportedCipherSuite> + 'a {
    let is = move |suite: &&SupportedCipherSuite| {
        let name = name_of(suite);
        name == word || word.split('+').all(|property| has(name, property))
    };
    all.iter().filter(is).copied()
}

/// Whether a suite of TLS 1.2 has a property, by OpenSSL's words for those.
fn has(name: &str, property: &str) -> bool {
    let contains = |part: &str| name.contains(part);
    // As in `DEFAULT@SECLEVEL=1`: all that there are suffice.
    match property.split('@').next().unwrap_or(property) {
        "ALL" | "DEFAULT" | "HIGH" | "TLSv1.2" | "PROFILE=SYSTEM" | "ECDH" | "ECDHE" | "EECDH"
        | "kECDHE" | "kEECDH" | "AEAD" => true,
        "aECDSA" | "ECDSA" => contains("-ECDSA-"),
        "aRSA" => contains("-RSA-"),
        "AES" => contains("AES"),
        "AES128" | "AES256" => contains(property),
        "AESGCM" => contains("GCM"),
        "CHACHA20" => contains(property),
        "SHA256" => contains("SHA256") || contains("CHACHA20"),
        "SHA384" => contains(property),
        "FIPS" => contains("GCM"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ciphers: &str) -> Vec<&'static str> {
        let policy = Policy {
            ciphers: Some(super::names(ciphers).map(str::to_owned).collect()),
            ..Policy::default()
        };
        let provider = policy.provider().unwrap();
        let suites = provider.cipher_suites.iter();
        suites
            .filter(|suite| suite.tls13().is_none())
            .map(name_of)
            .collect()
    }

    #[test]
    fn ciphers_are_read_as_openssl_reads_them() {
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256,:ECDHE-RSA-AES128-SHA"),
            ["ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(
            names("ECDHE+AESGCM:!ECDSA:+AES256"),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        // What Debian and Red Hat have shipped.
        for shipped in [
            "ECDH+AESGCM:DH+AESGCM:ECDH+AES256:!aNULL",
            "PROFILE=SYSTEM",
            "DEFAULT@SECLEVEL=1",
        ] {
            assert!(names(shipped).len() >= 4, "{shipped}");
        }
        assert_eq!(
            names("HIGH:-AES:!aRSA:ALL:@STRENGTH"),
            [
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-AES128-GCM-SHA256"
            ]
        );
        let none = Policy {
            ciphers: Some(vec!["kRSA".to_owned()]),
            ..Policy::default()
        };
        assert_eq!(none.provider().unwrap_err(), TlsError::NoneLeft("ciphers"));
        assert_eq!(none.remarks().len(), 1);
    }

    #[test]
    fn curves_and_suites_are_those_that_there_are() {
        let list = |text: &str| Some(text.split(':').map(str::to_owned).collect());
        let policy = Policy {
            ciphers: None,
            suites: list("TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256"),
            curves: list("P-521:secp384r1:x25519"),
        };
        let provider = policy.provider().unwrap();
        let groups: Vec<u16> = provider.kx_groups.iter().map(|g| g.name().into()).collect();
        assert_eq!(groups, [0x18, 0x1d]);
        assert_eq!(
            name_of(&provider.cipher_suites[0]),
            "TLS_AES_128_GCM_SHA256"
        );
        let said: Vec<String> = policy.remarks().into_iter().map(|r| r.message).collect();
        assert_eq!(
            said,
            [
                "`ciphersuites` names what there is not in lb: `TLS_AES_128_CCM_SHA256`",
                "`curves` names what there is not in lb: `P-521`"
            ]
        );
    }
}
