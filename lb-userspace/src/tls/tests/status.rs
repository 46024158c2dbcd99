//! What says that certificates are good no more: lists of those that were revoked, and OCSP responses.

use rustls::pki_types::CertificateDer;

use super::{
    super::{
        fixtures::der::{INTEGER, OID, UTC_TIME, element as der, sequence, subject},
        trust::Anybody,
    },
    *,
};

/// ecdsa-with-SHA256.
const ECDSA: &[u8] = &[42, 134, 72, 206, 61, 4, 3, 2];

/// A list as `openssl ca -gencrl` writes it without `crlnumber`: of version 1.
fn plain_list(ca: &Authority, serials: &[u8], until: Option<&str>) -> String {
    let algorithm = sequence(&[&der(OID, &[ECDSA])]);
    let issuer = subject(&ca.der());
    let time = |text: &str| der(UTC_TIME, &[text.as_bytes()]);
    let revoked = serials.iter().map(|&serial| {
        let number = der(INTEGER, &[&[serial]]);
        sequence(&[&number, &time("200101000000Z")])
    });
    let revoked: Vec<u8> = revoked.flatten().collect();
    let tbs = sequence(&[
        &algorithm,
        &issuer,
        &time("200102000000Z"),
        &until.map(time).unwrap_or_default(),
        &sequence(&[&revoked]),
    ]);
    let signature = der(3, &[&[0], &ca.sign(&tbs)]);
    let list = sequence(&[&tbs, &algorithm, &signature]);
    format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        BASE64.encode(list)
    )
}

/// One of another serial number.
fn numbered(ca: &Authority, serial: u8) -> Made {
    let key = KeyPair::generate().unwrap();
    ca.issue_with(&["a.example"], key, |params| {
        params.serial_number = Some(u64::from(serial).into());
    })
}

/// A bind that wants certificates of clients, which a list takes away from some.
struct Listed {
    scratch: Scratch,
    ca: Authority,
    bind: BindOptions,
}

impl Listed {
    fn new(list: impl Fn(&Authority) -> String) -> Self {
        let (scratch, ca) = (Scratch::new(), Authority::new());
        let trusted = scratch.write("ca.pem", ca.pem());
        let cert = scratch.write("a.pem", numbered(&ca, 3).both());
        let bind = BindOptions {
            client_auth: ClientAuth::Required,
            client_ca: Some(trusted),
            client_crl: Some(scratch.write("revoked.crl", list(&ca))),
            ..options(Certificates::Path(cert))
        };
        Self { scratch, ca, bind }
    }

    fn shake(&self, acceptor: &Arc<Acceptor>, client: &Made) -> Result<Session, String> {
        let client = self.scratch.write("client.pem", client.both());
        let connector = ServerOptions {
            client_cert: Some(files(client, None)),
            ..server(self.scratch.path().join("ca.pem"), "a.example")
        };
        shake(acceptor, connector)
    }
}

#[test]
fn lists_of_version_1_are_gone_by() {
    for until in [Some("401231000000Z"), None] {
        let all = Listed::new(|ca| plain_list(ca, &[7], until));
        let acceptor = loaded(all.bind.clone());
        all.shake(&acceptor, &numbered(&all.ca, 8)).unwrap();
        let refused = all.shake(&acceptor, &numbered(&all.ca, 7)).unwrap_err();
        assert!(refused.contains("evoked"), "{until:?}: {refused}");
        let stranger = numbered(&Authority::new(), 8);
        assert!(all.shake(&acceptor, &stranger).is_err());
    }
}

#[test]
fn a_list_of_version_1_that_is_old_or_of_somebody_else_lets_nobody_in() {
    let old = Listed::new(|ca| plain_list(ca, &[7], Some("210101000000Z")));
    let acceptor = loaded(old.bind.clone());
    assert!(old.shake(&acceptor, &numbered(&old.ca, 8)).is_err());
    // Of the same name, with another key.
    let foreign = Listed::new(|_| plain_list(&Authority::new(), &[7], Some("401231000000Z")));
    let acceptor = loaded(foreign.bind.clone());
    assert!(foreign.shake(&acceptor, &numbered(&foreign.ca, 8)).is_err());
    let other = Listed::new(|_| plain_list(&Authority::called("Other"), &[], None));
    let acceptor = loaded(other.bind.clone());
    assert!(other.shake(&acceptor, &numbered(&other.ca, 8)).is_err());
}

#[test]
fn servers_are_looked_up_in_lists_of_version_1_too() {
    let (scratch, ca) = (Scratch::new(), Authority::new());
    let trusted = scratch.write("ca.pem", ca.pem());
    let crl = scratch.write("ca.crl", plain_list(&ca, &[7], None));
    let of = |serial| {
        let cert = scratch.write("a.pem", numbered(&ca, serial).both());
        loaded(options(Certificates::Path(cert)))
    };
    let wants = |name: &str| ServerOptions {
        crl: Some(crl.clone()),
        ..server(trusted.clone(), name)
    };
    shake(&of(8), wants("a.example")).unwrap();
    let refused = shake(&of(8), wants("b.example")).unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
    let refused = shake(&of(7), wants("a.example")).unwrap_err();
    assert!(refused.contains("evoked"), "{refused}");
}

#[test]
fn a_list_that_cannot_be_gone_by_is_named_and_the_one_before_stays() {
    let all = Listed::new(|ca| ca.revoke(&[7], 2040));
    let acceptor = loaded(all.bind.clone());
    // PEM and DER, but no list.
    let tbs = sequence(&[&der(INTEGER, &[&[1]]), b"\x05\x00"]);
    let broken = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        BASE64.encode(sequence(&[&tbs]))
    );
    all.scratch.write("revoked.crl", broken);
    assert!(acceptor.follow().is_none(), "it may be half written");
    let error = acceptor.follow().unwrap().unwrap_err();
    let (said, mend) = (error.to_string(), error.mend());
    assert!(said.contains("revoked.crl` cannot be used: "), "{said}");
    assert!(said.contains("RFC 5280"), "{said}");
    assert!(mend.contains("openssl ca -gencrl -out /"), "{mend}");
    let refused = all.shake(&acceptor, &numbered(&all.ca, 7)).unwrap_err();
    assert!(refused.contains("evoked"), "{refused}");
    // One of version 1 in its place is taken, and what it adds is refused.
    all.scratch
        .write("revoked.crl", plain_list(&all.ca, &[7, 8], None));
    acceptor.reload().unwrap();
    assert!(all.shake(&acceptor, &numbered(&all.ca, 8)).is_err());
    all.shake(&acceptor, &numbered(&all.ca, 9)).unwrap();
}

#[test]
fn an_ocsp_response_that_helps_nobody_is_warned_of_and_not_stapled() {
    let (scratch, ca) = (Scratch::new(), Authority::new());
    let made = numbered(&ca, 7);
    let cert = scratch.write("a.pem", made.both());
    let chained = scratch.write("chained.pem", made.both() + &ca.pem());
    let good = ca.answer(7, Some("20401231000000Z"));
    let other = Authority::called("Other");
    let same_name = Authority::new();
    let cases = [
        (good.clone(), None),
        (b"none".to_vec(), Some("no OCSP response in DER")),
        (Vec::new(), Some("no OCSP response in DER")),
        (good[..good.len() - 1].to_vec(), Some("no OCSP response")),
        (b"\x30\x03\x0a\x01\x03".to_vec(), Some("`tryLater`")),
        (
            ca.answer(7, Some("20210101000000Z")),
            Some("holds no longer"),
        ),
        (ca.answer(7, None), Some("until when it holds")),
        (
            ca.answer(8, Some("20401231000000Z")),
            Some("another certificate"),
        ),
        (
            other.answer(7, Some("20401231000000Z")),
            Some("another certificate"),
        ),
        // Its key can be told from the CA's in the chain alone.
        (same_name.answer(7, Some("20401231000000Z")), None),
    ];
    for (bytes, why) in cases {
        let path = scratch.write("a.pem.ocsp", &bytes);
        let checked = check_bind(&options(Certificates::Path(cert.clone())));
        assert_eq!(checked.errors, []);
        let said: Vec<_> = checked.remarks.iter().map(|r| &r.message).collect();
        match why {
            None => assert!(said.is_empty(), "{said:?}"),
            Some(why) => {
                assert!(said.len() == 1 && said[0].contains(why), "{why}: {said:?}");
                assert!(said[0].contains(&path.display().to_string()), "{said:?}");
                assert!(checked.remarks[0].mend.contains("openssl ocsp -issuer"));
            }
        }
        let acceptor = loaded(options(Certificates::Path(cert.clone())));
        assert_eq!(stapled(&acceptor), why.is_none().then_some(bytes));
    }
    scratch.write(
        "chained.pem.ocsp",
        same_name.answer(7, Some("20401231000000Z")),
    );
    let checked = check_bind(&options(Certificates::Path(chained)));
    assert!(checked.remarks[0].message.contains("another certificate"));
}

/// What a client is shown beside the certificate.
fn stapled(acceptor: &Arc<Acceptor>) -> Option<Vec<u8>> {
    use std::sync::Mutex;

    use rustls::{
        ClientConfig, DigitallySignedStruct, Error as LibraryError, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        pki_types::{ServerName as Name, UnixTime},
    };

    #[derive(Debug)]
    struct Noting(Arc<Mutex<Vec<u8>>>, Anybody);

    impl ServerCertVerifier for Noting {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &Name<'_>,
            ocsp: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, LibraryError> {
            *self.0.lock().unwrap() = ocsp.to_vec();
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, LibraryError> {
            self.1.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, LibraryError> {
            self.1.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.1.supported_verify_schemes()
        }
    }

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = Noting(Arc::clone(&seen), Anybody::new(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(noting))
        .with_no_client_auth();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, server) = tokio::io::duplex(1 << 16);
        let name = Name::try_from("a.example").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let (served, connected) =
            tokio::join!(acceptor.accept(server), connector.connect(name, client));
        served.unwrap();
        connected.unwrap();
    });
    let seen = seen.lock().unwrap().clone();
    (!seen.is_empty()).then_some(seen)
}
