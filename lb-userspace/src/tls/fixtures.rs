//! Certificates for tests, made anew by each: those of this library and of the whole daemon.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A folder that goes with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let path =
            std::env::temp_dir().join(format!("lb-tls-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A CA.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Made {
    pub(crate) fn both(&self) -> String {
        format!("{}{}", self.cert, self.key)
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::called("Test CA")
    }

    pub(crate) fn called(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    #[allow(
        dead_code,
        reason = "this file is shared with tests of the whole daemon"
    )]
    pub(crate) fn der(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.0.der().clone()
    }

    /// An OCSP response about a certificate of its own.
    #[allow(
        dead_code,
        reason = "this file is shared with tests of the whole daemon"
    )]
    pub(crate) fn answer(&self, serial: u8, until: Option<&str>) -> Vec<u8> {
        use der::{INTEGER, OCTETS, OID, TIME, element, sequence};
        let certificate = self.der();
        let name = der::subject(&certificate);
        let time = |text: &str| element(TIME, &[text.as_bytes()]);
        let id = sequence(&[
            &sequence(&[&element(OID, &[&[43, 14, 3, 2, 26]]), b"\x05\x00"]),
            &element(OCTETS, &[&der::sha1(&name)]),
            &element(OCTETS, &[&der::sha1(&der::key(&certificate))]),
            &element(INTEGER, &[&[serial]]),
        ]);
        let next = until.map(|until| element(0xa0, &[&time(until)]));
        let single = sequence(&[
            &id,
            b"\x80\x00",
            &time("20200102000000Z"),
            &next.unwrap_or_default(),
        ]);
        let by_name = element(0xa1, &[&name]);
        let data = sequence(&[&by_name, &time("20200102000000Z"), &sequence(&[&single])]);
        // ecdsa-with-SHA256
        let algorithm = sequence(&[&element(OID, &[&[42, 134, 72, 206, 61, 4, 3, 2]])]);
        let signature = element(3, &[&[0], &self.sign(&data)]);
        let basic = sequence(&[&data, &algorithm, &signature]);
        let kind = element(OID, &[&[43, 6, 1, 5, 5, 7, 48, 1, 1]]);
        let bytes = sequence(&[&kind, &element(OCTETS, &[&basic])]);
        sequence(&[b"\x0a\x01\x00", &element(0xa0, &[&bytes])])
    }

    /// Its signature.
    #[allow(
        dead_code,
        reason = "this file is shared with tests of the whole daemon"
    )]
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        use rcgen::SigningKey as _;
        self.0.key().sign(message).unwrap()
    }

    /// A list of the certificates that are taken no more, by their serial numbers.
    #[allow(
        dead_code,
        reason = "this file is shared with tests of the whole daemon"
    )]
    pub(crate) fn revoke(&self, serials: &[u64], until: i32) -> String {
        let revoked = serials.iter().map(|&serial| rcgen::RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 2),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// An ECDSA certificate for `names`.
    pub(crate) fn issue(&self, names: &[&str]) -> Made {
        self.issue_with(names, KeyPair::generate().unwrap(), |_| {})
    }

    /// One with an RSA key.
    pub(crate) fn issue_rsa(&self, names: &[&str]) -> Made {
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        self.issue_with(names, key, |_| {})
    }

    /// One of another time.
    pub(crate) fn expired(&self, names: &[&str]) -> Made {
        self.issue_with(names, KeyPair::generate().unwrap(), |params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        })
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Made {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        change(&mut params);
        Made {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What is written by hand, since nobody writes it for us.
#[allow(
    dead_code,
    reason = "this file is shared with tests of the whole daemon"
)]
pub(crate) mod der {
    use aws_lc_rs::digest;
    use rustls::pki_types::CertificateDer;
    use x509_parser::prelude::{FromDer, X509Certificate};

    pub(crate) const INTEGER: u8 = 2;
    pub(crate) const OCTETS: u8 = 4;
    pub(crate) const OID: u8 = 6;
    pub(crate) const UTC_TIME: u8 = 23;
    pub(crate) const TIME: u8 = 24;
    const SEQUENCE: u8 = 0x30;

    /// An element of DER made of others.
    pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let length = match length {
            [0, short @ 0..128] => vec![short],
            [0, long] => vec![0x81, long],
            [high, low] => vec![0x82, high, low],
        };
        [vec![tag], length, content].concat()
    }

    pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        element(SEQUENCE, parts)
    }

    /// The name of whom a certificate is for.
    pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Vec<u8> {
        let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
        parsed.subject().as_raw().to_vec()
    }

    pub(crate) fn key(certificate: &CertificateDer<'_>) -> Vec<u8> {
        let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
        parsed.public_key().subject_public_key.data.to_vec()
    }

    pub(crate) fn sha1(of: &[u8]) -> Vec<u8> {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, of);
        digest.as_ref().to_vec()
    }
}
