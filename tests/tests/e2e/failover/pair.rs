//! Two balancers on one segment with clients and servers, each with a keepalived of its own.
//!
//! keepalived enters the namespace by itself (`--namespace`): the kernel tells of processes that end in the host's own
//! network namespace alone, and it has to have asked there before.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use lb_tests::lab::ETH;
use lb_tests::link::{self, End, ip};
use lb_tests::process::Process;
use lb_tests::server::{Protocol, Server};
use lb_tests::{Daemon, Lab, Netns, bpf, wait};

/// The address that moves.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 200);
/// Where mode tcp is served, by the kernel, and mode http.
pub(super) const L4: u16 = 80;
pub(super) const L7: u16 = 8000;
const ECHO: u16 = 8080;
const HTTP: u16 = 8081;
/// The second balancer's own host number; the first has 1, the client 2.
const SECOND: u8 = 3;
/// Its port of the switch; the first's is `balancer0`.
const PORTS: [&str; 2] = ["balancer0", "balancer1"];

/// Which of the configurations of `conf/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keepalived {
    /// Version 2 of the protocol, an advertisement a second.
    V2,
    /// Version 3, five a second.
    V3,
}

/// What the frontends are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// The address that moves, before it comes: the kernel path serves it from its first packet on.
    Address,
    /// `*`: the agent has to learn of the address when it comes.
    Everywhere,
}

impl Bound {
    fn host(self) -> String {
        match self {
            Bound::Address => ADDRESS.to_string(),
            Bound::Everywhere => "*".to_owned(),
        }
    }
}

/// The network.
pub(super) struct Place {
    // First, so that nothing is attached to what is being taken down.
    _links: Vec<bpf::Link>,
    pub(super) lab: Lab,
    second: Netns,
    _servers: Vec<Server>,
}

/// One balancer.
pub(super) struct Node<'a> {
    pub(super) netns: &'a Netns,
    // Before the daemon, whose folder has its files.
    pub(super) keepalived: Process,
    pub(super) daemon: Daemon<'a>,
}

/// Both.
pub(super) struct Pair<'a> {
    place: &'a Place,
    pub(super) nodes: Vec<Node<'a>>,
}

impl Place {
    pub(super) fn new() -> Place {
        let lab = Lab::builder().one_armed().servers(2).build().unwrap();
        let second = Netns::new(&lab.tag().name("second")).unwrap();
        let mac = |first| [first, 0, 10, 77, 1, SECOND];
        let near = End {
            netns: &second,
            name: ETH,
            mac: mac(2),
        };
        let port = End {
            netns: lab.switch(),
            name: PORTS[1],
            mac: mac(6),
        };
        link::veth(near, port).unwrap();
        ip(lab.switch(), &[format!("link set {} master br0", PORTS[1])]).unwrap();
        let client = lab.client_addr();
        let lines = [
            format!("addr add 10.77.1.{SECOND}/24 dev {ETH}"),
            format!("route add 10.78.0.0/16 via {client}"),
        ];
        ip(&second, &lines).unwrap();
        second.run(|| link::complete_checksums(ETH)).unwrap();
        let links = vec![link::far_end(lab.switch(), PORTS[1]).unwrap()];
        let servers = (0..lab.servers()).flat_map(|i| {
            let netns = lab.server(i);
            let start = |name: String, protocol, port| {
                let address = SocketAddr::from((lab.server_addr(i), port));
                Server::start(netns, &name, protocol, address).unwrap()
            };
            [
                start(format!("echo{i}"), Protocol::Echo, ECHO),
                start(format!("http{i}"), Protocol::Http, HTTP),
            ]
        });
        let servers = servers.collect();
        Place {
            _links: links,
            second,
            _servers: servers,
            lab,
        }
    }

    fn body(&self, bound: Bound) -> String {
        let host = bound.host();
        let servers = |port: u16| {
            let each = (0..self.lab.servers()).map(|i| {
                let address = self.lab.server_addr(i);
                format!("{{ name: s{i}, address: \"{address}:{port}\" }}")
            });
            each.collect::<Vec<_>>().join(", ")
        };
        let check = "health_check: { type: tcp, interval: 500ms }";
        format!(
            "frontends:\n  \
               l4: {{ mode: tcp, bind: \"{host}:{L4}\", default_backend: l4 }}\n  \
               l7: {{ mode: http, bind: \"{host}:{L7}\", default_backend: l7 }}\n\
             backends:\n  \
               l4: {{ mode: tcp, balance: maglev, {check}, servers: [{}] }}\n  \
               l7: {{ mode: http, {check}, servers: [{}] }}\n",
            servers(ECHO),
            servers(HTTP)
        )
    }
}

impl<'a> Pair<'a> {
    /// Both serve, and the first has the address.
    pub(super) fn new(place: &'a Place, keepalived: Keepalived, bound: Bound) -> Pair<'a> {
        let nodes = [place.lab.balancer(), &place.second];
        let nodes = nodes.into_iter().enumerate().map(|(i, netns)| {
            if bound == Bound::Address {
                netns.sysctl("net/ipv4/ip_nonlocal_bind", "1").unwrap();
            }
            let role = format!("lb{i}");
            // Fifteen characters at most, and no other process of this machine has it.
            let name = format!("lbt{}n{i}", std::process::id());
            let folder = std::env::temp_dir().join(place.lab.tag().name(&role));
            let health = folder.join("health");
            let daemon = Daemon::builder(&place.lab, &place.body(bound))
                .role(&role)
                .in_netns(netns)
                .alias(&name)
                .fast_path("attach: xdp, max_flows: 100000, snat_addresses: service")
                .global("grace", "3s")
                .global(
                    "health_file",
                    &format!(
                        "{{ path: {}, backends: [l4, l7], drain: 600ms }}",
                        health.display()
                    ),
                )
                .start()
                .unwrap();
            wait::until_true("lb to say that it forwards", || {
                fs::read_to_string(&health).is_ok_and(|text| text == "0\n")
            })
            .unwrap_or_else(|error| panic!("{error}; {}", daemon.log()));
            let kernel = wait::until_true("the kernel path", || {
                daemon.status().unwrap()["fast_path"]["frontends"][0]["path"] == "kernel"
            });
            kernel.unwrap_or_else(|error| panic!("{error}; {}", daemon.log()));
            let config = configure(keepalived, i, &health, &name, daemon.folder());
            let started = start(netns, &config, daemon.folder());
            let node = Node {
                netns,
                keepalived: started,
                daemon,
            };
            if i == 0 {
                wait::until_true("the first to have the address", || has_address(netns))
                    .unwrap_or_else(|error| panic!("{error}; {}", node.said()));
            }
            node
        });
        let nodes = nodes.collect();
        let pair = Pair { place, nodes };
        assert!(!has_address(pair.nodes[1].netns), "{}", pair.logs());
        pair
    }

    /// Takes the first balancer's cable out.
    pub(super) fn unplug_first(&self) {
        let switch = self.place.lab.switch();
        switch.run(|| link::set_down(PORTS[0])).unwrap();
    }

    /// Waits until the second has the address.
    pub(super) fn second_has_address(&self) {
        let second = self.nodes[1].netns;
        wait::until_true("the second to have the address", || has_address(second))
            .unwrap_or_else(|error| panic!("{error}; {}", self.logs()));
    }

    /// What all of them said.
    pub(super) fn logs(&self) -> String {
        self.nodes.iter().map(Node::said).collect()
    }
}

impl Node<'_> {
    fn said(&self) -> String {
        let name = self.netns.name();
        let (said, more) = (self.keepalived.stdout(), self.keepalived.stderr());
        let log = self.daemon.log();
        format!("{name}: lb said:\n{log}\nkeepalived said:\n{said}{more}\n")
    }
}

fn has_address(netns: &Netns) -> bool {
    let shown = netns
        .command("ip")
        .args(["-4", "-o", "addr", "show"])
        .output();
    let shown = shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    shown.unwrap().contains(&format!(" {ADDRESS}/"))
}

/// The configuration as it lies in `conf/`, with the addresses, names and files of here.
fn configure(
    keepalived: Keepalived,
    node: usize,
    health: &Path,
    process: &str,
    folder: &Path,
) -> std::path::PathBuf {
    let name = match keepalived {
        Keepalived::V2 => "keepalived.conf",
        Keepalived::V3 => "keepalived-v3.conf",
    };
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let mut text = fs::read_to_string(conf.join(name)).unwrap();
    let priority = format!("priority {}", 101 - node);
    let (health, process) = (health.display().to_string(), format!("process {process}"));
    for (old, new) in [
        ("192.0.2.201/24", format!("{ADDRESS}/24")),
        ("/run/lb/health", health),
        ("process lb\n", process + "\n"),
        ("priority 101", priority),
        ("router_id lb1", format!("router_id lb{node}")),
        ("interface eth0", format!("interface {ETH}")),
    ] {
        assert!(text.contains(old), "{name} has lost `{old}`");
        text = text.replace(old, &new);
    }
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn start(netns: &Netns, config: &Path, folder: &Path) -> Process {
    let mut command = Command::new("keepalived");
    command.args(["--vrrp", "--dont-fork", "--log-console", "--log-detail"]);
    command.arg(format!("--namespace={}", netns.name()));
    command.arg(format!("--use-file={}", config.display()));
    for (option, name) in [("--pid", "keepalived.pid"), ("--vrrp_pid", "vrrp.pid")] {
        command.arg(format!("{option}={}", folder.join(name).display()));
    }
    Process::start(command).unwrap()
}
