//! Whose certificates are taken.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as LibraryError,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName as Name, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{
    certificate::validity,
    revocation::{List, Revocations},
    verdict::{Ignored, Judge, Side, Verdict, is_ignored},
};

/// Whose chain ends at a CA of the file, or who is in it.
///
/// A certificate that somebody has signed for himself is a CA's by its form, and webpki takes none of those for a
/// server. Such servers are many, and who names the very certificate means it.
#[derive(Debug)]
pub(super) struct Servers {
    chains: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
    any_name: bool,
    plain: Option<Plain>,
}

/// Lists of revoked certificates that webpki does not look at, and who is trusted.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) lists: Vec<List>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Servers {
    pub(super) fn new(
        chains: Arc<WebPkiServerVerifier>,
        pinned: Vec<CertificateDer<'static>>,
        any_name: bool,
        plain: Option<Plain>,
    ) -> Self {
        Self {
            chains,
            pinned,
            any_name,
            plain,
        }
    }

    /// What is left of `verified` where nobody asks for a name. webpki looks at that last, when all else is good.
    fn named(
        &self,
        verified: Result<ServerCertVerified, LibraryError>,
    ) -> Result<ServerCertVerified, LibraryError> {
        match verified {
            Err(LibraryError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &Name<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, LibraryError> {
        if !self.pinned.contains(certificate) {
            let verified = self
                .chains
                .verify_server_cert(certificate, between, name, ocsp, now);
            let verified = self.named(verified)?;
            if let Some(plain) = &self.plain {
                let judge = Judge {
                    trusted: &plain.trusted,
                    revoked: &plain.lists,
                    provider: &plain.provider,
                    now,
                    of: Side::Server,
                };
                judge.by_lists(&whole(certificate, between))?;
            }
            return Ok(verified);
        }
        in_date(certificate, now)?;
        let named = verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
        self.named(named.map(|()| ServerCertVerified::assertion()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, LibraryError> {
        self.chains
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, LibraryError> {
        self.chains
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

fn whole<'a>(
    certificate: &CertificateDer<'a>,
    between: &[CertificateDer<'a>],
) -> Vec<CertificateDer<'a>> {
    let mut chain = vec![certificate.clone()];
    chain.extend(between.iter().cloned());
    chain
}

fn in_date(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), LibraryError> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match validity(certificate) {
        Some((from, _)) if now < from => Err(CertificateError::NotValidYet.into()),
        Some((_, until)) if now > until => Err(CertificateError::Expired.into()),
        Some(_) => Ok(()),
        None => Err(CertificateError::BadEncoding.into()),
    }
}

/// The same of clients. Some of what is wrong with a certificate may be passed over.
#[derive(Debug)]
pub(super) struct Clients {
    chains: Arc<dyn ClientCertVerifier>,
    pinned: Vec<CertificateDer<'static>>,
    /// Somebody says who is trusted no more.
    revokes: bool,
    /// By these lists, if it is not webpki alone that looks at them.
    lists: Vec<List>,
    /// It does not look at them.
    plain: bool,
    /// What of the certificate itself, and of those above it.
    ignored: [Ignored; 2],
    provider: Arc<CryptoProvider>,
}

impl Clients {
    /// Where `revoked` are plain ones, `chains` looks at none.
    pub(super) fn new(
        chains: Arc<dyn ClientCertVerifier>,
        pinned: Vec<CertificateDer<'static>>,
        revoked: Option<&Revocations>,
        ignored: [Ignored; 2],
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let plain = revoked.is_some_and(Revocations::are_plain);
        let looks = plain || ignored.iter().any(|ignored| !ignored.is_empty());
        let lists = revoked.filter(|_| looks).map(Revocations::lists);
        Self {
            chains,
            pinned,
            revokes: revoked.is_some(),
            lists: lists.unwrap_or_default(),
            plain,
            ignored,
            provider,
        }
    }

    /// What is wrong with a chain that was taken.
    pub(super) fn verdict(&self, chain: &[CertificateDer<'_>]) -> Verdict {
        let Some((certificate, between)) = chain.split_first() else {
            return Verdict::default();
        };
        let now = UnixTime::now();
        let good = self.ignored.iter().all(|ignored| ignored.is_empty())
            || self.good(certificate, between, now).is_ok();
        match good {
            true => Verdict::default(),
            false => Verdict::of(&self.judge(now).found(chain)),
        }
    }

    fn good(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, LibraryError> {
        let listed = self.pinned.contains(certificate);
        if !listed || self.revokes {
            let verified = self.chains.verify_client_cert(certificate, between, now)?;
            if self.plain {
                self.judge(now).by_lists(&whole(certificate, between))?;
            }
            return Ok(verified);
        }
        in_date(certificate, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn judge(&self, now: UnixTime) -> Judge<'_> {
        Judge {
            trusted: &self.pinned,
            revoked: &self.lists,
            provider: &self.provider,
            now,
            of: Side::Client,
        }
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, LibraryError> {
        let verified = self.good(certificate, between, now);
        let [of_certificate, of_authorities] = self.ignored;
        if verified.is_ok() || self.ignored.iter().all(|ignored| ignored.is_empty()) {
            return verified;
        }
        let found = self.judge(now).found(&whole(certificate, between));
        match is_ignored(&found, of_certificate, of_authorities) {
            true => Ok(ClientCertVerified::assertion()),
            false => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, LibraryError> {
        self.chains
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, LibraryError> {
        self.chains
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// `verify: none`: whoever has the key of the certificate shown.
#[derive(Debug)]
pub(super) struct Anybody(Arc<CryptoProvider>);

impl Anybody {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &Name<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, LibraryError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, LibraryError> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, LibraryError> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
