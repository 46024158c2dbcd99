//! Starts both, carries the cases out, and compares.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::{
    case::{Case, Deviation, EVERYTHING, Setup},
    certificates::Authority,
    log, server,
    server::Record,
    talk::{self, Fields, Place},
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const YAML: &str =
    "defaults:\n  mode: http\n  timeouts: { connect: 5s, client: 2s, server: 10s }\n";
const CFG: &str = "defaults\n    mode http\n    log global\n    option httplog\n    timeout connect 5s\n    \
    timeout client 2s\n    timeout server 10s\n";

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
    /// Ours, with HAProxy's file.
    Read,
}

/// What came of a case, by what it is.
type Outcome = BTreeMap<String, String>;

/// The sockets that the two listen on, by name.
const SOCKETS: [&str; 4] = ["web", "web2", "tls", "tls2"];

struct World {
    folder: PathBuf,
    servers: Vec<(&'static str, SocketAddr)>,
    record: Arc<Record>,
    tls: Arc<ClientConfig>,
    /// A server whose queue of connections is full, and the ones in it.
    _mute: (TcpListener, Vec<socket2::Socket>),
}

/// Compares both; panics with all differences that are not meant.
pub(crate) fn compare(setup: &Setup) {
    if Command::new("haproxy").arg("-v").output().is_err() {
        eprintln!("skipped: haproxy is not installed");
        return;
    }
    let world = World::new(setup);
    let not_read = NOT_READ.iter().find(|(name, _)| *name == setup.name);
    let (ours, theirs, read) = thread::scope(|scope| {
        let ours = scope.spawn(|| world.side(setup, Side::Ours));
        let read = not_read
            .is_none()
            .then(|| scope.spawn(|| world.side(setup, Side::Read)));
        let theirs = world.side(setup, Side::Theirs);
        (
            ours.join().unwrap(),
            theirs,
            read.map(|read| read.join().unwrap()),
        )
    });
    let mut told = String::new();
    if let Some(read) = read {
        for (case, (ours, read)) in setup.cases.iter().zip(ours.iter().zip(&read)) {
            let mut fields: Vec<&String> = ours.keys().chain(read.keys()).collect();
            fields.sort();
            fields.dedup();
            for field in fields
                .into_iter()
                .filter(|field| ours.get(*field) != read.get(*field))
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
    let mut used = vec![0; setup.deviations.len()];
    let (mut count, mut defended) = (0, 0);
    for (case, (ours, theirs)) in setup.cases.iter().zip(ours.iter().zip(&theirs)) {
        let mut fields: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
        fields.sort();
        fields.dedup();
        let mut said = String::new();
        let status = |outcome: &Outcome| {
            outcome
                .get("1 status")
                .cloned()
                .unwrap_or_else(|| "-".into())
        };
        let (status, their_status) = (status(ours), status(theirs));
        let whole = |d: &Deviation| d.allows(&case.name, EVERYTHING, &status, &their_status);
        if let Some(i) = setup
            .deviations
            .iter()
            .position(whole)
            .filter(|_| ours != theirs)
        {
            used[i] += 1;
            defended += 1;
            continue;
        }
        for field in fields {
            let of =
                |outcome: &'_ Outcome| outcome.get(field).cloned().unwrap_or_else(|| "-".into());
            let (ours, theirs) = (of(ours), of(theirs));
            if ours == theirs {
                continue;
            }
            let meant = |d: &Deviation| d.allows(&case.name, field, &ours, &theirs);
            if ALWAYS.iter().any(meant) {
                continue;
            }
            if let Some(i) = setup.deviations.iter().position(meant) {
                used[i] += 1;
                defended += 1;
                continue;
            }
            count += 1;
            let _ = writeln!(
                said,
                "    {field}:\n      ours   {ours:?}\n      theirs {theirs:?}"
            );
        }
        if !said.is_empty() {
            let _ = writeln!(told, "  {:?} at {}\n{said}", case.name, case.at);
        }
    }
    for (deviation, _) in setup
        .deviations
        .iter()
        .zip(&used)
        .filter(|(_, used)| **used == 0)
    {
        count += 1;
        let _ = writeln!(
            told,
            "  no more: {} in {:?} ({})",
            deviation.field, deviation.cases, deviation.why
        );
    }
    eprintln!(
        "{}: {} cases, {defended} differences meant, {count} not",
        setup.name,
        setup.cases.len()
    );
    assert!(count == 0, "{}: {count} differences\n{told}", setup.name);
}

/// A number of this run's own for each configuration.
fn number() -> u8 {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    NUMBER.fetch_add(1, Relaxed)
}

impl World {
    fn new(setup: &Setup) -> Self {
        let folder =
            std::env::temp_dir().join(format!("lb-compare-{}-{}", std::process::id(), setup.name));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in setup.files {
            fs::write(folder.join(name), text.replace('\n', "\r\n")).unwrap();
        }
        let ca = Authority::new();
        let issue = |name: &str, names: &[&str]| {
            let made = ca.issue(names);
            fs::write(folder.join(name), made.both()).unwrap();
            made
        };
        fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
        issue("a.pem", &["a", "a.example"]);
        issue("b.pem", &["b.example", "*.b.example"]);
        let inner = issue("inner.pem", &["inner.example"]);
        let mut roots = RootCertStore::empty();
        roots.add(ca.der()).unwrap();
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
        let chain = CertificateDer::pem_slice_iter(inner.cert.as_bytes())
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(inner.key.as_bytes()).unwrap();
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
        let mute = mute(ip);
        servers.push(("mute", mute.0.local_addr().unwrap()));
        // Where nobody may listen but the superuser, and nobody does.
        servers.push(("dead", SocketAddr::new(ip, 1)));
        World {
            folder,
            servers,
            record,
            tls: Arc::new(tls),
            _mute: mute,
        }
    }

    /// What came of each case.
    fn side(&self, setup: &Setup, side: Side) -> Vec<Outcome> {
        let ip = address(number());
        let sockets: Vec<(&str, SocketAddr)> = SOCKETS
            .iter()
            .map(|&name| {
                let free = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
                (name, free)
            })
            .collect();
        let fill = |text: &str| {
            let mut text = text.replace("{dir}", &self.folder.display().to_string());
            for (name, address) in self.servers.iter().chain(&sockets) {
                text = text.replace(&format!("{{{name}}}"), &address.to_string());
            }
            text
        };
        let used = |name: &str| setup.text(side).contains(&format!("{{{name}}}"));
        let ready: Vec<_> = sockets
            .iter()
            .filter(|(name, _)| used(name))
            .map(|s| s.1)
            .collect();
        let proxy = Proxy::start(side, &self.folder, &fill(setup.text(side)), &ready);
        let tag = |i: usize| {
            let side = match side {
                Side::Ours => "o",
                Side::Theirs => "t",
                Side::Read => "r",
            };
            format!("{side}{i}")
        };
        let run = |(i, case): (usize, &Case)| {
            let place = Place {
                address: sockets.iter().find(|(name, _)| *name == case.at).unwrap().1,
                source: source(i),
                tag: &tag(i),
                tls: Arc::clone(&self.tls),
                record: &self.record,
            };
            talk::run(&place, case)
        };
        let run = &run;
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
        self.gather(setup, &talked, &log, tag, &sockets)
    }

    fn gather(
        &self,
        setup: &Setup,
        talked: &[Fields],
        log: &str,
        tag: impl Fn(usize) -> String,
        sockets: &[(&str, SocketAddr)],
    ) -> Vec<Outcome> {
        let lines: Vec<(String, Fields)> = log.lines().filter_map(log::parse).collect();
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
                        value = value.replace(&address.port().to_string(), "{port}");
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
                let mut seen = self.record.of(&tag(i));
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
            Side::Theirs | Side::Read => self.cfg,
        }
    }
}

/// An address of the loopback network that only this process uses.
fn address(last: u8) -> IpAddr {
    let process = std::process::id();
    let [_, _, high, low] = process.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 64 + high % 64, low, 1 + last))
}

/// The address that a case's client has.
fn source(case: usize) -> IpAddr {
    let case = u16::try_from(case).unwrap();
    IpAddr::V4(Ipv4Addr::new(
        127,
        200,
        (case / 200) as u8,
        1 + (case % 200) as u8,
    ))
}

/// The dates in cookies, which are those of the moment.
fn dateless(value: &str) -> String {
    use std::sync::LazyLock;
    static DATE: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"\|[A-Za-z0-9_-]{5}\b").unwrap());
    DATE.replace_all(value, "|DATE").into_owned()
}

/// A listening socket that takes no more connections.
fn mute(ip: IpAddr) -> (TcpListener, Vec<socket2::Socket>) {
    use socket2::{Domain, Socket, Type};
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(&SocketAddr::new(ip, 0).into()).unwrap();
    listener.listen(0).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap().into();
    let waiting = (0..3).map(|_| {
        let waiting = socket();
        waiting.set_nonblocking(true).unwrap();
        let _ = waiting.connect(&address);
        waiting
    });
    let waiting = waiting.collect();
    (listener, waiting)
}

/// One of the two as it runs.
struct Proxy {
    side: Side,
    child: Child,
    log: PathBuf,
}

impl Proxy {
    fn start(side: Side, folder: &Path, text: &str, ready: &[SocketAddr]) -> Self {
        let path = folder.display();
        let (name, text) = match side {
            Side::Read => (
                "read.cfg",
                format!(
                    "global\n    log stderr format raw local0 info\n    nbthread 1\n    stats socket {path}/read.sock\n{CFG}{text}"
                ),
            ),
            Side::Ours => (
                "ours",
                format!(
                    "global:\n  threads: 1\n  admin_socket: {path}/admin.sock\n  fast_path: {{ attach: off }}\n  \
                     log: [{{ target: {path}/ours.log, level: info }}]\n{}{text}",
                    if text.contains("defaults:") { "" } else { YAML }
                ),
            ),
            Side::Theirs => (
                "theirs",
                format!(
                    "global\n    log stdout format raw local0 info\n    nbthread 1\n    maxconn 500\n{CFG}{text}"
                ),
            ),
        };
        let config = match side {
            Side::Read => folder.join(name),
            _ => folder.join(format!("{name}.config")),
        };
        let errors = folder.join(format!("{name}.stderr"));
        let log = match side {
            Side::Read => errors.clone(),
            _ => folder.join(format!("{name}.log")),
        };
        fs::write(&config, text).unwrap();
        let (mut command, stdout) = match side {
            Side::Ours | Side::Read => (Command::new(env!("CARGO_BIN_EXE_lb")), Stdio::null()),
            Side::Theirs => (
                Command::new("haproxy"),
                fs::File::create(&log).unwrap().into(),
            ),
        };
        let arguments: &[&str] = match side {
            Side::Ours | Side::Read => &["run", "--config"],
            Side::Theirs => &["-db", "-f"],
        };
        let child = command
            .args(arguments)
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let mut proxy = Proxy { side, child, log };
        let deadline = Instant::now() + PATIENCE;
        while ready.iter().any(|at| TcpStream::connect(at).is_err()) {
            let said = || fs::read_to_string(&errors).unwrap_or_default();
            assert!(
                proxy.child.try_wait().unwrap().is_none(),
                "{name} ended: {}",
                said()
            );
            assert!(
                Instant::now() < deadline,
                "{name} does not accept: {}",
                said()
            );
            thread::sleep(Duration::from_millis(5));
        }
        proxy
    }

    /// Ends it once its connections have, so that all of its log is written; the log.
    fn stop(mut self) -> String {
        let signal = match self.side {
            Side::Ours | Side::Read => Signal::TERM,
            Side::Theirs => Signal::USR1,
        };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What differs everywhere.
const ALWAYS: &[Deviation] = &[Deviation {
    cases: &["HTTP/1.0", "1.0"],
    field: "1 version",
    ours: "HTTP/1.0",
    theirs: "HTTP/1.1",
    why: "hyper answers a client that speaks HTTP/1.0 in that version, HAProxy in its own; RFC 9110 section 6.2 allows both",
}];

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
