//! What is wrong with a client's certificate, in OpenSSL's numbers: for those who want to take one all the same, and for the
//! log. webpki says whether a chain is good; this says in which ways one is not that it has refused, in the order in which
//! OpenSSL would meet them (its `X509_verify_cert`).

use rustls::{
    CertificateError, Error as LibraryError,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
};
use x509_parser::{
    extensions::ExtendedKeyUsage,
    oid_registry::Oid,
    prelude::{FromDer, X509Certificate},
    x509::SubjectPublicKeyInfo,
};

use super::revocation::List;

/// No chain is longer.
const MOST: usize = 20;

// OpenSSL's `X509_V_ERR_…`.
const UNSPECIFIED: u8 = 1;
const NO_ISSUER: u8 = 2;
const NO_CRL: u8 = 3;
const BAD_SIGNATURE: u8 = 7;
const BAD_CRL_SIGNATURE: u8 = 8;
const NOT_YET_VALID: u8 = 9;
const EXPIRED: u8 = 10;
const CRL_NOT_YET_VALID: u8 = 11;
const CRL_EXPIRED: u8 = 12;
const SELF_SIGNED: u8 = 18;
const SELF_SIGNED_IN_CHAIN: u8 = 19;
const NO_ISSUER_LOCALLY: u8 = 20;
const NO_LEAF_SIGNATURE: u8 = 21;
const REVOKED: u8 = 23;
const INVALID_CA: u8 = 24;
const PATH_TOO_LONG: u8 = 25;
const INVALID_PURPOSE: u8 = 26;
const NO_CRL_SIGN: u8 = 35;

/// Names of the errors that there are, without `X509_V_ERR_`.
const NAMES: &[(&str, u8)] = &[
    ("UNSPECIFIED", UNSPECIFIED),
    ("UNABLE_TO_GET_ISSUER_CERT", NO_ISSUER),
    ("UNABLE_TO_GET_CRL", NO_CRL),
    ("CERT_SIGNATURE_FAILURE", BAD_SIGNATURE),
    ("CRL_SIGNATURE_FAILURE", BAD_CRL_SIGNATURE),
    ("CERT_NOT_YET_VALID", NOT_YET_VALID),
    ("CERT_HAS_EXPIRED", EXPIRED),
    ("CRL_NOT_YET_VALID", CRL_NOT_YET_VALID),
    ("CRL_HAS_EXPIRED", CRL_EXPIRED),
    ("DEPTH_ZERO_SELF_SIGNED_CERT", SELF_SIGNED),
    ("SELF_SIGNED_CERT_IN_CHAIN", SELF_SIGNED_IN_CHAIN),
    ("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", NO_ISSUER_LOCALLY),
    ("UNABLE_TO_VERIFY_LEAF_SIGNATURE", NO_LEAF_SIGNATURE),
    ("CERT_REVOKED", REVOKED),
    ("INVALID_CA", INVALID_CA),
    ("PATH_LENGTH_EXCEEDED", PATH_TOO_LONG),
    ("INVALID_PURPOSE", INVALID_PURPOSE),
    ("KEYUSAGE_NO_CRL_SIGN", NO_CRL_SIGN),
];

/// Errors that are passed over: a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ignored(u64);

impl Ignored {
    /// All that there are.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// With one more: a number from 1 to 63, or OpenSSL's name, with `X509_V_ERR_` or without. Whether it is one.
    pub fn add(&mut self, error: &str) -> bool {
        let name = error.strip_prefix("X509_V_ERR_").unwrap_or(error);
        let named = NAMES.iter().find(|(known, _)| *known == name);
        let number = named.map_or_else(|| name.parse().ok(), |(_, number)| Some(*number));
        match number {
            Some(number @ 1..=63) => self.0 |= 1 << number,
            _ => return false,
        }
        true
    }

    fn has(self, error: u8) -> bool {
        error < 64 && self.0 & (1 << error) != 0
    }
}

/// What was wrong with a certificate that was taken all the same; zeros if nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The first error of the certificate itself, as HAProxy's `ssl_c_err`.
    pub certificate: u8,
    /// The first error of a CA's, as `ssl_c_ca_err`.
    pub authority: u8,
    /// How far up that was, as `ssl_c_ca_err_depth`.
    pub depth: u8,
    /// The last error, as `ssl_c_verify`.
    pub last: u8,
}

/// An error and where it is: at the certificate itself (0), or so many CAs up.
pub(super) type Found = (u8, u8);

impl Verdict {
    pub(super) fn of(found: &[Found]) -> Self {
        let first = |of_leaf: bool| {
            let mut found = found.iter();
            found.find(|(depth, _)| (*depth == 0) == of_leaf)
        };
        Self {
            certificate: first(true).map_or(0, |(_, error)| *error),
            authority: first(false).map_or(0, |(_, error)| *error),
            depth: first(false).map_or(0, |(depth, _)| *depth),
            last: found.last().map_or(0, |(_, error)| *error),
        }
    }
}

/// Whether each of what was found may be passed over: errors of certificates, and of CAs.
pub(super) fn is_ignored(found: &[Found], certificate: Ignored, authority: Ignored) -> bool {
    !found.is_empty()
        && found.iter().all(|(depth, error)| match depth {
            0 => certificate.has(*error),
            _ => authority.has(*error),
        })
}

/// Whom a chain is looked at by.
pub(super) struct Judge<'a> {
    pub(super) trusted: &'a [CertificateDer<'static>],
    pub(super) revoked: &'a [List],
    pub(super) provider: &'a CryptoProvider,
    pub(super) now: UnixTime,
    pub(super) of: Side,
}

/// Whose chain it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

struct Chain<'a> {
    all: Vec<X509Certificate<'a>>,
    /// How many of them the client has sent.
    sent: usize,
    /// Its end is trusted.
    anchored: bool,
}

impl Judge<'_> {
    /// Whether a chain that webpki has found good is so by the lists too, and all the way that these were looked up by.
    pub(super) fn by_lists(&self, sent: &[CertificateDer<'_>]) -> Result<(), LibraryError> {
        let found = self.looked_for(sent).ok_or(CertificateError::BadEncoding)?;
        let has = |wanted: u8| found.iter().any(|(_, error)| *error == wanted);
        Err(match () {
            () if found.is_empty() => return Ok(()),
            () if has(REVOKED) => CertificateError::Revoked,
            () if has(CRL_EXPIRED) => CertificateError::ExpiredRevocationList,
            () => CertificateError::UnknownRevocationStatus,
        }
        .into())
    }

    /// What is wrong with a chain that was refused: never nothing.
    pub(super) fn found(&self, sent: &[CertificateDer<'_>]) -> Vec<Found> {
        let mut found = self.looked_for(sent).unwrap_or_default();
        if found.is_empty() {
            found.push((0, UNSPECIFIED));
        }
        found
    }

    fn looked_for(&self, sent: &[CertificateDer<'_>]) -> Option<Vec<Found>> {
        let chain = self.chain(sent)?;
        let mut found = Vec::new();
        let last = chain.all.len() - 1;
        let whole = is_self_issued(&chain.all[last]);
        if !chain.anchored {
            let error = match (whole, last) {
                (true, 0) => SELF_SIGNED,
                (true, _) => SELF_SIGNED_IN_CHAIN,
                (false, _) if chain.sent <= last => NO_ISSUER,
                (false, _) => NO_ISSUER_LOCALLY,
            };
            found.push((depth(last), error));
        }
        for (at, certificate) in chain.all.iter().enumerate() {
            uses(certificate, at, self.of, &mut found);
        }
        if !self.revoked.is_empty() {
            for (at, certificate) in chain.all.iter().enumerate() {
                self.revocation(certificate, at, chain.all.get(at + 1), &mut found);
            }
        }
        // From the top down, as far as there is somebody to have signed it.
        let mut above = last + usize::from(whole);
        if !whole && last == 0 {
            found.push((0, NO_LEAF_SIGNATURE));
            above = 1;
        }
        while above > 0 {
            let at = above - 1;
            let certificate = &chain.all[at];
            if let Some(issuer) = chain.all.get(above)
                && !self.has_signed(issuer, certificate)
            {
                found.push((depth(at), BAD_SIGNATURE));
            }
            let validity = certificate.validity();
            if self.seconds() < validity.not_before.timestamp() {
                found.push((depth(at), NOT_YET_VALID));
            } else if self.seconds() > validity.not_after.timestamp() {
                found.push((depth(at), EXPIRED));
            }
            above -= 1;
        }
        Some(found)
    }

    /// From the client's certificate up, by those who are trusted sooner than by what it has sent.
    fn chain<'a>(&'a self, sent: &'a [CertificateDer<'_>]) -> Option<Chain<'a>> {
        let parse = |der: &'a CertificateDer<'_>| {
            let (_, parsed) = X509Certificate::from_der(der).ok()?;
            Some(parsed)
        };
        let trusted: Vec<_> = self.trusted.iter().filter_map(parse).collect();
        let mut sent = sent.iter().filter_map(parse);
        let mut chain = Chain {
            all: vec![sent.next()?],
            sent: 1,
            anchored: false,
        };
        let mut rest: Vec<_> = sent.collect();
        while let Some(last) = chain.all.last()
            && chain.all.len() < MOST
        {
            let issues =
                |other: &X509Certificate<'_>| other.subject().as_raw() == last.issuer().as_raw();
            // A CA with a new key has the name of the one before.
            let is_by = |other: &&X509Certificate<'_>| self.has_signed(other, last);
            let named: Vec<_> = trusted.iter().filter(|other| issues(other)).collect();
            let of_several = || named.iter().copied().find(is_by);
            let anchor = match named.as_slice() {
                [] => None,
                [only] => Some(*only),
                [first, ..] => of_several().or(Some(*first)),
            };
            if let Some(anchor) = anchor {
                chain.anchored = is_self_issued(anchor);
                let itself = anchor.as_raw() == last.as_raw();
                if !itself && is_self_issued(last) {
                    // Another of the same name.
                    chain.anchored = false;
                    break;
                }
                if !itself {
                    chain.all.push(anchor.clone());
                }
                if chain.anchored || itself {
                    break;
                }
                continue;
            }
            if is_self_issued(last) {
                break;
            }
            match rest.iter().position(issues) {
                Some(at) => {
                    chain.all.push(rest.remove(at));
                    chain.sent = chain.all.len();
                }
                None => break,
            }
        }
        Some(chain)
    }

    fn revocation(
        &self,
        certificate: &X509Certificate<'_>,
        at: usize,
        issuer: Option<&X509Certificate<'_>>,
        found: &mut Vec<Found>,
    ) {
        let name = certificate.issuer().as_raw();
        let of_issuer = self.revoked.iter().filter(|list| list.issuer == name);
        let lists: Vec<&List> = of_issuer.collect();
        let issuer = issuer.unwrap_or(certificate);
        // A CA with a new key has the name of the one before: one of its lists has to be good.
        let mut why = vec![NO_CRL];
        for list in &lists {
            why = self.wrong_with(list, issuer);
            if why.is_empty() {
                break;
            }
        }
        if lists
            .iter()
            .any(|list| list.serials.contains(certificate.raw_serial()))
        {
            why.push(REVOKED);
        }
        found.extend(why.into_iter().map(|error| (depth(at), error)));
    }

    /// Of a list that is to be `issuer`'s.
    fn wrong_with(&self, list: &List, issuer: &X509Certificate<'_>) -> Vec<u8> {
        let mut why = Vec::new();
        let usage = issuer.key_usage().ok().flatten();
        if usage.is_some_and(|usage| !usage.value.crl_sign()) {
            why.push(NO_CRL_SIGN);
        }
        if list.written > self.seconds() {
            why.push(CRL_NOT_YET_VALID);
        }
        if list.next.is_some_and(|next| next < self.seconds()) {
            why.push(CRL_EXPIRED);
        }
        let key = issuer.public_key();
        if !self.is_signed(&list.signed, &list.algorithm, &list.signature, key) {
            why.push(BAD_CRL_SIGNATURE);
        }
        why
    }

    fn has_signed(&self, issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
        self.is_signed(
            certificate.tbs_certificate.as_ref(),
            &certificate.signature_algorithm.algorithm,
            &certificate.signature_value.data,
            issuer.public_key(),
        )
    }

    fn is_signed(
        &self,
        message: &[u8],
        signature_algorithm: &Oid<'_>,
        signature: &[u8],
        key: &SubjectPublicKeyInfo<'_>,
    ) -> bool {
        let known = self.provider.signature_verification_algorithms.all;
        let is = |der: &[u8], algorithm: &Oid<'_>| {
            // Object identifier and parameters, without what is around them.
            let parsed = x509_parser::der_parser::parse_der(der)
                .map(|(_, oid)| oid)
                .ok()
                .and_then(|oid| oid.as_oid().ok().cloned());
            parsed.is_some_and(|oid| oid == *algorithm)
        };
        let curve = key
            .algorithm
            .parameters
            .as_ref()
            .and_then(|any| any.as_oid().ok());
        let of_curve = |der: &[u8]| match &curve {
            None => true,
            Some(curve) => der
                .windows(curve.as_bytes().len())
                .any(|window| window == curve.as_bytes()),
        };
        known.iter().any(|algorithm| {
            is(&algorithm.signature_alg_id(), signature_algorithm)
                && is(&algorithm.public_key_alg_id(), &key.algorithm.algorithm)
                && of_curve(&algorithm.public_key_alg_id())
                && algorithm
                    .verify_signature(&key.subject_public_key.data, message, signature)
                    .is_ok()
        })
    }

    fn seconds(&self) -> i64 {
        i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX)
    }
}

/// What a certificate is for.
fn uses(certificate: &X509Certificate<'_>, at: usize, of: Side, found: &mut Vec<Found>) {
    if at == 0 {
        let usage = certificate.extended_key_usage().ok().flatten();
        let is_for = |usage: &ExtendedKeyUsage<'_>| match of {
            Side::Client => usage.client_auth,
            Side::Server => usage.server_auth,
        };
        if usage.is_some_and(|usage| !is_for(usage.value) && !usage.value.any) {
            found.push((0, INVALID_PURPOSE));
        }
        return;
    }
    let basic = certificate.basic_constraints().ok().flatten();
    if !basic.as_ref().is_some_and(|basic| basic.value.ca) {
        found.push((depth(at), INVALID_CA));
    }
    let most = basic.and_then(|basic| basic.value.path_len_constraint);
    if most.is_some_and(|most| usize::try_from(most).is_ok_and(|most| at > most + 1)) {
        found.push((depth(at), PATH_TOO_LONG));
    }
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

fn depth(at: usize) -> u8 {
    u8::try_from(at).unwrap_or(u8::MAX)
}
