//! What a PROXY header tells.

/// `proxy_v2_options`: what a header of version 2 tells besides the ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProxyOptions {
    /// Whether the client came by TLS, of which version, and whether it has shown a certificate.
    pub ssl: bool,
    /// The name in the certificate.
    pub cert_cn: bool,
    /// The cipher suite.
    pub ssl_cipher: bool,
    /// Kind and length of the key of our certificate.
    pub cert_key: bool,
    /// What that is signed by.
    pub cert_sig: bool,
    /// The name that the client's TLS asked for.
    pub authority: bool,
    /// A checksum.
    pub crc32c: bool,
    /// The request's unique id.
    pub unique_id: bool,
}
