//! The units under a systemd that really runs: upgrades, reloads, restarts, crashes and stops of what it takes for the service.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use lb_tests::client::{self, Load, Steady, greeting};
use lb_tests::daemon::binary;
use lb_tests::server::{Protocol, Server};
use lb_tests::systemd::{self, Systemd};
use lb_tests::{Lab, skip, wait};

use crate::setup::{BACKEND, accepted_in_userspace, held, servers, service, tcp};

/// Where clients of mode http go.
const WEB: u16 = 8000;
const HTTP: u16 = 8081;
/// Where the sockets of userspace alone listen.
const RELAYED: u16 = 8001;

/// The unit as it is, but that systemd grows impatient sooner.
const SOONER: &str = "WatchdogSec=2s";

fn unit(name: &str) -> String {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    fs::read_to_string(conf.join(name)).unwrap()
}

/// A path that the service manager listens on.
const PATH: &str = "/run/web.sock";

/// Services of the kernel path, of mode http and of userspace alone.
fn config(lab: &Lab) -> String {
    let (at, mut text) = (lab.service_addr(), String::from("global:\n  threads: 2\n"));
    // As the unit's own words want it.
    text += "  fast_path: { attach: xdp, max_flows: 10000, on_stop: \"${LB_ON_STOP:-detach}\" }\n";
    text += "  log: [{ target: /var/log/lb/lb.log, level: notice }]\n  grace: 30s\n";
    text += "  pidfile: /run/lb/lb.pid\n  health_file: { path: /run/lb/health, linger: 50ms }\n";
    let frontends = format!(
        "frontends:\n  http: {{ bind: [\"{at}:{WEB}\", \"unix:{PATH}\"], default_backend: app }}\n  \
         relayed: {{ mode: tcp, bind: \"{at}:{RELAYED}\", default_backend: relayed }}\n"
    );
    text += &tcp(lab, "roundrobin", &[]).replace("frontends:\n", &frontends);
    let server = lab.server_addr(0);
    let _ = writeln!(
        text,
        "  app: {{ mode: http, servers: [{{ name: a, address: \"{server}:{HTTP}\" }}] }}\n  \
         relayed: {{ mode: tcp, forward: proxy, servers: [{{ name: r, address: \"{server}:{BACKEND}\" }}] }}"
    );
    text
}

/// lb as the service of a systemd.
struct Unit<'a> {
    lab: &'a Lab,
    systemd: Systemd,
}

impl<'a> Unit<'a> {
    fn boot(lab: &'a Lab, units: &[(&str, &str)]) -> Option<Self> {
        let booted = Systemd::boot(lab.balancer(), lab.tag(), units, &binary(), &config(lab));
        booted.unwrap().map(|systemd| Self { lab, systemd })
    }

    fn systemctl(&self, arguments: &[&str]) -> String {
        self.systemd
            .good("systemctl", arguments)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn of(&self, property: &str) -> String {
        self.systemd.property("lb.service", property).unwrap()
    }

    /// What systemd takes for the service.
    fn main(&self) -> u32 {
        self.of("MainPID").parse().unwrap()
    }

    /// All processes of the service.
    fn processes(&self) -> usize {
        let path = "/sys/fs/cgroup/system.slice/lb.service/cgroup.procs";
        self.systemd.read(path).lines().count()
    }

    /// The process that answers on the admin socket.
    fn answers(&self) -> Option<u32> {
        let output = self.systemd.run("lb", &["status", "--json"]).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        status["process"]["pid"].as_u64()?.try_into().ok()
    }

    #[track_caller]
    fn is_active(&self, restarts: &str) {
        let said = ["ActiveState", "SubState", "NRestarts"].map(|name| self.of(name));
        assert_eq!(
            said,
            ["active", "running", restarts],
            "{}",
            self.systemd.log()
        );
    }

    /// Waits until new connections are the kernel's.
    fn kernel_takes_over(&self) {
        let through = wait::until_true("connections that the kernel forwards", || {
            let before = accepted_in_userspace(self.lab);
            let connected = (0..48).all(|i| {
                let source = self.lab.client_alias(u16::MAX - i);
                client::connect(self.lab.client(), service(self.lab), Some(source.into())).is_ok()
            });
            connected && accepted_in_userspace(self.lab) == before
        });
        through.unwrap_or_else(|error| panic!("{error}: {}", self.systemd.log()));
    }

    /// Another binary in the place of the one that runs, and another process in its place.
    fn upgrade(&self) -> u32 {
        let old = self.main();
        self.systemd.install(&binary(), "/usr/bin/lb").unwrap();
        let said = self.systemd.good("lb", &["upgrade"]);
        let said = said.unwrap_or_else(|error| panic!("{error}"));
        let new = self.main();
        assert_ne!(new, old, "{said}");
        assert_eq!(self.answers(), Some(new));
        assert!(said.contains(&format!("process {new} serves")), "{said}");
        new
    }

    /// The watchdog hears of whoever is the main process by now.
    fn is_watched(&self) {
        let heard = || {
            self.of("WatchdogTimestampMonotonic")
                .parse::<u64>()
                .unwrap()
        };
        let mut last = heard();
        for _ in 0..3 {
            wait::until_true("the watchdog is told", || heard() > last).unwrap();
            last = heard();
        }
    }

    fn ends(&self, what: &str) {
        let ended = wait::until_true(what, || self.processes() == 0);
        ended.unwrap_or_else(|error| panic!("{error}: {}", self.systemd.log()));
    }

    fn reserved(&self) -> String {
        let path = "/proc/sys/net/ipv4/ip_local_reserved_ports";
        self.lab.balancer().read(path).unwrap().trim().to_owned()
    }
}

fn http_server(lab: &Lab) -> Server {
    let at = SocketAddr::from((lab.server_addr(0), HTTP));
    Server::start(lab.server(0), "a", Protocol::Http, at).unwrap()
}

fn relayed(lab: &Lab) -> TcpStream {
    let at = SocketAddr::from((lab.service_addr(), RELAYED));
    let mut stream = client::connect(lab.client(), at, None).unwrap();
    greeting(&mut stream).unwrap();
    stream
}

/// New connections of mode tcp in the kernel, and of mode http.
fn load(lab: &Lab) -> [client::Running; 2] {
    let (kernel, http) = (service(lab), SocketAddr::from((lab.service_addr(), WEB)));
    let endless = |to| Load::to(to).connections(usize::MAX).parallel(2).rate(200);
    let load = [endless(kernel), endless(http).get("/")].map(|load| load.start(lab.client()));
    goes_on(&load);
    load
}

fn goes_on(load: &[client::Running]) {
    let before: Vec<usize> = load.iter().map(client::Running::done).collect();
    wait::until_true("load goes on", || {
        let mut each = load.iter().zip(&before);
        each.all(|(load, before)| load.done() > before + 20)
    })
    .unwrap();
}

#[track_caller]
fn nothing_failed(unit: &Unit<'_>, load: [client::Running; 2]) {
    for load in load {
        let tally = load.stop();
        assert_eq!(
            tally.failures,
            Vec::<String>::new(),
            "{}",
            unit.systemd.log()
        );
    }
}

fn without_systemd() -> bool {
    skip::without_lb() || systemd::is_missing()
}

#[test]
fn sockets_that_are_passed_on_outlive_upgrades_and_restarts() {
    if without_systemd() || skip::without_tool("curl") {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let (_echo, _http) = (servers(&lab, Protocol::Echo), http_server(&lab));
    let at = lab.service_addr();
    let listens = format!(
        "ListenStream={at}:80\nListenStream={at}:{WEB}\nListenStream={at}:{RELAYED}\nListenStream={PATH}\n"
    );
    let socket = unit("lb.socket");
    let socket = socket.replace("ListenStream=0.0.0.0:443\n", &listens);
    let socket = socket.replace("ListenStream=0.0.0.0:80\n", "");
    assert!(socket.contains(&listens));
    let units = [("lb.service", &*unit("lb.service")), ("lb.socket", &socket)];
    let Some(unit) = Unit::boot(&lab, &units) else {
        return;
    };
    let by_path = || {
        let url = ["--silent", "--unix-socket", PATH, "http://x/"];
        let said = unit.systemd.good("curl", &url);
        assert_eq!(said.unwrap().lines().next(), Some("a"));
    };
    unit.systemctl(&["start", "lb.socket"]);
    assert_eq!(unit.of("ActiveState"), "inactive");
    // Whoever comes has it start, and waits until it serves.
    by_path();
    unit.kernel_takes_over();
    wait::until_true("it is ready", || unit.of("ActiveState") == "active").unwrap();
    unit.is_active("0");
    let bound = || {
        let sockets = lab.balancer().read("/proc/thread-self/net/tcp").unwrap();
        let listening = sockets.lines().filter(|line| line.contains(" 0A "));
        let inodes = listening.filter_map(|line| line.split_whitespace().nth(9));
        let mut inodes: Vec<String> = inodes.map(str::to_owned).collect();
        inodes.sort();
        inodes
    };
    let sockets = bound();
    assert_eq!(
        sockets.len(),
        3,
        "one for each address, and all are systemd's"
    );

    let load = load(&lab);
    let flows = Steady::start(held(&lab, 10), Duration::from_millis(20));
    for _ in 0..2 {
        unit.upgrade();
        unit.is_active("0");
        assert_eq!(bound(), sockets);
        goes_on(&load);
        by_path();
    }
    // Started anew by systemd, it gets them once more; who comes meanwhile waits.
    for _ in 0..2 {
        let before = unit.main();
        unit.systemctl(&["restart", "lb"]);
        assert_ne!(unit.main(), before);
        assert_eq!(bound(), sockets);
        goes_on(&load);
        by_path();
        unit.upgrade();
    }
    nothing_failed(&unit, load);
    let flows = flows.stop();
    assert_eq!(flows.failures, Vec::<String>::new());

    // Stopped, it is started by the next who comes.
    unit.systemctl(&["stop", "lb"]);
    unit.ends("it ends");
    assert_eq!(bound(), sockets);
    assert_eq!(unit.of("Result"), "success");
    by_path();
    unit.kernel_takes_over();
    wait::until_true("it is ready", || unit.of("ActiveState") == "active").unwrap();
}

#[test]
fn an_upgrade_goes_on_as_the_same_service() {
    if without_systemd() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let (_echo, _http) = (servers(&lab, Protocol::Echo), http_server(&lab));
    let text = unit("lb.service").replace("WatchdogSec=10s", SOONER);
    assert!(text.contains(SOONER));
    let Some(unit) = Unit::boot(&lab, &[("lb.service", &text)]) else {
        return;
    };
    unit.systemctl(&["start", "lb"]);
    unit.is_active("0");
    unit.kernel_takes_over();
    unit.is_watched();

    let load = load(&lab);
    let flows = Steady::start(held(&lab, 10), Duration::from_millis(20));
    let tunnel = Steady::start(vec![relayed(&lab)], Duration::from_millis(20));
    let first = unit.main();
    let second = unit.upgrade();
    unit.is_active("0");
    assert_eq!(unit.of("StatusText"), "serving");
    assert_eq!(unit.systemd.read("/run/lb/lb.pid"), format!("{second}\n"));
    assert_eq!(unit.processes(), 2, "the old one has a connection");
    goes_on(&load);
    unit.is_watched();
    // Both by systemctl and by the new one.
    unit.systemctl(&["reload", "lb"]);
    // The log is written by a thread of its own.
    let log = || unit.systemd.read("/var/log/lb/lb.log");
    let reloaded = wait::until_true("it says that it has reloaded", || {
        log().contains("reloaded /etc/lb/lb.yaml")
    });
    assert!(reloaded.is_ok(), "{}", log());
    unit.is_active("0");
    let broken = unit
        .systemd
        .run("sh", &["-c", "echo nonsense >>/etc/lb/lb.yaml"]);
    assert!(broken.unwrap().status.success());
    let reload = unit.systemd.run("systemctl", &["reload", "lb"]).unwrap();
    assert!(!reload.status.success(), "{reload:?}");
    let upgrade = unit.systemd.run("lb", &["upgrade"]).unwrap();
    assert!(!upgrade.status.success(), "{upgrade:?}");
    unit.is_active("0");
    assert_eq!(unit.main(), second);
    assert_eq!(unit.of("StatusText"), "serving");
    let mended = unit.systemd.run("sed", &["-i", "$d", "/etc/lb/lb.yaml"]);
    assert!(mended.unwrap().status.success());
    goes_on(&load);
    unit.is_watched();
    let tunnel = tunnel.stop();
    assert_eq!(tunnel.failures, Vec::<String>::new());
    drop(tunnel);
    let gone = wait::until_true("the first has ended", || unit.processes() == 1);
    gone.unwrap_or_else(|error| panic!("{error} ({first}): {}", unit.systemd.log()));
    nothing_failed(&unit, load);

    // A crash of the one that is the service by now, while the one before serves still: systemd notices, ends both, and starts
    // another, which takes the flows over.
    let waits = relayed(&lab);
    let crashes = unit.upgrade();
    assert_eq!(unit.processes(), 2);
    unit.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", "lb"]);
    wait::until_true("systemd starts another", || {
        unit.of("NRestarts") == "1" && unit.of("ActiveState") == "active"
    })
    .unwrap_or_else(|error| panic!("{error}: {}", unit.systemd.log()));
    unit.is_active("1");
    assert_ne!(unit.main(), crashes);
    assert_eq!(unit.answers(), Some(unit.main()));
    assert_eq!(unit.processes(), 1);
    drop(waits);
    unit.kernel_takes_over();

    // A restart begins with whoever serves by now, and the kernel goes on meanwhile.
    let third = unit.upgrade();
    unit.systemctl(&["restart", "lb"]);
    assert_ne!(unit.main(), third);
    unit.kernel_takes_over();
    let flows = flows.stop();
    assert_eq!(flows.failures, Vec::<String>::new());
    assert_eq!(flows.streams.len(), 10);

    // A stop ends all there are, those before with their connections.
    let mut waits = relayed(&lab);
    unit.upgrade();
    client::echo(&mut waits, b"with the one before").unwrap();
    assert_eq!(unit.processes(), 2);
    let stop = unit.systemctl(&["stop", "--no-block", "lb"]);
    wait::until_true("it is stopping", || {
        unit.of("ActiveState") == "deactivating"
    })
    .unwrap();
    client::echo(&mut waits, b"until it ends")
        .unwrap_or_else(|error| panic!("{error}: {}", unit.systemd.log()));
    drop(waits);
    unit.ends("both end");
    wait::until_true("it has stopped", || unit.of("ActiveState") == "inactive").unwrap();
    assert_eq!(unit.of("Result"), "success", "{stop}{}", unit.systemd.log());
    assert_ne!(
        unit.reserved(),
        "",
        "the kernel path stays, as the unit wants"
    );
}
