//! Another process takes the daemon's place, and what was changed of what files say goes along: lines of maps and lists,
//! certificates and the keys of session tickets.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned, pki_types::CertificateDer,
};

use crate::{
    certificates::{Authority, Made},
    daemon::{Daemon, PATIENCE, free},
    upgrade::{Upgraded, whole},
    world::{Server, ask, file, name, wait_until},
};

/// A file with one map and one list, each at a path of its own below the daemon's folder.
fn rules(at: SocketAddr, server: &Server) -> String {
    let rules = "rules:\n  - { if: { header: { name: x-who, value: { file: FOLDER/bad.lst } } }, deny: { status: 403 } }\n  \
                 - { redirect: { location: '/%[path,map(FOLDER/to.map)]' } }";
    file(at, rules, "", &[server])
}

fn shown(lb: &Upgraded, what: &str) -> String {
    let file = if what == "map" { "to.map" } else { "bad.lst" };
    let path = lb.0.folder.join(file);
    let said = lb.0.ask(&format!("show {what} {}\n", path.display()));
    // Each has a number of its own.
    let lines = said
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1));
    lines.fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{line}");
        all
    })
}

#[test]
fn lines_of_maps_and_lists_go_along_until_their_files_change() {
    let one = Server::start("one");
    let at = free();
    let folder = Daemon::folder();
    let (map, list) = (folder.join("to.map"), folder.join("bad.lst"));
    fs::write(&map, "/at/one first\n/at/two second\n").unwrap();
    fs::write(&list, "mallory\n").unwrap();
    let lb = Upgraded(Daemon::start(folder, &whole("", &rules(at, &one)), at));
    lb.0.ask("show version\n");
    let leads_to = |path: &str| {
        let answer = ask(at, path);
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("location: /"));
        location.unwrap_or("").to_owned()
    };
    assert_eq!(leads_to("/at/one"), "first");
    lb.upgrade();
    assert_eq!(shown(&lb, "map"), "/at/one first\n/at/two second\n");

    for command in [
        format!("set map {} /at/one other", map.display()),
        format!("del map {} /at/two", map.display()),
        format!("add map {} /at/three third", map.display()),
        format!("add acl {} eve", list.display()),
        format!("del acl {} mallory", list.display()),
    ] {
        assert_eq!(lb.0.ask(&format!("{command}\n")).trim(), "", "{command}");
    }
    for _ in 0..2 {
        lb.upgrade();
        assert_eq!(shown(&lb, "map"), "/at/one other\n/at/three third\n");
        assert_eq!(shown(&lb, "acl"), "eve\n");
        assert_eq!(
            (leads_to("/at/one"), leads_to("/at/three")),
            ("other".into(), "third".into())
        );
    }
    // More than one message has room for, and nothing at all.
    let many: String = (0..2500).fold(String::new(), |mut all, n| {
        let _ = writeln!(all, "/at/{n} to-{n}");
        all
    });
    let path = map.display();
    lb.0.ask(&format!("clear map {path}\n"));
    lb.0.ask(&format!("add map {path} <<\n{many}\n"));
    lb.0.ask(&format!("clear acl {}\n", list.display()));
    lb.upgrade();
    assert_eq!(shown(&lb, "map"), many);
    assert_eq!(shown(&lb, "acl"), "");
    assert_eq!(leads_to("/at/2499"), "to-2499");

    // A file that has changed goes before that: the new process has read it.
    fs::write(&map, "/at/one anew\n").unwrap();
    lb.upgrade();
    assert_eq!(shown(&lb, "map"), "/at/one anew\n");
    assert_eq!(shown(&lb, "acl"), "");
}

/// A client of TLS that keeps its sessions.
struct Visitor {
    config: Arc<ClientConfig>,
    at: SocketAddr,
}

impl Visitor {
    fn new(
        ca: &Authority,
        at: SocketAddr,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.der()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        Self { config, at }
    }

    /// Asks for something: whether the session went on, and the certificate.
    fn visits(&self) -> (bool, CertificateDer<'static>) {
        self.visits_by("a.example")
    }

    fn visits_by(&self, host: &'static str) -> (bool, CertificateDer<'static>) {
        let host = host.try_into().unwrap();
        let client = ClientConnection::new(Arc::clone(&self.config), host).unwrap();
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(client, stream);
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(name(&answer), "one");
        let certificates = stream.conn.peer_certificates().unwrap();
        let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        (resumed, certificates[0].clone().into_owned())
    }

    fn resumes(&self) -> bool {
        self.visits().0
    }
}

fn tls(at: SocketAddr, server: &Server, more: &str) -> String {
    format!(
        "frontends:\n  web: {{ bind: {{ address: '{at}', tls: {{ certificates: FOLDER/a.pem{more} }} }}, default_backend: app }}\n\
         backends:\n  app: {{ servers: [{}] }}\n",
        server.entry("")
    )
}

#[test]
fn sessions_of_tls_go_on_and_exchanged_certificates_stay() {
    let one = Server::start("one");
    let at = free();
    let folder = Daemon::folder();
    let ca = Authority::new();
    let file = folder.join("a.pem");
    let [first, second, third] = [(); 3].map(|()| ca.issue(&["a.example"]));
    fs::write(&file, first.both()).unwrap();
    let rest = tls(at, &one, "");
    let lb = Upgraded(Daemon::start(folder, &whole("", &rest), at));
    lb.0.ask("show version\n");
    let visitors = [&rustls::version::TLS12, &rustls::version::TLS13];
    let visitors = visitors.map(|version| Visitor::new(&ca, at, version));
    let resume = || visitors.each_ref().map(Visitor::resumes);
    assert_eq!(resume(), [false; 2]);
    assert_eq!(resume(), [true; 2]);
    for _ in 0..2 {
        lb.upgrade();
        assert_eq!(resume(), [true; 2]);
    }
    // An upgrade that comes to nothing changes nothing of it.
    lb.0.write(&whole("", &rest.replace("address", "adress")));
    assert!(!lb.run(&["upgrade"]).1);
    lb.0.write(&whole("", &rest));
    assert_eq!(resume(), [true; 2]);
    // Of a bind that asks for other things they say something else.
    lb.0.write(&whole(
        "",
        &tls(at, &one, ", min_version: '1.2', alpn: [http/1.1]"),
    ));
    lb.upgrade();
    assert_eq!(resume(), [false; 2]);
    lb.0.write(&whole("", &rest));
    lb.upgrade();

    let is = |made: &Made| {
        let fresh = Visitor::new(&ca, at, &rustls::version::TLS13);
        fresh.visits().1 == der(made)
    };
    assert!(is(&first));
    let path = file.display();
    let set = format!("set ssl cert {path} <<\n{}\n", second.both().trim_end());
    let said = lb.0.ask(&set);
    assert!(said.contains("Transaction created"), "{said}");
    let said = lb.0.ask(&format!("commit ssl cert {path}\n"));
    assert!(said.contains("Success!"), "{said}");
    assert!(is(&second));
    for _ in 0..2 {
        lb.upgrade();
        assert!(is(&second));
    }
    // The key is nowhere but in memory.
    let logged = fs::read_to_string(lb.0.folder.join("log")).unwrap();
    assert!(
        !logged.contains("PRIVATE") && !logged.contains("Tls("),
        "{logged}"
    );
    // Until the file changes.
    fs::write(&file, third.both()).unwrap();
    wait_until("the file is followed", || is(&third));
    lb.upgrade();
    assert!(is(&third));
    let set = format!("set ssl cert {path} <<\n{}\n", second.both().trim_end());
    lb.0.ask(&set);
    lb.0.ask(&format!("commit ssl cert {path}\n"));
    assert!(is(&second));
    fs::write(&file, first.both()).unwrap();
    lb.upgrade();
    assert!(is(&first), "the new process has read another file");
}

/// Has `made` stand for a certificate's file.
fn exchange(lb: &Upgraded, file: &str, made: &Made) {
    let set = format!("set ssl cert {file} <<\n{}\n", made.both().trim_end());
    let said = lb.0.ask(&set);
    assert!(said.contains("Transaction created"), "{said}");
    let said = lb.0.ask(&format!("commit ssl cert {file}\n"));
    assert!(said.contains("Success!"), "{said}");
}

#[test]
fn what_was_made_of_a_folder_of_certificates_goes_along() {
    let one = Server::start("one");
    let at = free();
    let folder = Daemon::folder();
    let ca = Authority::new();
    let certs = folder.join("certs");
    fs::create_dir(&certs).unwrap();
    let [a, b, n] = ["a.example", "b.example", "n.example"].map(|name| ca.issue(&[name]));
    fs::write(certs.join("a.pem"), a.both()).unwrap();
    fs::write(certs.join("b.pem"), b.both()).unwrap();
    let rest = tls(at, &one, "").replace("FOLDER/a.pem", "FOLDER/certs");
    let lb = Upgraded(Daemon::start(folder, &whole("", &rest), at));
    lb.0.ask("show version\n");
    let (list, file) = (certs.display(), certs.join("n.pem").display().to_string());
    lb.0.ask(&format!("new ssl cert {file}\n"));
    exchange(&lb, &file, &n);
    let said = lb.0.ask(&format!("add ssl crt-list {list} {file}\n"));
    assert!(said.contains("Success!"), "{said}");
    let said = lb.0.ask(&format!("del ssl crt-list {list} {list}/b.pem\n"));
    assert!(said.contains("deleted in crtlist"), "{said}");
    let listed = lb.0.ask(&format!("show ssl crt-list {list}\n"));
    for _ in 0..2 {
        lb.upgrade();
        assert_eq!(lb.0.ask(&format!("show ssl crt-list {list}\n")), listed);
        let visitor = Visitor::new(&ca, at, &rustls::version::TLS13);
        assert!(visitor.visits_by("n.example").1 == der(&n));
    }
}

#[test]
fn a_transaction_is_about_the_binds_that_there_are_at_its_end() {
    let one = Server::start("one");
    let at = free();
    let folder = Daemon::folder();
    let ca = Authority::new();
    let file = folder.join("a.pem").display().to_string();
    let [first, second] = [(); 2].map(|()| ca.issue(&["a.example"]));
    fs::write(&file, first.both()).unwrap();
    let lb = Upgraded(Daemon::start(folder, &whole("", &tls(at, &one, "")), at));
    lb.0.ask(&format!(
        "set ssl cert {file} <<\n{}\n",
        second.both().trim_end()
    ));
    lb.0.write(&whole("", &tls(at, &one, ", min_version: '1.3'")));
    let said = lb.0.ask("reload\n");
    assert!(said.starts_with("Success=1\n"), "{said}");
    let said = lb.0.ask(&format!("commit ssl cert {file}\n"));
    assert!(said.contains("Success!"), "{said}");
    let visitor = Visitor::new(&ca, at, &rustls::version::TLS13);
    assert!(visitor.visits().1 == der(&second));
}

fn der(made: &Made) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap()
}
