//! What is known of a client's TLS connection once its handshake is done: for rules, headers and the log.

use aws_lc_rs::digest;
use rustls::{ProtocolVersion, ServerConnection};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::distinguished_name;

/// A client's TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The name that the client asked for, lower-case.
    pub server_name: Option<Box<str>>,
    /// `TLSv1.2` or `TLSv1.3`, as HAProxy's `ssl_fc_protocol`.
    pub version: &'static str,
    /// OpenSSL's name of the cipher suite, as HAProxy's `ssl_fc_cipher`.
    pub cipher: &'static str,
    /// The protocol that both have agreed on, as HAProxy's `ssl_fc_alpn`.
    pub alpn: Option<Box<[u8]>>,
    /// The client's certificate, if it has shown one.
    pub client: Option<Box<ClientCertificate>>,
}

/// A verified certificate of a client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject as HAProxy's `ssl_c_s_dn` writes it: `/C=FR/O=Example/CN=client`.
    pub subject: String,
    /// Its issuer, likewise.
    pub issuer: String,
    /// Its serial number in upper-case hexadecimal digits.
    pub serial: String,
    /// Its SHA-1, as HAProxy's `ssl_c_sha1,hex`: a name for it, no proof.
    pub sha1: String,
    /// Its SHA-256, likewise.
    pub sha256: String,
}

impl Session {
    /// Of a connection whose handshake is done.
    pub fn of(connection: &ServerConnection) -> Self {
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        Self {
            server_name: connection
                .server_name()
                .map(|name| name.to_ascii_lowercase().into()),
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .map_or("", |suite| openssl_name(suite.suite())),
            alpn: connection.alpn_protocol().map(Into::into),
            client: certificate
                .and_then(|der| ClientCertificate::read(der))
                .map(Box::new),
        }
    }
}

impl ClientCertificate {
    fn read(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            subject: distinguished_name(parsed.subject()),
            issuer: distinguished_name(parsed.issuer()),
            serial: hex(parsed.raw_serial()),
            sha1: hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            sha256: hex(digest::digest(&digest::SHA256, der).as_ref()),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn openssl_name(suite: rustls::CipherSuite) -> &'static str {
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
