//! Certificates as they are found on disks.

use std::{fs, path::PathBuf, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rcgen::KeyPair;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{fixtures::*, *};

mod status;

fn files(cert: PathBuf, key: Option<PathBuf>) -> CertificateFiles {
    CertificateFiles {
        cert,
        key,
        ocsp: None,
    }
}

fn options(certificates: Certificates) -> BindOptions {
    BindOptions {
        certificates,
        ..BindOptions::default()
    }
}

fn server(ca: PathBuf, name: &str) -> ServerOptions {
    ServerOptions {
        ca: Some(ca),
        name: ServerName::Fixed(name.into()),
        ..ServerOptions::default()
    }
}

/// What is wrong with one certificate, and what to do.
fn wrong(certificates: Certificates) -> (String, String) {
    let errors = check_bind(&options(certificates)).errors;
    let [error] = errors.as_slice() else {
        panic!("{errors:?}");
    };
    (error.to_string(), error.mend())
}

/// What a client that wants `name` and trusts `ca` is told after the handshake: `Ok(what the server saw)`.
fn shake(acceptor: &Arc<Acceptor>, connector: ServerOptions) -> Result<Session, String> {
    let connector = Connector::new(connector);
    connector.load().unwrap();
    shake_again(acceptor, &connector)
}

/// The same with a client that has its sessions of before.
fn shake_again(acceptor: &Arc<Acceptor>, connector: &Connector) -> Result<Session, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Arc::clone(acceptor);
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut accepted = acceptor.accept(stream).await.map_err(|e| e.to_string())?;
            let stream = &mut accepted.stream;
            stream.write_all(b"x").await.map_err(|e| e.to_string())?;
            stream.shutdown().await.map_err(|e| e.to_string())?;
            Ok::<_, String>(accepted.session())
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let asked = async {
            let mut stream = connector.connect(stream, address.ip(), None, false).await?;
            let mut byte = Vec::new();
            stream.read_to_end(&mut byte).await?;
            Ok::<_, std::io::Error>(byte)
        };
        let asked = asked.await.map_err(|error| error.to_string());
        let served = serving.await.unwrap();
        asked.and(served)
    })
}

fn loaded(options: BindOptions) -> Arc<Acceptor> {
    let acceptor = Arc::new(Acceptor::new(options));
    acceptor.load().unwrap();
    acceptor
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_what_to_do() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let made = ca.issue(&["a.example"]);
    let cert = scratch.write("a.crt", &made.cert);
    let other = scratch.write("other.key", &ca.issue(&["b.example"]).key);
    let one = |cert: &PathBuf, key: Option<&PathBuf>| {
        wrong(Certificates::Files(vec![files(cert.clone(), key.cloned())]))
    };
    let (said, mend) = one(&scratch.path().join("absent.crt"), None);
    assert!(
        said.ends_with("absent.crt` cannot be read: no such file or directory"),
        "{said}"
    );
    assert!(mend.contains("name a file that is there"), "{mend}");
    let (said, mend) = one(&cert, None);
    assert!(said.ends_with("a.crt` has no private key in it"), "{said}");
    assert!(mend.contains("append the key to it"), "{mend}");
    let (said, _) = one(&cert, Some(&other));
    assert!(
        said.contains("other.key` is not that of the certificate in"),
        "{said}"
    );
    let empty = scratch.write("empty.pem", "nothing here\n");
    let (said, mend) = one(&empty, None);
    assert!(
        said.ends_with("empty.pem` has no certificate in it"),
        "{said}"
    );
    assert!(mend.contains("BEGIN CERTIFICATE"), "{mend}");
    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n",
    ] {
        let key = scratch.write("encrypted.key", encrypted);
        let (said, mend) = one(&cert, Some(&key));
        assert!(said.contains("encrypted.key` is encrypted"), "{said}");
        assert!(mend.contains("openssl pkey -in"), "{mend}");
    }
    // In the same file too.
    let made = ca.issue(&["a.example"]);
    let locked = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    let both = scratch.write("both.pem", format!("{}{locked}", made.cert));
    let (said, _) = one(&both, None);
    assert!(said.contains("both.pem` is encrypted"), "{said}");
    let cut = scratch.write("cut.pem", &made.both()[..made.cert.len() - 40]);
    let (said, mend) = one(&cut, None);
    assert!(
        said.contains("cut.pem` is broken: it has no `-----END CERTIFICATE-----`"),
        "{said}"
    );
    assert!(mend.contains("openssl storeutl -noout /"), "{mend}");
    let upside_down = format!("{}{}", ca.pem(), made.both());
    let upside_down = scratch.write("order.pem", upside_down);
    let (said, mend) = one(&upside_down, None);
    assert!(said.contains("order.pem` are in the wrong order"), "{said}");
    assert!(mend.contains("own certificate first"), "{mend}");
    let (said, _) = wrong(Certificates::Path(scratch.path().join("nowhere")));
    assert!(said.contains("nowhere` cannot be read"), "{said}");
    let folder = scratch.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let (said, _) = wrong(Certificates::Path(folder));
    assert!(said.contains("has no certificate in it"), "{said}");
    let broken = scratch.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let (said, _) = one(&broken, Some(&other));
    assert!(said.contains("broken.pem` is broken"), "{said}");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let scratch = Scratch::new();
    let made = Authority::new().issue(&["a.example"]);
    let bare = scratch.write("bare.crt", &made.cert);
    let empty = scratch.write("empty.pem", "");
    let good = scratch.write("good.pem", made.both());
    let absent = scratch.path().join("absent");
    let each = [bare, good, empty].map(|path| files(path, None));
    let bind = BindOptions {
        client_auth: ClientAuth::Required,
        client_ca: Some(absent.join("ca.pem")),
        client_crl: Some(absent.join("ca.crl")),
        tickets: TicketKeys::File(absent.join("keys")),
        ..options(Certificates::Files(each.to_vec()))
    };
    let told = |errors: Vec<TlsError>| {
        let each = errors.iter().map(ToString::to_string);
        each.collect::<Vec<_>>().join("\n")
    };
    let said = told(check_bind(&bind).errors);
    for name in ["ca.pem`", "ca.crl`", "keys`", "bare.crt`", "empty.pem`"] {
        assert_eq!(said.matches(name).count(), 1, "{name}: {said}");
    }
    assert!(!said.contains("good.pem"), "{said}");
    let server = ServerOptions {
        crl: Some(absent.join("ca.crl")),
        client_cert: Some(files(absent.join("client.pem"), None)),
        ..server(absent.join("ca.pem"), "a.example")
    };
    let said = told(check_server(&server).errors);
    for name in ["ca.pem`", "ca.crl`", "client.pem`"] {
        assert_eq!(said.matches(name).count(), 1, "{name}: {said}");
    }
}

#[test]
fn certificates_that_have_expired_are_warned_of() {
    let scratch = Scratch::new();
    let old = Authority::new().expired(&["a.example"]);
    let path = scratch.write("old.pem", old.both());
    let remarks = check_bind(&options(Certificates::Path(path))).remarks;
    assert_eq!(remarks.len(), 1);
    assert!(remarks[0].message.contains("expired"), "{:?}", remarks[0]);
}

#[test]
fn a_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let trusted = scratch.write("ca.pem", ca.pem());
    let folder = scratch.path().join("certs");
    fs::create_dir(&folder).unwrap();
    // In the order of their names: the first is for everybody else.
    for (file, made) in [
        ("a.pem", ca.issue(&["first.example"])),
        ("b.pem", ca.issue(&["*.wild.example", "exact.example"])),
        ("c.pem", ca.issue(&["own.wild.example"])),
    ] {
        scratch.write(&format!("certs/{file}"), made.both());
    }
    // Chain and key apart, and what is none of both.
    let apart = ca.issue_rsa(&["apart.example"]);
    scratch.write("certs/d.crt", &apart.cert);
    scratch.write("certs/d.key", &apart.key);
    scratch.write("certs/.hidden", "x");
    let acceptor = loaded(options(Certificates::Path(folder)));
    for name in [
        "first.example",
        "any.wild.example",
        "EXACT.example",
        "own.wild.example",
        "apart.example",
    ] {
        let session = shake(&acceptor, server(trusted.clone(), name));
        let asked = session.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            asked.server_name.as_deref(),
            Some(name.to_ascii_lowercase().as_str())
        );
    }
    for name in ["unknown.example", "two.labels.wild.example", "wild.example"] {
        let error = shake(&acceptor, server(trusted.clone(), name)).unwrap_err();
        assert!(error.contains("not valid for name"), "{name}: {error}");
    }
}

#[test]
fn a_folder_may_stand_among_files() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let trusted = scratch.write("ca.pem", ca.pem());
    let first = scratch.write("z.pem", ca.issue(&["z.example"]).both());
    let folder = scratch.path().join("folder");
    fs::create_dir(&folder).unwrap();
    scratch.write("folder/a.pem", ca.issue(&["a.example"]).both());
    let each = [first, folder].map(|path| files(path, None));
    let acceptor = loaded(options(Certificates::Files(each.to_vec())));
    for name in ["z.example", "a.example"] {
        shake(&acceptor, server(trusted.clone(), name)).unwrap();
    }
    let files = acceptor.certificate_files();
    assert!(files[0].ends_with("z.pem"), "{files:?}");
}

#[test]
fn a_server_that_is_not_the_one_is_refused_unless_nobody_looks() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let stranger = scratch.write("stranger.pem", Authority::new().pem());
    let cert = scratch.write("a.pem", ca.issue(&["a.example"]).both());
    let acceptor = loaded(options(Certificates::Path(cert)));
    let error = shake(&acceptor, server(stranger.clone(), "a.example")).unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let blind = ServerOptions {
        verify: false,
        ca: None,
        ..server(stranger.clone(), "other.example")
    };
    shake(&acceptor, blind).unwrap();
    // Of whatever name: somebody else's is still refused, and so is one that has expired.
    let any = |ca: PathBuf| ServerOptions {
        any_name: true,
        ..server(ca, "other.example")
    };
    let trusted = scratch.write("ca.pem", ca.pem());
    let named = server(trusted.clone(), "other.example");
    let error = shake(&acceptor, named).unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    shake(&acceptor, any(trusted.clone())).unwrap();
    let error = shake(&acceptor, any(stranger)).unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let old = scratch.write("old.pem", ca.expired(&["a.example"]).both());
    let acceptor = loaded(options(Certificates::Path(old)));
    let error = shake(&acceptor, any(trusted)).unwrap_err();
    assert!(error.contains("expired"), "{error}");
}

#[test]
fn authorities_may_lie_in_a_folder() {
    let scratch = Scratch::new();
    let (one, two) = (Authority::called("one"), Authority::called("two"));
    let folder = scratch.path().join("trusted");
    fs::create_dir(&folder).unwrap();
    let certificate = |ca: &Authority, name: &str| {
        let cert = scratch.write(name, ca.issue(&["a.example"]).both());
        loaded(options(Certificates::Path(cert)))
    };
    let (of_one, of_two) = (certificate(&one, "1.pem"), certificate(&two, "2.pem"));
    let connector = Connector::new(server(folder.clone(), "a.example"));
    assert_eq!(connector.load(), Err(TlsError::EmptyFolder(folder.clone())));
    scratch.write("trusted/one.pem", one.pem());
    scratch.write("trusted/broken.crt", "no certificate");
    scratch.write("trusted/two.txt", two.pem());
    shake(&of_one, server(folder.clone(), "a.example")).unwrap();
    shake(&of_two, server(folder, "a.example")).unwrap_err();
    // One that is added is noticed.
    connector.load().unwrap();
    scratch.write("trusted/two.cer", two.pem());
    shake_again(&of_two, &connector).unwrap_err();
    connector.reload().unwrap();
    shake_again(&of_two, &connector).unwrap();
}

#[test]
fn a_server_is_spoken_to_in_the_versions_that_are_wanted() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let trusted = scratch.write("ca.pem", ca.pem());
    let cert = scratch.write("a.pem", ca.issue(&["a.example"]).both());
    let old = loaded(BindOptions {
        max_version: Some(Version::Tls12),
        ..options(Certificates::Path(cert))
    });
    let newer = ServerOptions {
        min_version: Version::Tls13,
        ..server(trusted.clone(), "a.example")
    };
    shake(&old, newer).unwrap_err();
    let older = ServerOptions {
        max_version: Version::Tls12,
        ..server(trusted, "a.example")
    };
    shake(&old, older).unwrap();
}

#[test]
fn a_certificate_that_signed_itself_is_trusted_by_who_names_it() {
    let scratch = Scratch::new();
    // As `openssl req -x509` makes them: a CA by its form.
    let key = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let cert = params.self_signed(&key).unwrap().pem();
    let trusted = scratch.write("a.crt", &cert);
    let both = scratch.write("a.pem", format!("{cert}{}", key.serialize_pem()));
    let acceptor = loaded(options(Certificates::Path(both.clone())));
    shake(&acceptor, server(trusted.clone(), "a.example")).unwrap();
    let error = shake(&acceptor, server(trusted.clone(), "b.example")).unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    // A client of that kind.
    let acceptor = loaded(BindOptions {
        client_auth: ClientAuth::Required,
        client_ca: Some(trusted.clone()),
        ..options(Certificates::Path(both.clone()))
    });
    let shown = ServerOptions {
        client_cert: Some(files(both, None)),
        ..server(trusted, "a.example")
    };
    assert!(shake(&acceptor, shown).unwrap().peer.is_some());
}

#[test]
fn clients_show_certificates_where_they_have_to() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let trusted = scratch.write("ca.pem", ca.pem());
    let cert = scratch.write("a.pem", ca.issue(&["a.example"]).both());
    let client = scratch.write("client.pem", ca.issue(&["joe"]).both());
    let stranger = scratch.write("stranger.pem", Authority::new().issue(&["joe"]).both());
    let with = |path: &PathBuf| ServerOptions {
        client_cert: Some(files(path.clone(), None)),
        ..server(trusted.clone(), "a.example")
    };
    for (auth, nobody) in [(ClientAuth::Required, false), (ClientAuth::Optional, true)] {
        let acceptor = loaded(BindOptions {
            client_auth: auth,
            client_ca: Some(trusted.clone()),
            ..options(Certificates::Path(cert.clone()))
        });
        let session = shake(&acceptor, with(&client)).unwrap();
        let shown = session.peer.unwrap();
        assert_eq!(shown.subject, "/O=Example/CN=joe");
        assert_eq!(shown.issuer, "/CN=Test CA");
        assert_eq!((shown.sha1.len(), shown.sha256.len()), (40, 64));
        assert!(shake(&acceptor, with(&stranger)).is_err(), "{auth:?}");
        let without = shake(&acceptor, server(trusted.clone(), "a.example"));
        assert_eq!(without.is_ok(), nobody, "{auth:?}: {without:?}");
        if let Ok(session) = without {
            assert_eq!(session.peer, None);
        }
    }
}

#[test]
fn a_ticket_holds_where_the_same_is_asked_of_clients() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let trusted = scratch.write("ca.pem", ca.pem());
    let other = scratch.write("other.pem", Authority::called("Other").pem());
    let certificates = Certificates::Path(scratch.write("a.pem", ca.issue(&["a.example"]).both()));
    let lines = [1_u8, 2, 3].map(|byte| BASE64.encode([byte; 80]));
    let keys = scratch.write("keys", lines.join("\n"));
    for version in [Version::Tls12, Version::Tls13] {
        let of = |client_auth, client_ca: Option<&PathBuf>| {
            loaded(BindOptions {
                tickets: TicketKeys::File(keys.clone()),
                max_version: Some(version),
                client_auth,
                client_ca: client_ca.cloned(),
                ..options(certificates.clone())
            })
        };
        let connector = Connector::new(server(trusted.clone(), "a.example"));
        connector.load().unwrap();
        let resumed = |acceptor: &Arc<Acceptor>| -> Result<bool, String> {
            Ok(shake_again(acceptor, &connector)?.resumed)
        };
        assert_eq!(resumed(&of(ClientAuth::None, None)), Ok(false));
        assert_eq!(resumed(&of(ClientAuth::None, None)), Ok(true));
        for ca in [&trusted, &other] {
            let refused = resumed(&of(ClientAuth::Required, Some(ca)));
            assert!(refused.is_err(), "{version:?}: {refused:?}");
        }
        // Nor does one of whoever was let in without a certificate stand for one.
        let optional = of(ClientAuth::Optional, Some(&trusted));
        assert_eq!(resumed(&optional), Ok(false));
        assert_eq!(resumed(&optional), Ok(true));
        let refused = resumed(&of(ClientAuth::Required, Some(&trusted)));
        assert!(refused.is_err(), "{version:?}: {refused:?}");
    }
}

#[test]
fn a_changed_file_is_taken_once_it_rests_and_a_bad_one_is_not() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let trusted = scratch.write("ca.pem", ca.pem());
    let cert = scratch.write("a.crt", "");
    let key = scratch.write("a.key", "");
    let put = |made: &Made| {
        scratch.write("a.crt", &made.cert);
        scratch.write("a.key", &made.key);
    };
    put(&ca.issue(&["one.example"]));
    let acceptor = loaded(options(Certificates::Files(vec![files(cert, Some(key))])));
    let serves = |name: &str| shake(&acceptor, server(trusted.clone(), name)).is_ok();
    assert!(acceptor.follow().is_none(), "nothing has changed");
    put(&ca.issue(&["two.example"]));
    assert!(acceptor.follow().is_none(), "it may be half written");
    assert!(serves("one.example"));
    assert_eq!(acceptor.follow(), Some(Ok(())));
    assert!(serves("two.example") && !serves("one.example"));
    // The key of another certificate.
    scratch.write("a.key", ca.issue(&["three.example"]).key);
    assert!(acceptor.follow().is_none());
    assert!(matches!(
        acceptor.follow(),
        Some(Err(TlsError::Mismatch { .. }))
    ));
    assert!(acceptor.follow().is_none(), "it is told once");
    assert!(serves("two.example"));
    fs::remove_file(scratch.path().join("a.crt")).unwrap();
    assert!(acceptor.follow().is_none());
    assert!(matches!(
        acceptor.follow(),
        Some(Err(TlsError::Unreadable { .. }))
    ));
    assert!(serves("two.example"));
    put(&ca.issue(&["four.example"]));
    assert!(acceptor.follow().is_none());
    assert_eq!(acceptor.follow(), Some(Ok(())));
    assert!(serves("four.example"));
}

#[test]
fn what_comes_to_be_beside_a_certificate_is_noticed() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let both = ca.issue(&["a.example"]).both();
    let path = |name: &str| scratch.path().join(name);
    scratch.write("a.pem", &both);
    scratch.write("b.pem.rsa", ca.issue_rsa(&["b.example"]).both());
    let each = ["a.pem", "b.pem"].map(|name| files(path(name), None));
    let acceptor = loaded(options(Certificates::Files(each.to_vec())));
    assert_eq!(acceptor.expiries().len(), 2);
    scratch.write("b.pem.ecdsa", ca.issue(&["b.example"]).both());
    acceptor.reload().unwrap();
    assert_eq!(acceptor.expiries().len(), 3);
    scratch.write("b.pem", &both);
    acceptor.reload().unwrap();
    assert_eq!(acceptor.expiries().len(), 2);
    assert!(acceptor.uses(&path("a.ocsp")), "it may come yet");
}

#[test]
fn what_an_operator_hands_over_holds_until_the_file_changes() {
    let scratch = Scratch::new();
    let ca = Authority::new();
    let trusted = scratch.write("ca.pem", ca.pem());
    let cert = scratch.write("a.pem", ca.issue(&["one.example"]).both());
    let acceptor = loaded(options(Certificates::Path(cert.clone())));
    let serves = |name: &str| shake(&acceptor, server(trusted.clone(), name)).is_ok();
    assert!(acceptor.uses(&cert));
    let handed = |text: String| [(cert.clone(), text.into_bytes())].into();
    assert!(acceptor.replace(&handed("nonsense".into())).is_err());
    assert!(serves("one.example"));
    acceptor
        .replace(&handed(ca.issue(&["two.example"]).both()))
        .unwrap();
    assert!(serves("two.example"));
    assert!(acceptor.follow().is_none());
    assert!(serves("two.example"));
    scratch.write("a.pem", ca.issue(&["three.example"]).both());
    assert!(acceptor.follow().is_none());
    assert_eq!(acceptor.follow(), Some(Ok(())));
    assert!(serves("three.example"));
}
