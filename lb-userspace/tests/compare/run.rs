//! Starts both, carries the cases out, and compares.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{
    case::{Case, Deviation, Setup, Via},
    certificates::{Authority, Made},
    judge::{self, Verdict},
    log,
    places::{address, dateless, mute, names, number, ports, source, without_port},
    process::{PATIENCE, Proxy, Side},
    report,
    script::Settle,
    server,
    server::Record,
    services,
    talk::{self, Fields, Place},
};

const YAML: &str =
    "defaults:\n  mode: http\n  timeouts: { connect: 5s, client: 2s, server: 10s }\n";
const CFG: &str = "defaults\n    mode http\n    log global\n    option httplog\n    timeout connect 5s\n    \
    timeout client 2s\n    timeout server 10s\n";

/// What a side has left when it is through.
struct Carried {
    side: Side,
    /// What clients saw, case by case.
    talked: Vec<Fields>,
    log: String,
    sockets: Vec<(&'static str, SocketAddr)>,
}

/// What came of a case, by what it is.
pub(crate) type Outcome = BTreeMap<String, String>;

/// The sockets that the two listen on, by name.
const SOCKETS: [&str; 4] = ["web", "web2", "tls", "tls2"];

pub(crate) struct World {
    pub(crate) folder: PathBuf,
    servers: Vec<(&'static str, SocketAddr)>,
    record: Arc<Record>,
    tls: Arc<ClientConfig>,
    /// The same, with a certificate to show.
    known: Arc<ClientConfig>,
    /// A server whose queue of connections is full, and the ones in it.
    _mute: (TcpListener, Vec<socket2::Socket>),
}

/// Compares both; panics with all differences that are not meant.
pub(crate) fn compare(setup: &Setup) {
    if !report::is_wanted(setup.name) {
        return;
    }
    if Command::new("haproxy").arg("-v").output().is_err() {
        eprintln!("skipped: haproxy is not installed");
        return;
    }
    let world = World::new(setup, None);
    let not_read = NOT_READ.iter().find(|(name, _)| *name == setup.name);
    let (ours, theirs, read) = thread::scope(|scope| {
        let ours = scope.spawn(|| world.side(setup, Side::Ours, &None));
        let read = not_read
            .is_none()
            .then(|| scope.spawn(|| world.side(setup, Side::Read, &None)));
        let theirs = world.side(setup, Side::Theirs, &None);
        (
            ours.join().unwrap(),
            theirs,
            read.map(|read| read.join().unwrap()),
        )
    });
    let ours = world.gather(setup, &ours);
    let theirs = world.gather(setup, &theirs);
    let read = read.map(|read| world.gather(setup, &read));
    let mut told = String::new();
    if let Some(read) = read {
        let outcomes = ours.iter().zip(&theirs).zip(&read);
        for (case, ((ours, theirs), read)) in setup.cases.iter().zip(outcomes) {
            let mut fields: Vec<&String> = ours.keys().chain(read.keys()).collect();
            fields.sort();
            fields.dedup();
            for field in fields
                .into_iter()
                .filter(|field| ours.get(*field) != read.get(*field))
                // Whether an idle connection is seen to be closed in time is chance: what HAProxy did is right as well.
                .filter(|field| theirs.get(*field) != read.get(*field))
            {
                let (ours, read) = (ours.get(field), read.get(field));
                if UNLIKE.iter().any(|d| {
                    d.allows(
                        &case.name,
                        field,
                        ours.map_or("-", String::as_str),
                        read.map_or("-", String::as_str),
                    )
                }) {
                    continue;
                }
                // A client's port is another each time.
                if let (Some(ours), Some(read)) = (ours, read)
                    && setup
                        .deviations
                        .iter()
                        .any(|d| d.allows(&case.name, field, ours, read))
                {
                    continue;
                }
                let _ = writeln!(
                    told,
                    "  {:?} at {}, as haproxy.cfg is read\n    {field}:\n      YAML {ours:?}\n      .cfg {read:?}",
                    case.name, case.at
                );
            }
        }
        assert!(
            told.is_empty(),
            "{}: haproxy.cfg is not what YAML is\n{told}",
            setup.name
        );
    }
    let verdict = judge::judge(setup, &ours, &theirs);
    eprintln!(
        "{}: {} cases, {} differences meant, {} not",
        setup.name,
        setup.cases.len(),
        verdict.meant,
        verdict.count
    );
    report::compared("beside its YAML", setup, &verdict);
    assert!(
        verdict.count == 0,
        "{}: {} differences\n{}",
        setup.name,
        verdict.count,
        verdict.told
    );
}

/// Carries a file of the corpus out under both, ours reading HAProxy's file, and the YAML that it is imported as; what
/// differs, either way.
pub(crate) fn compare_read(setup: &Setup, world: &World, settle: &Option<Settle>) -> [Verdict; 2] {
    let (ours, theirs) = thread::scope(|scope| {
        let ours = [Side::Read, Side::Imported]
            .map(|side| scope.spawn(move || world.side(setup, side, settle)));
        let theirs = world.side(setup, Side::Theirs, settle);
        let joined = ours.map(|side| {
            side.join()
                .unwrap_or_else(|said| std::panic::resume_unwind(said))
        });
        (joined, theirs)
    });
    let theirs = world.gather(setup, &theirs);
    ours.map(|ours| judge::judge(setup, &world.gather(setup, &ours), &theirs))
}

/// Carries a file of the corpus out under both, ours reading the file of another setup; what differs.
pub(crate) fn compare_otherwise(
    setup: &Setup,
    ours: &Setup,
    world: &World,
    settle: &Option<Settle>,
) -> Verdict {
    let (read, theirs) = thread::scope(|scope| {
        let read = scope.spawn(|| world.side(ours, Side::Read, settle));
        let theirs = world.side(setup, Side::Theirs, settle);
        let read = read
            .join()
            .unwrap_or_else(|said| std::panic::resume_unwind(said));
        (read, theirs)
    });
    let (read, theirs) = (world.gather(setup, &read), world.gather(setup, &theirs));
    judge::judge(setup, &read, &theirs)
}

impl World {
    pub(crate) fn new(setup: &Setup, files: Option<&Path>) -> Self {
        let folder =
            std::env::temp_dir().join(format!("lb-compare-{}-{}", std::process::id(), setup.name));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in setup.files {
            fs::write(folder.join(name), text.replace('\n', "\r\n")).unwrap();
        }
        if let Some(files) = files {
            copy(files, &folder);
        }
        let ca = Authority::new();
        let issue = |name: &str, names: &[&str]| {
            let made = ca.issue(names);
            fs::write(folder.join(name), made.both()).unwrap();
            made
        };
        fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
        // Lists of nobody who is revoked, one of them too old.
        fs::write(folder.join("crl.pem"), ca.revoke(&[], 2090)).unwrap();
        fs::write(folder.join("old.pem"), ca.revoke(&[], 2021)).unwrap();
        fs::create_dir_all(folder.join("certs")).unwrap();
        issue("certs/a.pem", &["a", "a.example"]);
        issue("certs/b.pem", &["b.example", "*.b.example"]);
        let client = issue("client.pem", &["client.example"]);
        issue("a.pem", &["a", "a.example"]);
        issue("b.pem", &["b.example", "*.b.example"]);
        let inner = issue("inner.pem", &["inner.example"]);
        let mut roots = RootCertStore::empty();
        roots.add(ca.der()).unwrap();
        let tls = ClientConfig::builder()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let (chain, key) = pair(&client);
        let known = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        let (chain, key) = pair(&inner);
        let inner = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let ip = address(0);
        let record = Arc::new(Record::default());
        let mut servers: Vec<_> = ["s1", "s2", "s3"]
            .into_iter()
            .map(|name| (name, server::start(ip, name, None, &record)))
            .collect();
        servers.push((
            "secure",
            server::start(ip, "secure", Some(Arc::new(inner)), &record),
        ));
        servers.extend(services::start(ip));
        // Ports of servers, for those who know their host by name; `{dns}` tells where that is.
        let numbers = servers.iter().map(|(_, address)| address.port());
        let numbers: Vec<u16> = numbers.collect();
        servers.push(("dns", names(ip, &numbers).address));
        let mute = mute(ip);
        servers.push(("mute", mute.0.local_addr().unwrap()));
        // Where nobody may listen but the superuser, and nobody does.
        servers.push(("dead", SocketAddr::new(ip, 1)));
        World {
            folder,
            servers,
            record,
            tls: Arc::new(tls),
            known: Arc::new(known),
            _mute: mute,
        }
    }

    /// Carries all cases out.
    fn side(&self, setup: &Setup, side: Side, settle: &Option<Settle>) -> Carried {
        let ip = address(number());
        // All at a time: one that is let go of may be given out again.
        let free = SOCKETS.map(|name| (name, TcpListener::bind((ip, 0)).unwrap()));
        let sockets: Vec<(&'static str, SocketAddr)> = free
            .iter()
            .map(|(name, free)| (*name, free.local_addr().unwrap()))
            .collect();
        drop(free);
        let fill = |text: &str| {
            let folder = self.folder.display().to_string();
            // Where packages have sockets there is one for all, and each side wants its own.
            let run = format!("{folder}/{}-", side.tag(0));
            let mut text = text
                .replace("{dir}", &folder)
                .replace("/run/haproxy/", &run);
            for (name, address) in self.servers.iter().chain(&sockets) {
                text = text.replace(&format!("{{{name}}}"), &address.to_string());
            }
            text = self.with_ports(text);
            text.replace("{ip}", &ip.to_string())
        };
        let used = |name: &str| setup.text(side).contains(&format!("{{{name}}}"));
        let mut ready: Vec<_> = sockets
            .iter()
            .filter(|(name, _)| used(name))
            .map(|s| s.1)
            .collect();
        ready.extend(ports(setup.text(side)).map(|port| SocketAddr::new(ip, port)));
        let whole = setup.whole(side, &self.folder);
        let proxy = Proxy::start(side, &self.folder, &fill(&whole), &ready);
        // A socket's name, or `:PORT` of this side's own address.
        let at = |name: &str| match name.strip_prefix(':') {
            Some(port) => SocketAddr::new(ip, port.parse().unwrap()),
            None => sockets.iter().find(|(known, _)| *known == name).unwrap().1,
        };
        let run = |(i, case): (usize, &Case)| {
            let known = matches!(case.via, Via::Known(_));
            let place = Place {
                address: at(case.at),
                source: source(i),
                tag: &side.tag(i),
                tls: Arc::clone(if known { &self.known } else { &self.tls }),
                record: &self.record,
            };
            talk::run(&place, case)
        };
        let run = &run;
        if let Some(settle) = settle {
            settle.wait(at(settle.at), PATIENCE);
        }
        let talked: Vec<Fields> = if setup.parallel {
            thread::scope(|scope| {
                let threads: Vec<_> = setup
                    .cases
                    .iter()
                    .enumerate()
                    .map(|case| scope.spawn(move || run(case)))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            })
        } else {
            setup.cases.iter().enumerate().map(run).collect()
        };
        let log = proxy.stop();
        let mut sockets = sockets;
        sockets.push(("ip", SocketAddr::new(ip, 0)));
        Carried {
            side,
            talked,
            log,
            sockets,
        }
    }

    /// A file of the corpus for HAProxy or us to look at, with sockets that nobody listens on.
    pub(crate) fn write(&self, setup: &Setup) -> PathBuf {
        let ip = address(number());
        let text = setup.whole(Side::Read, &self.folder);
        let mut text = text.replace("{dir}", &self.folder.display().to_string());
        let sockets = SOCKETS.iter().zip(9000..);
        let sockets = sockets.map(|(&name, port)| (name, SocketAddr::new(ip, port)));
        for (name, address) in self.servers.iter().copied().chain(sockets) {
            text = text.replace(&format!("{{{name}}}"), &address.to_string());
        }
        let path = self.folder.join("looked-at.cfg");
        text = self.with_ports(text);
        fs::write(&path, text.replace("{ip}", &ip.to_string())).unwrap();
        path
    }

    /// `{s1 port}` and so on stand for ports alone.
    fn with_ports(&self, mut text: String) -> String {
        for (name, address) in &self.servers {
            text = text.replace(&format!("{{{name} port}}"), &address.port().to_string());
        }
        text
    }

    /// What came of each case, once all sides are through with theirs and servers with all connections.
    fn gather(&self, setup: &Setup, carried: &Carried) -> Vec<Outcome> {
        self.record.wait_for_quiet();
        let Carried {
            side,
            talked,
            log,
            sockets,
        } = carried;
        let lines: Vec<(String, Fields)> = log
            .lines()
            .filter_map(|line| log::parse(line).or_else(|| log::raw(line)))
            .collect();
        let outcomes = setup
            .cases
            .iter()
            .zip(talked)
            .enumerate()
            .map(|(i, (case, talked))| {
                let mut outcome = Outcome::new();
                let mut note = |name: String, value: &str| {
                    let mut value = value.to_owned();
                    for (name, address) in sockets {
                        value = value.replace(&address.to_string(), &format!("{{{name}}}"));
                        value = value.replace(&address.ip().to_string(), "{ip}");
                        if address.port() != 0 {
                            value = without_port(&value, address.port());
                        }
                    }
                    let values = outcome.entry(name).or_default();
                    if !values.is_empty() {
                        values.push_str(" | ");
                    }
                    values.push_str(&dateless(&value));
                };
                for (name, value) in talked {
                    note(name.clone(), value);
                }
                let source = source(i).to_string();
                let mut logged: Vec<Fields> = lines
                    .iter()
                    .filter(|(client, _)| *client == source)
                    .map(|(_, fields)| fields.clone())
                    .collect();
                let line = |fields: &Fields, what: &str| {
                    let found = fields.iter().find(|(name, _)| name == what);
                    found.map(|(_, value)| value.clone()).unwrap_or_default()
                };
                // Several connections end in no order of theirs.
                if !case.busy.is_empty() {
                    logged.sort_by_key(|fields| line(fields, "request"));
                }
                // That a request more was answered, or not, is all that is to be known of it.
                logged.retain(|fields| !line(fields, "request").contains(" /another "));
                let mut seen = self.record.of(&side.tag(i));
                seen.retain(|fields| !line(fields, "line").contains(" /another "));
                for (what, all) in [("seen", seen), ("log", logged)] {
                    for (number, fields) in all.iter().enumerate() {
                        for (name, value) in fields {
                            note(format!("{what} {} {name}", number + 1), value);
                        }
                    }
                }
                outcome
            });
        outcomes.collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Setup {
    fn text(&self, side: Side) -> &'static str {
        match side {
            Side::Ours => self.yaml,
            Side::Theirs | Side::Read | Side::Imported => self.cfg,
        }
    }

    /// The file as this side gets it.
    fn whole(&self, side: Side, folder: &Path) -> String {
        let (path, text) = (folder.display(), self.text(side));
        let defaults = if self.is_of_corpus() { "" } else { CFG };
        match side {
            Side::Read | Side::Imported => {
                let socket = match side {
                    Side::Imported => "imported",
                    _ => "read",
                };
                format!(
                    "global\n    log stderr format raw local0 info\n    nbthread 1\n    \
                     stats socket {path}/{socket}.sock level admin\n{defaults}{text}"
                )
            }
            Side::Ours => format!(
                "global:\n  threads: 1\n  admin_socket: {path}/admin.sock\n  fast_path: {{ attach: off }}\n  \
                 log: [{{ target: {path}/ours.log, level: info }}]\n{}{text}",
                if text.contains("defaults:") { "" } else { YAML }
            ),
            Side::Theirs => format!(
                "global\n    log stdout format raw local0 info\n    nbthread 1\n    maxconn 500\n{defaults}{text}"
            ),
        }
    }

    /// Whether it is a whole haproxy.cfg with no YAML beside it.
    pub(crate) fn is_of_corpus(&self) -> bool {
        self.yaml.is_empty()
    }
}

/// Copies a folder's files and folders into another.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}

/// A certificate and its key as rustls wants them.
fn pair(made: &Made) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(made.cert.as_bytes()).map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    (chain.collect(), key)
}

/// Setups whose haproxy.cfg says what lb cannot read yet.
const NOT_READ: &[(&str, &str)] = &[];

/// What a haproxy.cfg says otherwise than the YAML beside it.
const UNLIKE: &[Deviation] = &[Deviation {
    cases: &["Host: one.example."],
    field: "seen 1 header x-one",
    ours: "1",
    theirs: "-",
    why: "the YAML asks for `host`, which takes a dot at the end away; `hdr(host)` does not",
}];
