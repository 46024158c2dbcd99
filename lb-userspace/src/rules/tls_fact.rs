//! What rules may ask of TLS and of certificates.

/// What may be asked of the client's TLS, and of the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFact {
    /// `ssl_fc`: whether there is TLS.
    Used,
    /// `ssl_fc_sni`.
    Sni,
    /// `ssl_fc_protocol`: `TLSv1.3`.
    Protocol,
    /// `ssl_fc_cipher`.
    Cipher,
    /// `ssl_fc_has_sni`.
    HasSni,
    /// `ssl_fc_alpn`.
    Alpn,
    /// `ssl_fc_has_crt`, `ssl_c_used`: whether the client has shown a certificate.
    CertificateUsed,
    /// `ssl_c_verify`: OpenSSL's number of the last error that was passed over; 0 if there was none.
    Verify,
    /// `ssl_c_err`: the first error of the certificate itself.
    Error,
    /// `ssl_c_ca_err`: the first error of a CA's.
    AuthorityError,
    /// `ssl_c_ca_err_depth`: how far up that was.
    AuthorityDepth,
    /// `ssl_fc_alg_keysize`, `ssl_fc_use_keysize`.
    KeySize,
    /// `ssl_c_…`, `ssl_f_…`: of a certificate.
    Of(Whose, CertificatePart),
    /// `ssl_fc_is_resumed`: whether it goes on from an earlier handshake.
    Resumed,
}

/// A certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The client's.
    Client,
    /// Ours, which the client has got.
    Ours,
    /// The server's.
    Server,
}

/// What may be asked of one, by what follows `ssl_c_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificatePart {
    /// `s_dn`.
    Subject,
    /// `i_dn`.
    Issuer,
    /// `sha1`.
    Sha1,
    /// `sha256`.
    Sha256,
    /// `serial`.
    Serial,
    /// `notbefore`.
    NotBefore,
    /// `notafter`.
    NotAfter,
    /// `der`.
    Der,
    /// `chain_der`.
    Chain,
    /// `key_alg`.
    KeyKind,
    /// `sig_alg`.
    SignatureKind,
    /// `version`.
    Version,
}

impl CertificatePart {
    /// By its name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "serial" => Self::Serial,
            "notbefore" => Self::NotBefore,
            "notafter" => Self::NotAfter,
            "der" => Self::Der,
            "chain_der" => Self::Chain,
            "key_alg" => Self::KeyKind,
            "sig_alg" => Self::SignatureKind,
            "version" => Self::Version,
            _ => return None,
        })
    }

    /// Whether it is bytes.
    pub(super) fn is_bytes(self) -> bool {
        matches!(
            self,
            Self::Sha1 | Self::Sha256 | Self::Serial | Self::Der | Self::Chain
        )
    }
}
