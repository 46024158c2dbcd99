//! What is known of a TLS connection once its handshake is done: for rules, headers and the log.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::{
    CommonState, HandshakeKind, ProtocolVersion, ServerConnection, pki_types::CertificateDer,
};
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    public_key::PublicKey,
    x509::AlgorithmIdentifier,
};

use super::{
    certificate::{distinguished_name, parts},
    verdict::Verdict,
};

/// A client's TLS connection, or one to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The name that the client asked for, lower-case; not known of one to a server.
    pub server_name: Option<Box<str>>,
    /// `TLSv1.2` or `TLSv1.3`, as HAProxy's `ssl_fc_protocol`.
    pub version: &'static str,
    /// OpenSSL's name of the cipher suite, as HAProxy's `ssl_fc_cipher`.
    pub cipher: &'static str,
    /// The protocol that both have agreed on, as HAProxy's `ssl_fc_alpn`.
    pub alpn: Option<Box<[u8]>>,
    /// Whether it goes on from an earlier one, as HAProxy's `ssl_fc_is_resumed`.
    pub resumed: bool,
    /// The certificate of the other end, the client or the server, if it has shown one.
    pub peer: Option<Box<ClientCertificate>>,
    /// What was wrong with that and was passed over.
    pub verdict: Verdict,
    /// The certificate that it was served with, of which the same is known.
    pub ours: Option<Arc<ClientCertificate>>,
}

/// What is known of a certificate: a client's that was verified, a server's, or one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCertificate {
    /// Its subject as HAProxy's `ssl_c_s_dn` writes it: `/C=FR/O=Example/CN=client`.
    pub subject: String,
    /// Its issuer, likewise.
    pub issuer: String,
    /// The parts of the subject by their names, and of the issuer.
    pub parts: [Vec<(String, String)>; 2],
    /// From when on it is good, as HAProxy's `ssl_c_notbefore`: `261127064109Z`.
    pub not_before: Option<String>,
    /// Until when.
    pub not_after: Option<String>,
    /// Its serial number in upper-case hexadecimal digits.
    pub serial: String,
    /// Its SHA-1, as HAProxy's `ssl_c_sha1,hex`: a name for it, no proof.
    pub sha1: String,
    /// Its SHA-256, likewise.
    pub sha256: String,
    /// All of it, as HAProxy's `ssl_c_der`.
    pub der: Vec<u8>,
    /// Those that came along, as HAProxy's `ssl_c_chain_der`.
    pub chain: Vec<u8>,
    /// The kind of its key, by OpenSSL's name, as HAProxy's `ssl_c_key_alg`.
    pub key_kind: String,
    /// What it is signed by, likewise, as HAProxy's `ssl_c_sig_alg`: `ecdsa-with-SHA256`.
    pub signature_kind: String,
    /// Kind and length of its key, as PROXY headers have it: `RSA2048`.
    pub key: String,
    /// Its version, as HAProxy's `ssl_c_version`.
    pub version: u32,
}

impl Session {
    /// The length of the key that is used, as HAProxy's `ssl_fc_use_keysize`.
    pub fn key_size(&self) -> i64 {
        match self.cipher.contains("128") {
            true => 128,
            false => 256,
        }
    }

    /// Of a connection whose handshake is done.
    pub(super) fn of(
        connection: &ServerConnection,
        verdict: Verdict,
        ours: Option<Arc<ClientCertificate>>,
    ) -> Self {
        let session = Self::with(connection);
        let last = verdict.last;
        Self {
            // As HAProxy, which looks at no certificate again: the result alone goes with a session.
            verdict: match session.resumed {
                true => Verdict {
                    last,
                    ..Verdict::default()
                },
                false => verdict,
            },
            ours,
            server_name: connection
                .server_name()
                .map(|name| name.to_ascii_lowercase().into()),
            ..session
        }
    }

    /// What either end knows of it once its handshake is done.
    pub fn with(connection: &CommonState) -> Self {
        let chain = connection.peer_certificates().unwrap_or_default();
        Self {
            server_name: None,
            verdict: Verdict::default(),
            ours: None,
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .map_or("", |suite| openssl_name(suite.suite())),
            alpn: connection.alpn_protocol().map(Into::into),
            resumed: matches!(connection.handshake_kind(), Some(HandshakeKind::Resumed)),
            peer: ClientCertificate::read(chain).map(Box::new),
        }
    }
}

impl ClientCertificate {
    /// Of the first of these.
    pub(super) fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (der, rest) = chain.split_first()?;
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            der: der.to_vec(),
            chain: rest.iter().flat_map(|der| der.iter().copied()).collect(),
            key_kind: kind(&parsed.public_key().algorithm),
            signature_kind: kind(&parsed.signature_algorithm),
            key: key(&parsed),
            version: parsed.version().0 + 1,
            subject: distinguished_name(parsed.subject()),
            issuer: distinguished_name(parsed.issuer()),
            parts: [parts(parsed.subject()), parts(parsed.issuer())],
            not_before: utc(parsed.validity().not_before),
            not_after: utc(parsed.validity().not_after),
            serial: hex(parsed.raw_serial()),
            sha1: hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            sha256: hex(digest::digest(&digest::SHA256, der).as_ref()),
        })
    }
}

#[cfg(test)]
impl ClientCertificate {
    /// One of which only a name is known.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            subject: format!("/CN={name}"),
            parts: [vec![("CN".to_owned(), name.to_owned())], Vec::new()],
            ..Self::default()
        }
    }
}

impl ClientCertificate {
    /// A part of the subject, or of the issuer, by its name in any case: the first is 1, the last -1.
    pub fn part(&self, issuer: bool, name: &str, which: i64) -> Option<&str> {
        let parts = &self.parts[usize::from(issuer)];
        let mut found = parts
            .iter()
            .filter(|(of, _)| of.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str());
        let place = |n: i64| usize::try_from(n - 1).ok();
        match which {
            1.. => found.nth(place(which)?),
            _ => found.rev().nth(place(which.checked_neg()?)?),
        }
    }
}

/// With two digits of the year; as HAProxy has it, times of other centuries are none.
fn utc(time: x509_parser::time::ASN1Time) -> Option<String> {
    let time = time.to_datetime();
    (2000..2100).contains(&time.year()).then(|| {
        format!(
            "{:02}{:02}{:02}{:02}{:02}{:02}Z",
            time.year() % 100,
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    })
}

/// OpenSSL's short name of an algorithm, its number where it has none here.
pub(super) fn kind(algorithm: &AlgorithmIdentifier<'_>) -> String {
    let oid = algorithm.algorithm.to_id_string();
    let names = [
        ("1.2.840.113549.1.1.1", "rsaEncryption"),
        ("1.2.840.113549.1.1.5", "RSA-SHA1"),
        ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
        ("1.2.840.113549.1.1.11", "RSA-SHA256"),
        ("1.2.840.113549.1.1.12", "RSA-SHA384"),
        ("1.2.840.113549.1.1.13", "RSA-SHA512"),
        ("1.2.840.10045.2.1", "id-ecPublicKey"),
        ("1.2.840.10045.4.3.2", "ecdsa-with-SHA256"),
        ("1.2.840.10045.4.3.3", "ecdsa-with-SHA384"),
        ("1.2.840.10045.4.3.4", "ecdsa-with-SHA512"),
        ("1.3.101.112", "ED25519"),
    ];
    let name = names.iter().find(|(known, _)| *known == oid);
    name.map_or(oid, |(_, name)| (*name).to_owned())
}

/// `RSA2048`, `EC256`
pub(super) fn key(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA{}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("EC{}", point.key_size()),
        _ => String::new(),
    }
}

/// In capital letters, as openssl does.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

pub(super) fn openssl_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as S;
    match suite {
        S::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        S::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        S::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        other => other.as_str().unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_openssls_and_of_this_century() {
        let at = |seconds| utc(x509_parser::time::ASN1Time::from_timestamp(seconds).unwrap());
        assert_eq!(at(1_795_758_069).as_deref(), Some("261127054109Z"));
        assert_eq!(at(157_766_400), None);
    }

    #[test]
    fn parts_of_names_are_counted_from_both_ends() {
        let parts = [("O", "a"), ("CN", "b"), ("CN", "c")];
        let parts = parts.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let certificate = ClientCertificate {
            parts: [parts.to_vec(), Vec::new()],
            ..ClientCertificate::default()
        };
        let of = |name, which| certificate.part(false, name, which);
        assert_eq!(
            (of("cn", 1), of("CN", 2), of("CN", 3)),
            (Some("b"), Some("c"), None)
        );
        assert_eq!(
            (of("CN", -1), of("CN", -2), of("CN", -3)),
            (Some("c"), Some("b"), None)
        );
        assert_eq!(
            (of("O", 1), of("OU", 1), certificate.part(true, "O", 1)),
            (Some("a"), None, None)
        );
        assert_eq!(of("CN", i64::MIN), None);
    }
}
