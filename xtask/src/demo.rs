//! The demo: `conf/demo.yaml` between a client and three servers, in namespaces of its own; without root or BPF the same
//! file in userspace on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use lb_tests::process::{self, Process};
use lb_tests::server::{Protocol, Server};
use lb_tests::{Lab, Netns, bpf, netns, scratch};
use serde_json::Value;

use crate::error::Error;

mod smoke;

pub(crate) use smoke::smoke;

/// Names of everything the demo makes begin so.
const PREFIX: &str = "lb-demo";
/// The network of the servers in `conf/demo.yaml`, and what stands in for it on loopback.
const SERVERS: &str = "10.77.2.";
const LOOPBACK: &str = "127.77.2.";
/// Ports of the servers: one a backend of the file.
const PORTS: [u16; 4] = [8080, 8081, 8082, 8083];
/// How long the daemon may take until the kernel forwards.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running demo; all of it is gone after drop.
pub(crate) struct Demo {
    lb: PathBuf,
    // Fields are dropped in this order: the daemon before the network that it is attached to.
    daemon: Process,
    pub(crate) servers: Vec<Server>,
    client: Option<Netns>,
    lab: Option<Lab>,
    files: Files,
}

/// The demo's folder and, with a kernel path, its pins.
struct Files {
    folder: PathBuf,
    pins: Option<PathBuf>,
}

impl Drop for Files {
    fn drop(&mut self) {
        // What is not there needs no removing; the rest is swept by the next start.
        let _ = fs::remove_dir_all(&self.folder);
        if let Some(pins) = &self.pins {
            remove_pins(pins);
        }
    }
}

impl Demo {
    /// Starts servers and daemon, and waits until the data path stands.
    pub(crate) fn start(lb: &Path, conf: &Path, kernel: Result<(), String>) -> Result<Self, Error> {
        netns::sweep(PREFIX);
        scratch::sweep(PREFIX);
        let lab = match kernel {
            Ok(()) => Some(Lab::builder().prefix(PREFIX).build().map_err(Error::Demo)?),
            Err(why) => {
                println!("Without a kernel path, in userspace on loopback: {why}.");
                None
            }
        };
        let name = match &lab {
            Some(lab) => lab.tag().to_string(),
            None => format!("{PREFIX}-{}", std::process::id()),
        };
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        let pins = lab.as_ref().map(|_| Path::new("/sys/fs/bpf").join(&name));
        let files = Files { folder, pins };
        let config = files.folder.join("demo.yaml");
        let text = fs::read_to_string(conf).map_err(Error::file("read", conf))?;
        fs::write(&config, files.place(&text)).map_err(Error::file("write", &config))?;

        let mut servers = Vec::new();
        for i in 0..3u8 {
            for port in PORTS {
                let here = Netns::here();
                let (namespace, net) = match &lab {
                    Some(lab) => (lab.server(usize::from(i)), [10, 77, 2]),
                    None => (&here, [127, 77, 2]),
                };
                let address = IpAddr::V4(Ipv4Addr::new(net[0], net[1], net[2], 11 + i));
                let name = format!("s{}", i + 1);
                let server = Server::start(
                    namespace,
                    &name,
                    Protocol::Http,
                    SocketAddr::new(address, port),
                );
                servers.push(server.map_err(Error::Demo)?);
            }
        }
        let here = Netns::here();
        let mut command = lab.as_ref().map_or(&here, Lab::balancer).command(lb);
        command.arg("run").arg("--config").arg(&config);
        let daemon = Process::start(command).map_err(Error::Demo)?;
        let client = lab.is_none().then(Netns::here);
        let mut demo = Demo {
            lb: lb.into(),
            daemon,
            servers,
            client,
            lab,
            files,
        };
        demo.wait_until_ready()?;
        Ok(demo)
    }

    /// Where clients connect from.
    pub(crate) fn client(&self) -> &Netns {
        match (&self.lab, &self.client) {
            (Some(lab), _) => lab.client(),
            (None, Some(here)) => here,
            (None, None) => unreachable!("one of the two is always there"),
        }
    }

    /// Whether connections go through the kernel.
    pub(crate) fn has_kernel_path(&self) -> bool {
        self.lab.is_some()
    }

    /// The address that clients connect to.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        let ip = if self.lab.is_some() {
            Ipv4Addr::new(10, 77, 1, 1)
        } else {
            Ipv4Addr::LOCALHOST
        };
        SocketAddr::new(ip.into(), port)
    }

    /// `lb status --json`; `None` while the daemon does not answer.
    pub(crate) fn status(&self) -> Option<Value> {
        let here = Netns::here();
        let mut command = self
            .lab
            .as_ref()
            .map_or(&here, Lab::balancer)
            .command(&self.lb);
        command
            .args(["status", "--json", "--socket"])
            .arg(self.files.socket());
        let output = process::run(&mut command).ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The daemon's log so far.
    pub(crate) fn log(&self) -> String {
        self.daemon.stderr()
    }

    fn wait_until_ready(&mut self) -> Result<(), Error> {
        let wanted = if self.has_kernel_path() {
            "kernel"
        } else {
            "userspace"
        };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.daemon.ended().is_some() {
                break;
            }
            let path = self.status().and_then(|s| {
                let frontends = s["frontends"].as_array()?.clone();
                let tcp = frontends
                    .iter()
                    .find(|f| f["name"] == "roundrobin" || f["row"]["pxname"] == "roundrobin")?;
                tcp["path"].as_str().map(str::to_owned)
            });
            if path.as_deref() == Some(wanted) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(Error::NotReady(self.log()))
    }

    /// What there is and what to try.
    pub(crate) fn introduce(&self) {
        let enter = match &self.lab {
            Some(lab) => format!("sudo ip netns exec {} ", lab.client().name()),
            None => String::new(),
        };
        let at = |port| format!("http://{}", self.address(port));
        println!();
        match &self.lab {
            Some(_) => println!(
                "  client 10.77.1.2 ── clients0 10.77.1.1 [ lb ] 10.77.2.1 servers0 ─┬─ s1 10.77.2.11\n\
                 \x20                                                                   ├─ s2 10.77.2.12\n\
                 \x20                                                                   └─ s3 10.77.2.13"
            ),
            None => println!("  client ── 127.0.0.1 [ lb ] ── s1, s2, s3 at 127.77.2.11, .12, .13"),
        }
        println!("\nTry, in another terminal:");
        let kernel = if self.has_kernel_path() {
            "in the kernel"
        } else {
            "in userspace"
        };
        println!(
            "  {enter}curl {}/            TCP {kernel}, roundrobin 2:1:1",
            at(9002)
        );
        println!(
            "  {enter}curl {}/            TCP {kernel}, leastconn",
            at(9003)
        );
        println!(
            "  {enter}curl {}/            TCP {kernel}, source: always the same server",
            at(9004)
        );
        println!(
            "  {enter}curl -i {}/ms1/hello   HTTP by path, with a cookie that sticks",
            at(9001)
        );
        println!(
            "  {enter}curl -u admin:admin {}/stats   statistics (also /stats;csv, /metrics)",
            at(1080)
        );
        println!(
            "  {} status --socket {}",
            self.lb.display(),
            self.files.socket().display()
        );
        println!("\nCtrl-C ends it and leaves nothing behind.\n");
    }

    /// Prints counters until `stop`.
    pub(crate) fn watch(&mut self, stop: &AtomicBool) {
        use std::io::{IsTerminal as _, Write as _};
        let terminal = std::io::stdout().is_terminal();
        let every = Duration::from_secs(if terminal { 1 } else { 5 });
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) && self.daemon.ended().is_none() {
            if Instant::now() >= next {
                next += every;
                if let Some(status) = self.status() {
                    let line = counters(&status);
                    if terminal {
                        print!("\r\x1b[K{line}");
                        let _ = std::io::stdout().flush();
                    } else {
                        println!("{line}");
                    }
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
        println!();
    }

    /// A graceful stop; everything else goes by drop.
    pub(crate) fn stop(mut self) {
        if self.daemon.signal(rustix::process::Signal::TERM).is_ok() {
            let _ = self.daemon.wait(Duration::from_secs(10));
        }
    }
}

impl Files {
    fn socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// The configuration as it runs here: with its own socket and pins, and on loopback where there is no kernel path.
    fn place(&self, text: &str) -> String {
        let socket = self.socket();
        let text = text.replacen(
            "global:\n",
            &format!("global:\n  admin_socket: {}\n", socket.display()),
            1,
        );
        match &self.pins {
            Some(pins) => {
                let pins = format!(
                    "  fast_path:\n    pin_path: {}\n    max_flows: 100000\n",
                    pins.display()
                );
                text.replacen("  fast_path:\n", &pins, 1)
            }
            None => text
                .replace(SERVERS, LOOPBACK)
                .replace("attach: auto", "attach: off")
                .replace("    interfaces: [clients0, servers0]\n", "")
                .replace("\"*:", "\"127.0.0.1:"),
        }
    }
}

/// One line of the status: flows, and connections by server of the roundrobin backend.
fn counters(status: &Value) -> String {
    let flows = status["fast_path"]["flows"].as_u64().unwrap_or(0);
    let by_server: Vec<String> = server_totals(status, "tcp_roundrobin")
        .into_iter()
        .map(|(name, total)| format!("{name} {total}"))
        .collect();
    let packets = |name| counter(status, name);
    format!(
        "kernel flows {flows}, packets in {} out {} | roundrobin: {}",
        packets("forwarded_in"),
        packets("forwarded_out"),
        by_server.join(", ")
    )
}

/// Connections that each server of a backend got, both paths together.
pub(crate) fn server_totals(status: &Value, backend: &str) -> Vec<(String, u64)> {
    let backends = status["backends"].as_array().cloned().unwrap_or_default();
    let found = backends
        .iter()
        .find(|b| b["own"]["row"]["pxname"] == backend);
    let servers = found
        .and_then(|b| b["servers"].as_array().cloned())
        .unwrap_or_default();
    let one = |s: &Value| {
        Some((
            s["row"]["svname"].as_str()?.to_owned(),
            s["row"]["stot"].as_u64()?,
        ))
    };
    servers.iter().filter_map(one).collect()
}

/// A counter of the kernel program.
pub(crate) fn counter(status: &Value, name: &str) -> u64 {
    let counters = status["fast_path"]["counters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = counters.iter().find(|c| c["name"] == name);
    found.and_then(|c| c["value"].as_u64()).unwrap_or(0)
}

/// Whether the demo may use the kernel; else why not, as one clause.
pub(crate) fn kernel() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("that needs root".into());
    }
    bpf::Program::xdp_pass()
        .map(|_| ())
        .map_err(|error| format!("BPF cannot be used here ({error})"))
}

fn remove_pins(folder: &Path) {
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                remove_pins(&path);
            } else {
                let _ = fs::remove_file(path);
            }
        }
    }
    let _ = fs::remove_dir(folder);
}
