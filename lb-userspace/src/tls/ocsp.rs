//! OCSP responses (RFC 6960, section 4.2) that are to be stapled: what in them tells whether a client could use one.
//!
//! Who signed one is the client's to look at, and HAProxy's neither.

use aws_lc_rs::digest::{self, Algorithm};
use rustls::pki_types::CertificateDer;
use x509_parser::{
    asn1_rs::{Any, Class, Tag},
    der_parser::oid,
    prelude::{FromDer, X509Certificate},
    time::ASN1Time,
};

/// What OCSPResponseStatus says that is not `successful`.
const FAILURES: &[(u8, &str)] = &[
    (1, "malformedRequest"),
    (2, "internalError"),
    (3, "tryLater"),
    (5, "sigRequired"),
    (6, "unauthorized"),
];

/// Until when `response` may be stapled to a chain, in seconds since 1970.
///
/// # Errors
/// Why it may not be at `now`.
pub(super) fn holds_until(
    response: &[u8],
    chain: &[CertificateDer<'_>],
    now: i64,
) -> Result<i64, String> {
    let parsed = parse(response).ok_or("it is no OCSP response in DER")?;
    let singles = parsed?;
    let leaf = chain.first().and_then(certificate);
    let leaf = leaf.ok_or("its certificate cannot be read")?;
    let issuer = chain.get(1).and_then(certificate);
    let issuer = issuer.filter(|issuer| issuer.subject() == leaf.issuer());
    let mut of_leaf = singles
        .iter()
        .filter(|one| one.is_about(&leaf, issuer.as_ref()));
    let Some(one) = of_leaf.next() else {
        return Err("it is about another certificate".to_owned());
    };
    if one.status == UNKNOWN {
        return Err("it says that the CA does not know the certificate".to_owned());
    }
    let until = one.until.ok_or("it does not say until when it holds")?;
    match until.timestamp() {
        until if until <= now => Err("it holds no longer".to_owned()),
        until => Ok(until),
    }
}

/// Whether it is one at all.
pub(super) fn is_response(response: &[u8]) -> bool {
    parse(response).is_some()
}

/// The tag of CertStatus' `unknown`.
const UNKNOWN: u32 = 2;

/// What a response says of one certificate.
struct Single<'a> {
    hash: Option<&'static Algorithm>,
    name_hash: &'a [u8],
    key_hash: &'a [u8],
    serial: &'a [u8],
    status: u32,
    until: Option<ASN1Time>,
}

impl Single<'_> {
    fn is_about(&self, leaf: &X509Certificate<'_>, issuer: Option<&X509Certificate<'_>>) -> bool {
        let is_hash = |of: &[u8], hash: &[u8]| match self.hash {
            Some(algorithm) => digest::digest(algorithm, of).as_ref() == hash,
            // By one that is not known here: the number has to do.
            None => true,
        };
        let key = issuer.map(|issuer| &issuer.public_key().subject_public_key.data);
        self.serial == leaf.raw_serial()
            && is_hash(leaf.issuer().as_raw(), self.name_hash)
            && key.is_none_or(|key| is_hash(key, self.key_hash))
    }
}

fn certificate<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    Some(X509Certificate::from_der(der).ok()?.1)
}

/// What it says; `None` if it is none, an error if it says that it has nothing to say.
fn parse(response: &[u8]) -> Option<Result<Vec<Single<'_>>, String>> {
    let mut outer = Der(response);
    let mut whole = outer.sequence()?;
    let status = whole.take(Tag::Enumerated)?;
    if status != [0] {
        let name = FAILURES.iter().find(|(number, _)| status == [*number]);
        let name = name.map_or("an unknown error", |(_, name)| name);
        return Some(Err(format!("it says nothing but `{name}`")));
    }
    let mut bytes = whole.tagged(0)?.sequence()?;
    let basic = oid!(1.3.6.1.5.5.7.48.1.1);
    if !outer.0.is_empty() || bytes.take(Tag::Oid)? != basic.as_bytes() {
        return None;
    }
    let mut data = Der(bytes.take(Tag::OctetString)?).sequence()?.sequence()?;
    // The version, if it is said.
    let _ = data.tagged(0);
    // Who answers, by name or by key, and when.
    data.any()?;
    data.take(Tag::GeneralizedTime)?;
    let mut each = data.sequence()?;
    let mut singles = Vec::new();
    while !each.0.is_empty() {
        singles.push(single(each.sequence()?)?);
    }
    Some(Ok(singles))
}

fn single(mut of: Der<'_>) -> Option<Single<'_>> {
    let mut id = of.sequence()?;
    let algorithm = id.sequence()?.take(Tag::Oid)?;
    let known = [
        (oid!(1.3.14.3.2.26), &digest::SHA1_FOR_LEGACY_USE_ONLY),
        (oid!(2.16.840.1.101.3.4.2.1), &digest::SHA256),
    ];
    let hash = known.iter().find(|(oid, _)| oid.as_bytes() == algorithm);
    let hash = hash.map(|(_, algorithm)| *algorithm);
    let name_hash = id.take(Tag::OctetString)?;
    let key_hash = id.take(Tag::OctetString)?;
    let serial = id.take(Tag::Integer)?;
    let status = of.any()?.header.tag().0;
    of.take(Tag::GeneralizedTime)?;
    let until = match of.tagged(0) {
        Some(next) => Some(ASN1Time::from_der(next.0).ok()?.1),
        None => None,
    };
    Some(Single {
        hash,
        name_hash,
        key_hash,
        serial,
        status,
        until,
    })
}

/// Elements one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn any(&mut self) -> Option<Any<'a>> {
        let (rest, any) = Any::from_der(self.0).ok()?;
        self.0 = rest;
        Some(any)
    }

    /// What is in the next one, which is of this kind.
    fn take(&mut self, tag: Tag) -> Option<&'a [u8]> {
        let any = self.any()?;
        let is_one = any.header.class() == Class::Universal && any.header.tag() == tag;
        is_one.then_some(any.data)
    }

    fn sequence(&mut self) -> Option<Self> {
        self.take(Tag::Sequence).map(Self)
    }

    /// What is in the next one, if it is the optional one of this number.
    fn tagged(&mut self, number: u32) -> Option<Self> {
        let (rest, any) = Any::from_der(self.0).ok()?;
        let is_one = any.header.class() == Class::ContextSpecific && any.header.tag().0 == number;
        is_one.then(|| {
            self.0 = rest;
            Self(any.data)
        })
    }
}
