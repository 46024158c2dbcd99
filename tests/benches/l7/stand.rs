//! The namespace, the servers, and everybody who is measured, running side by side.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lb_tests::process::{Process, run};
use lb_tests::scratch::Scratch;
use lb_tests::tag::{TEST_PREFIX, Tag};
use lb_tests::{Context, Error, Netns, Result, wait};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::load::{Case, Kind, Size};
use crate::peer::{LOG, Peer, SERVERS, filled};

/// The core of who is measured, and that of all others.
const PROXY: usize = 0;
const OTHERS: usize = 1;

pub(crate) struct Stand {
    peers: Vec<Peer>,
    running: Vec<Process>,
    _servers: Process,
    lines: Arc<AtomicU64>,
    netns: Netns,
    _files: Scratch,
}

/// One case, one turn.
pub(crate) struct Figures {
    /// Microseconds of processor time a request.
    pub(crate) us: f64,
    /// Requests a second.
    pub(crate) pace: f64,
    /// The share of the time that the process kept its core busy, and that others did.
    pub(crate) busy: f64,
    pub(crate) foreign: f64,
    /// Lines of the log that arrived, a request.
    pub(crate) lines: f64,
}

impl Stand {
    /// Starts them: those that `Peer::found` finds.
    pub(crate) fn new(features: bool) -> Result<Stand> {
        if thread::available_parallelism().map_or(1, usize::from) <= OTHERS {
            return Err(Error::new("this takes two cores"));
        }
        let tag = Tag::new(TEST_PREFIX);
        let files = Scratch::files(&tag, "l7")?;
        let netns = Netns::new(&tag.name("l7"))?;
        let dir = files.path();
        fs::create_dir(dir.join("www")).context(|| "make a folder")?;
        for size in [Size::Small, Size::Large] {
            let file = format!("www/{}", size.file());
            files.write(&file, &"x".repeat(size.bytes()))?;
        }
        certificate(&files)?;
        let servers = files.write(
            "servers.conf",
            &filled(include_str!("conf/servers.conf"), dir, 0),
        )?;
        let lines = sink(&netns)?;
        let nginx = ["nginx".into(), "-c".into(), servers.into()];
        let mut servers = start(&netns, OTHERS, &nginx)?;
        listens(&netns, SERVERS.into_iter(), &mut servers)?;
        let peers = Peer::found(features);
        let mut running = Vec::new();
        for peer in &peers {
            let (name, text) = peer.configuration(dir);
            let file = files.write(&name, &text)?;
            let mut process = start(&netns, PROXY, &peer.command(&file))?;
            listens(&netns, peer.ports(), &mut process)?;
            running.push(process);
        }
        Ok(Stand {
            peers,
            running,
            _servers: servers,
            lines,
            netns,
            _files: files,
        })
    }

    /// Lets them end by themselves: an lb that counts what it runs writes that down in the end.
    pub(crate) fn end(mut self) {
        for process in &mut self.running {
            process.end(Duration::from_secs(5));
        }
    }

    pub(crate) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Makes sure that `peer` answers `case` as it should before anybody counts how fast.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn ask(&self, peer: &Peer, case: &Case) -> Result<()> {
        let mut curl = self.netns.command("curl");
        let version = if case.kind == Kind::Tls2 { "2" } else { "1.1" };
        curl.args([
            "-sk",
            "--noproxy",
            "*",
            "--max-time",
            "5",
            "-o",
            "/dev/null",
        ]);
        curl.args(["-w", "%{http_code} %{http_version} %{size_download}"]);
        curl.args([&format!("--http{version}"), &case.url(peer.port(case))]);
        let said = String::from_utf8_lossy(&run(&mut curl)?.stdout).into_owned();
        let expected = format!("200 {version} {}", case.size.bytes());
        match said == expected {
            true => Ok(()),
            false => Err(Error::new(format!(
                "{}, {}: `{said}` instead of `{expected}`",
                peer.name(),
                case.name
            ))),
        }
    }

    /// Lets a client loose on `peer`.
    ///
    /// # Errors
    /// Some requests failed.
    pub(crate) fn measure(&self, peer: &Peer, case: &Case, time: Duration) -> Result<Figures> {
        let index = self
            .peers
            .iter()
            .position(|other| other.name() == peer.name());
        let process = index.and_then(|index| self.running.get(index));
        let process = process.ok_or_else(|| Error::new("a peer that does not run"))?;
        let client: Vec<OsString> = case
            .client(peer.port(case), time)
            .into_iter()
            .map(Into::into)
            .collect();
        let (used, busy, lines) = (processor_time(process.pid())?, core_busy()?, self.lines());
        let began = Instant::now();
        let mut client = start(&self.netns, OTHERS, &client)?;
        client.wait(time * 2 + Duration::from_secs(30))?;
        let took = began.elapsed().as_secs_f64();
        let spent = (processor_time(process.pid())? - used).as_secs_f64();
        let foreign = (core_busy()? - busy).as_secs_f64() - spent;
        let answered = case.answered(&(client.stdout() + &client.stderr()))? as f64;
        // Lines come in batches.
        thread::sleep(Duration::from_millis(100));
        Ok(Figures {
            us: spent / answered * 1e6,
            pace: answered / took,
            busy: spent / took,
            foreign: foreign.max(0.0) / took,
            lines: (self.lines() - lines) as f64 / answered,
        })
    }

    fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }
}

/// Starts a command on one core, where its threads stay.
fn start(netns: &Netns, core: usize, words: &[OsString]) -> Result<Process> {
    let [program, arguments @ ..] = words else {
        return Err(Error::new("an empty command"));
    };
    let mut command: Command = netns.command(program);
    command.args(arguments);
    // A child is where its parent was.
    stay_on(core)?;
    let process = Process::start(command);
    stay_on(OTHERS)?;
    process
}

fn stay_on(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).context(|| format!("stay on core {core}"))
}

/// Waits until a process listens on all `ports`.
fn listens(
    netns: &Netns,
    mut ports: impl Iterator<Item = u16>,
    process: &mut Process,
) -> Result<()> {
    let _inside = netns.enter();
    ports.try_for_each(|port| {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listens =
            wait::until(
                format!("a listener on port {port}"),
                wait::PATIENCE,
                || match process.ended() {
                    Some(status) => Some(Err(Error::new(format!("it has ended: {status}")))),
                    None => TcpStream::connect(at).is_ok().then_some(Ok(())),
                },
            );
        listens
            .and_then(|listens| listens)
            .map_err(|error| Error::new(format!("{error}; it said: {}", process.stderr())))
    })
}

/// Takes the log's lines, and counts them.
fn sink(netns: &Netns) -> Result<Arc<AtomicU64>> {
    let socket = netns
        .run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, LOG)))
        .context(|| "take the log")?;
    let lines = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&lines);
    stay_on(OTHERS)?;
    // Ends with the process.
    thread::spawn(move || {
        let mut line = [0; 2048];
        while socket.recv(&mut line).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(lines)
}

/// A certificate and its key in one file, as HAProxy wants it, and the key by itself, as Sōzu does.
fn certificate(files: &Scratch) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .map_err(|error| Error::new(format!("make a certificate: {error}")))?;
    let key = made.signing_key.serialize_pem();
    files.write("key.pem", &key)?;
    files
        .write("site.pem", &(made.cert.pem() + &key))
        .map(|_| ())
}

/// Processor time of a process and of its children, which Sōzu works by: of all their threads, by the scheduler's account
/// (proc(5), schedstat).
fn processor_time(pid: u32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut used = Duration::ZERO;
    for task in fs::read_dir(&tasks).context(|| format!("read {tasks}"))? {
        let task = task.context(|| "read a thread")?.path();
        used += Duration::from_nanos(on_cpu(&task.join("schedstat"))?);
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        for child in children.split_whitespace().flat_map(str::parse) {
            used += processor_time(child)?;
        }
    }
    Ok(used)
}

fn on_cpu(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).context(|| format!("read {}", path.display()))?;
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    first.ok_or_else(|| Error::new(format!("{}: {text}", path.display())))
}

/// How long the proxy's core has been busy since the machine started.
fn core_busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context(|| "read /proc/stat")?;
    let name = format!("cpu{PROXY}");
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(&name));
    let ticks: Vec<u64> = line
        .into_iter()
        .flat_map(|line| line.split(' ').skip(1))
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; then what is in user already.
    let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else {
        return Err(Error::new("/proc/stat says nothing of the proxy's core"));
    };
    // USER_HZ, which is 100 wherever lb runs.
    const TICKS: u64 = 100;
    let busy = user + nice + system + irq + softirq + steal;
    Ok(Duration::from_millis(busy * 1000 / TICKS))
}
