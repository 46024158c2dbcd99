//! `cargo xtask bench l4 --scale`: a daemon with 1,000 services of 10 servers and a million flows.
//!
//! What the kernel does is asked of the attached program itself, with a SYN: forwarded or not.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use lb_common::bench::Tuple;
use lb_tests::server::{Protocol, Server};
use lb_tests::{Context, Daemon, Error, Lab, Result, link, wait};
use serde_json::{Value, json};

use crate::case::thousands;
use crate::frame::{self, Kind};
use crate::live::{self, Live};
use crate::shape::{Family, Mode, Protocol as L4, Shape};

const SERVICES: u32 = 1000;
const SERVERS: u32 = 10;
const FLOWS: u32 = 1_000_000;
/// New flows are taken up to 95 % of it.
const MAX_FLOWS: u32 = 1_100_000;
/// The services' ports, from here on.
const FIRST_PORT: u16 = 20_000;
/// What the flows live on after their last packet.
const IDLE: Duration = Duration::from_secs(45);
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Measures everything and prints it on the way.
pub(crate) fn run() -> Result<Value> {
    let lab = Lab::builder().servers(2).build()?;
    let watched = SocketAddr::from((lab.server_addr(0), 9000));
    let mut watched = Server::start(lab.server(0), "watched", Protocol::Echo, watched)?;
    let mut figures = Figures::default();
    println!("{} services of {SERVERS} servers each", thousands(SERVICES));
    let mut daemon = Daemon::builder(&lab, &configuration(&lab, SERVICES))
        .fast_path(&format!(
            "attach: xdp, max_flows: {MAX_FLOWS}, snat_ports: 32768-60000"
        ))
        .prepare()?;
    let started = Instant::now();
    daemon.start_with(|daemon| daemon.pid())?;
    daemon.listens((lab.service_addr(), port(SERVICES - 1)).into())?;
    figures.time(
        "start until the last service accepts connections",
        started.elapsed(),
    );
    let inside = lab.balancer().enter();
    let side = link::ifindex(lab.client_side())?;
    let live = wait::until("an attached program", wait::PATIENCE * 3, || {
        Live::find(daemon.pin_path(), side)
    })?;
    let mut probe = Probe::new(&lab, live)?;
    probe.until("the kernel forwards the last service", SERVICES - 1, true)?;
    probe.until("the kernel forwards the first service", 0, true)?;
    figures.time(
        "start until the kernel forwards all of them",
        started.elapsed(),
    );
    memory(&daemon, &mut figures)?;

    let cpu = Cpu::of(&daemon)?;
    figures.share("the agent's thread without flows", cpu.share()?);
    let opened = Instant::now();
    probe.open(FLOWS)?;
    figures.time(
        "(opening a million fullnat flows by test runs)",
        opened.elapsed(),
    );
    figures.share("the agent's thread with a million flows", cpu.share()?);

    let changed = Instant::now();
    lb(&daemon, &["server", "maint", "b0/s0"])?;
    probe.until("b0 has no server", 0, false)?;
    figures.time("lb server maint, from command to kernel", changed.elapsed());
    lb(&daemon, &["server", "ready", "b0/s0"])?;
    probe.until("b0 has its server again", 0, true)?;
    let changed = Instant::now();
    watched.stop();
    probe.until("the server is down", 0, false)?;
    let what = format!("a server dies, checked every {CHECK_INTERVAL:?}, fall 1");
    figures.time(&what, changed.elapsed());
    let changed = Instant::now();
    watched.restart()?;
    probe.until("the server is up", 0, true)?;
    figures.time("it comes back, rise 1", changed.elapsed());
    change(&lab, &mut daemon, &mut probe, &mut figures)?;

    let cpu = wait::until("the agent's thread", wait::PATIENCE, || {
        Cpu::of(&daemon).ok()
    })?;
    let before = cpu.used()?;
    let mut first = None;
    wait::until("the flows to be gone", IDLE * 4, || {
        let expired = counter(&daemon, "flow_expired");
        if expired > 0 && first.is_none() {
            first = Some(Instant::now());
        }
        thread::sleep(Duration::from_millis(200));
        (expired >= u64::from(FLOWS)).then_some(())
    })?;
    let took = first.map_or(Duration::ZERO, |first| first.elapsed());
    figures.time(
        "their removal once idle, first to last (opened over as long)",
        took,
    );
    figures.time(
        "processor time of the agent's thread meanwhile",
        cpu.used()? - before,
    );
    drop(inside);
    daemon.signal(rustix::process::Signal::TERM)?;
    Ok(Value::Object(figures.0))
}

/// A file with so many services; the first one's only server is checked.
fn configuration(lab: &Lab, services: u32) -> String {
    let mut text = format!(
        "defaults: {{ mode: tcp, timeouts: {{ client: {0}s, server: {0}s }} }}\nfrontends:\n",
        IDLE.as_secs()
    );
    for i in 0..services {
        let _ = writeln!(
            text,
            "  f{i}: {{ bind: \"{}:{}\", default_backend: b{i} }}",
            lab.service_addr(),
            port(i)
        );
    }
    let _ = writeln!(
        text,
        "backends:\n  b0:\n    health_check: {{ type: tcp, interval: {}ms, rise: 1, fall: 1 }}\n    servers:\n      - {{ name: s0, \
         address: \"{}:9000\" }}",
        CHECK_INTERVAL.as_millis(),
        lab.server_addr(0)
    );
    for i in 1..services {
        let _ = writeln!(text, "  b{i}:\n    servers:");
        for server in 0..SERVERS {
            let address = lab.server_addr(server as usize % lab.servers());
            let _ = writeln!(
                text,
                "      - {{ name: s{server}, address: \"{address}:{}\" }}",
                10_000 + i * SERVERS + server
            );
        }
    }
    text
}

fn port(service: u32) -> u16 {
    FIRST_PORT + service as u16
}

/// Another service in the file: lb has no reload yet, so by a restart that takes over what is in the kernel.
fn change(
    lab: &Lab,
    daemon: &mut Daemon<'_>,
    probe: &mut Probe,
    figures: &mut Figures,
) -> Result<()> {
    daemon.write_config(&configuration(lab, SERVICES + 1))?;
    let changed = Instant::now();
    daemon.kill();
    daemon.start_with(|daemon| daemon.pid())?;
    probe.until("the new service is forwarded", SERVICES, true)?;
    figures.time(
        "a service more in the file, by a restart, from kill to kernel",
        changed.elapsed(),
    );
    Ok(())
}

fn lb(daemon: &Daemon<'_>, arguments: &[&str]) -> Result<()> {
    let output = daemon.lb(arguments)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::new(format!("lb {arguments:?}: {said}")))
}

fn memory(daemon: &Daemon<'_>, figures: &mut Figures) -> Result<()> {
    let maps = live::memory(daemon.pin_path())?;
    let total: u64 = maps.iter().map(|map| map.bytes).sum();
    for map in maps.iter().filter(|map| map.bytes * 50 > total) {
        figures.note(
            &format!("memory of {}", map.name),
            &format!(
                "{} MiB, {} entries of {} bytes",
                map.bytes >> 20,
                thousands(map.entries),
                map.bytes / u64::from(map.entries.max(1))
            ),
        );
    }
    figures.note("memory of all maps", &format!("{} MiB", total >> 20));
    Ok(())
}

/// Asks the attached program for what it does.
struct Probe {
    live: Live,
    service: Ipv4Addr,
    frames: [Vec<u8>; 3],
    clients: u32,
}

impl Probe {
    fn new(lab: &Lab, live: Live) -> Result<Probe> {
        let shape = Shape::new(Mode::FullNat, Family::V4, L4::Tcp);
        let [syn, answer, ack] =
            [Kind::Syn, Kind::SynAck, Kind::Ack].map(|kind| frame::frame(shape, kind));
        let (mut syn, answer, mut ack) = (syn?, answer?, ack?);
        // Those of a client are for the interface that they come in by.
        let to = link::mac(lab.client_side())?;
        for frame in [&mut syn, &mut ack] {
            frame[..to.len()].copy_from_slice(&to);
        }
        Ok(Probe {
            live,
            service: lab.service_addr(),
            frames: [syn, answer, ack],
            clients: 0,
        })
    }

    /// A client that was never there before, to this service.
    fn client(&mut self, service: u32) -> Tuple {
        self.clients += 1;
        Tuple {
            dst: u32::from(self.service).to_be(),
            dport: port(service).to_be(),
            ..frame::client(self.clients)
        }
    }

    /// Asks until the kernel takes new flows of a service, or does not.
    fn until(&mut self, what: &str, service: u32, taken: bool) -> Result<()> {
        let deadline = Instant::now() + wait::PATIENCE * 3;
        loop {
            let tuple = self.client(service);
            if self.packet(0, tuple)?.is_some() == taken {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::new(format!("not in a minute: {what}")));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes so many flows through their handshake, all services but the first in turn.
    fn open(&mut self, flows: u32) -> Result<()> {
        for i in 0..flows {
            let client = self.client(1 + i % (SERVICES - 1));
            let lost = || Error::new(format!("flow {i} was not forwarded"));
            let out = self.packet(0, client)?.ok_or_else(lost)?;
            let reply = frame::answer(Family::V4, &out);
            self.packet(1, reply)?.ok_or_else(lost)?;
            self.packet(2, client)?.ok_or_else(lost)?;
        }
        Ok(())
    }

    fn packet(&mut self, kind: usize, tuple: Tuple) -> Result<Option<Vec<u8>>> {
        frame::set_tuple(Family::V4, &mut self.frames[kind], tuple);
        self.live.send(&self.frames[kind])
    }
}

/// Processor time of the agent's thread.
struct Cpu(String);

impl Cpu {
    fn of(daemon: &Daemon<'_>) -> Result<Cpu> {
        let pid = daemon
            .pid()
            .ok_or_else(|| Error::new("lb is not running"))?;
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks)
            .context(|| format!("read {tasks}"))?
            .flatten()
        {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if name.trim() == "fast-path" {
                return Ok(Cpu(task.path().join("schedstat").display().to_string()));
            }
        }
        Err(Error::new("lb has no thread fast-path"))
    }

    fn used(&self) -> Result<Duration> {
        let text = fs::read_to_string(&self.0).context(|| format!("read {}", self.0))?;
        let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
        nanoseconds
            .map(Duration::from_nanos)
            .ok_or_else(|| Error::new(format!("{}: {text}", self.0)))
    }

    /// Of one processor, over some seconds.
    fn share(&self) -> Result<f64> {
        let (started, before) = (Instant::now(), self.used()?);
        thread::sleep(Duration::from_secs(8));
        Ok((self.used()? - before).as_secs_f64() / started.elapsed().as_secs_f64())
    }
}

fn counter(daemon: &Daemon<'_>, name: &str) -> u64 {
    let status = daemon.status().unwrap_or_default();
    let counters = status["fast_path"]["counters"].as_array();
    let found = counters
        .into_iter()
        .flatten()
        .find(|counter| counter["name"] == name);
    found
        .and_then(|counter| counter["value"].as_u64())
        .unwrap_or(0)
}

/// What was found, printed as it comes.
#[derive(Default)]
struct Figures(serde_json::Map<String, Value>);

impl Figures {
    fn time(&mut self, what: &str, time: Duration) {
        self.print(what, &format!("{:.3} s", time.as_secs_f64()));
        self.0.insert(what.to_owned(), json!(time.as_secs_f64()));
    }

    fn share(&mut self, what: &str, share: f64) {
        self.print(what, &format!("{:.1} % of a processor", share * 100.0));
        self.0.insert(what.to_owned(), json!(share));
    }

    fn note(&mut self, what: &str, text: &str) {
        self.print(what, text);
        self.0.insert(what.to_owned(), json!(text));
    }

    fn print(&self, what: &str, text: &str) {
        println!("  {what:<58} {text}");
    }
}
