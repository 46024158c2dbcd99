//! Files of TLS that change while clients come: nobody is turned away who would not have been before or after.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use crate::{
    beside::until,
    certificates::{Authority, Made},
    clients::write,
    daemon::{Daemon, PATIENCE, free},
};

type Version = &'static SupportedProtocolVersion;

/// A client that trusts `ca`, and shows a certificate if it has one. It goes on with its sessions.
fn client(ca: &Authority, version: Version, shown: Option<&Made>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(made) => {
            let chain = CertificateDer::pem_slice_iter(made.cert.as_bytes());
            let chain = chain.collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    Arc::new(config)
}

/// What it gets: which of `made` it was shown, and what the answer says.
fn ask(
    at: SocketAddr,
    config: &Arc<ClientConfig>,
    made: &[CertificateDer<'_>],
) -> Result<(Option<usize>, String), String> {
    let name = "site.example".try_into().unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let socket = TcpStream::connect(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    let mut answer = String::new();
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut answer))
        .map_err(|error| error.to_string())?;
    let shown = stream
        .conn
        .peer_certificates()
        .and_then(|chain| chain.first());
    let which = made.iter().position(|made| Some(made) == shown);
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok((which, body.to_owned()))
}

#[test]
fn clients_come_in_while_certificates_and_authorities_change() {
    let folder = Daemon::folder();
    let (ca, first, second) = (
        Authority::new(),
        Authority::called("first"),
        Authority::called("second"),
    );
    let sites = [ca.issue(&["site.example"]), ca.issue(&["site.example"])];
    let shown = sites
        .each_ref()
        .map(|made| CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap());
    write(&folder, "site.pem", &sites[0].both());
    write(&folder, "clients.pem", &first.pem());
    let web = free();
    let daemon = Daemon::start(
        folder,
        &format!(
            "frontends:
  web:
    bind: {{ address: '{web}', tls: {{ certificates: site.pem, client_auth: optional, client_ca: clients.pem }} }}
    rules: [{{ return: {{ status: 200, body: '%[ssl_c_s_dn(CN)]' }} }}]
"
        ),
        web,
    );
    let folder = &daemon.folder;
    let (over, wrong) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for version in [&TLS12, &TLS13] {
            let (over, wrong, ca, shown) = (&over, &wrong, &ca, &shown);
            scope.spawn(move || {
                let config = client(ca, version, None);
                while !over.load(Relaxed) {
                    match ask(web, &config, shown) {
                        Ok((Some(_), nobody)) if nobody.is_empty() => {}
                        other => wrong.lock().unwrap().push(format!("{other:?}")),
                    }
                }
            });
        }
        // Whatever fails below, the others are to end.
        let _over = Over(&over);
        let fresh = || ask(web, &client(&ca, &TLS13, None), &shown);
        let serves = |which: usize| {
            until("the certificate", || {
                fresh() == Ok((Some(which), String::new()))
            });
        };
        serves(0);
        write(folder, "site.pem", &sites[1].both());
        serves(1);
        // Half written, as by an editor: the old one stays, and a reload says so.
        let text = sites[0].both();
        fs::write(folder.join("site.pem"), &text[..text.len() / 2]).unwrap();
        let (said, done) = daemon.reload();
        assert!(!done && said.contains("site.pem"), "{said}");
        serves(1);
        fs::write(folder.join("site.pem"), &text).unwrap();
        let (said, done) = daemon.reload();
        assert!(done, "{said}");
        serves(0);
        let path = folder.join("site.pem").display().to_string();
        daemon.ask(&format!("set ssl cert {path} <<\n{}\n\n", sites[1].both()));
        let said = daemon.ask(&format!("commit ssl cert {path}\n"));
        assert!(said.contains("Success"), "{said}");
        assert_eq!(fresh(), Ok((Some(1), String::new())));

        let (joe, ann) = (first.issue(&["joe"]), second.issue(&["ann"]));
        let versions: [Version; 2] = [&TLS12, &TLS13];
        // Each time as another client; and as one who has a session.
        let enters = |version: Version, made: &Made| {
            let entered = ask(web, &client(&ca, version, Some(made)), &shown);
            entered.map(|(_, name)| name)
        };
        let known = versions.map(|version| client(&ca, version, Some(&joe)));
        for (version, known) in versions.iter().zip(&known) {
            assert_eq!(enters(version, &joe), Ok("joe".to_owned()));
            assert_eq!(ask(web, known, &shown).unwrap().1, "joe");
            enters(version, &ann).unwrap_err();
        }
        write(folder, "clients.pem", &second.pem());
        until("ann's entrance", || enters(&TLS13, &ann).is_ok());
        let check = || {
            for (version, known) in versions.iter().zip(&known) {
                assert_eq!(enters(version, &ann), Ok("ann".to_owned()));
                enters(version, &joe).unwrap_err();
                ask(web, known, &shown).unwrap_err();
            }
        };
        check();
        fs::write(folder.join("clients.pem"), "nobody\n").unwrap();
        daemon.logged("clients.pem` has no certificate in it");
        check();
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Says that it is over when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
