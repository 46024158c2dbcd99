//! A flood of spoofed SYNs on a veth of its own, at most 80 % of what one core takes: who is connected does not notice, who
//! comes gets in, and the flood is counted.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use lb_tests::client::{self, Load, Steady};
use lb_tests::flood::{Aim, Flood};
use lb_tests::lab::{Arms, ETH, Family};
use lb_tests::link::{self, End, Mac, ip};
use lb_tests::server::Server;
use lb_tests::{Daemon, Lab, Netns, bpf, skip, wait};
use serde_json::Value;

use crate::kernel::reasons;
use crate::services::{Forward, Service, Transport, Userspace};

const CONNECTIONS: u16 = 1000;
const FLOOD: Duration = Duration::from_secs(10);
/// Of what one core takes: half of it where the servers' answers come back through the balancer, which whoever measures
/// by SYNs alone does not see.
fn share(forward: Forward) -> f64 {
    match forward.arms() {
        Arms::One => 0.8,
        Arms::Two => 0.4,
    }
}

/// Nobody may wait for longer: loose enough for a machine whose other core is busy too.
const STALL: Duration = Duration::from_secs(1);
/// Resets that the flood may cost: checks are few, and so are the packets that a full queue drops.
const RESETS_LOST: u64 = 5;
/// What the daemon may grow by, in KiB: its maps are allocated at the start.
const GROWTH: u64 = 32 * 1024;

const NEAR: Mac = [2, 0, 0, 0, 7, 1];
const FAR: Mac = [2, 0, 0, 0, 7, 2];
/// The balancer's interface towards the flooder.
const INTERFACE: &str = "flood0";

/// Somebody with a link to the balancer of his own, from which addresses of 100.64.0.0/16 come.
struct Flooder {
    netns: Netns,
    _program: bpf::Link,
}

impl Flooder {
    fn new(lab: &Lab) -> Flooder {
        let netns = Netns::new(&lab.tag().name("flooder")).unwrap();
        let ends = [(lab.balancer(), INTERFACE, NEAR), (&netns, ETH, FAR)];
        let [near, far] = ends.map(|(netns, name, mac)| End { netns, name, mac });
        link::veth(near, far).unwrap();
        lab.balancer()
            .run(|| link::complete_checksums(INTERFACE))
            .unwrap();
        let program = link::far_end(&netns, ETH).unwrap();
        ip(lab.balancer(), &["addr add 10.81.0.1/24 dev flood0"]).unwrap();
        ip(&netns, &["addr add 10.81.0.2/24 dev eth0"]).unwrap();
        Flooder {
            netns,
            _program: program,
        }
    }

    /// SYNs to a service, made and received on the last core.
    fn aim(&self, lab: &Lab, port: u16) -> Flood {
        let cores = std::thread::available_parallelism().unwrap().get();
        let aim = Aim {
            to_mac: NEAR,
            from_mac: FAR,
            service: (lab.service_addr(), port),
            sources: Ipv4Addr::new(100, 64, 0, 0),
        };
        Flood::new(&self.netns, ETH, cores - 1, &aim).unwrap()
    }
}

/// Frames that the balancer's end of the flooder's link took, and that found its ring full.
fn taken_and_lost(lab: &Lab) -> (u64, u64) {
    let output = lab
        .balancer()
        .command("ip")
        .args(["-json", "-statistics", "link", "show", "dev", INTERFACE])
        .output()
        .unwrap();
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    let received = &links[0]["stats64"]["rx"];
    (
        received["packets"].as_u64().unwrap(),
        received["dropped"].as_u64().unwrap(),
    )
}

/// Every packet that the program saw has one reason of one of these kinds.
fn packets_counted(daemon: &Daemon<'_>) -> u64 {
    let status = daemon.status().unwrap();
    let counters = status["fast_path"]["counters"].as_array().cloned().unwrap();
    let of_packets = counters.iter().filter(|counter| counter["kind"] != "other");
    of_packets
        .map(|counter| counter["value"].as_u64().unwrap())
        .sum()
}

/// The daemon's resident memory, in KiB.
fn memory(daemon: &Daemon<'_>) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn connected(lab: &Lab, service: Service) -> Vec<TcpStream> {
    let connect = |i| {
        let source = lab.client_alias_ip(service.family, i);
        let mut stream = client::connect(lab.client(), service.target(lab), Some(source)).unwrap();
        client::greeting(&mut stream).unwrap();
        stream
    };
    (0..CONNECTIONS).map(connect).collect()
}

fn a_flood_disturbs_nobody(forward: Forward) {
    if skip::without_lb() {
        return;
    }
    let service = Service::new(forward, Family::V4, Transport::Tcp);
    let lab = forward.lab().build().unwrap();
    let flooder = Flooder::new(&lab);
    for i in 0..lab.servers() {
        // Nobody is at home at the addresses that come: their answers shall end here.
        if lab.arms() == Arms::One {
            ip(lab.server(i), &["route add blackhole 100.64.0.0/16"]).unwrap();
        }
    }
    let servers: Vec<Server> = service.echo_servers(&lab);
    let daemon = Daemon::builder(&lab, &service.config(&lab))
        .start()
        .unwrap();
    service.taken_by_kernel(&lab, &daemon).unwrap();
    let connections = connected(&lab, service);
    let userspace = Userspace::of(&lab);
    let flood = flooder.aim(&lab, service.port);
    // The least of some: where the servers' stacks happen to take the SYNs on another core, what one core makes is two
    // cores' work, and eighty percent of that leaves the clients none.
    let full = (0..4)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(200));
            flood.measure(100_000).unwrap()
        })
        .fold(f64::INFINITY, f64::min);
    wait::until_true("the counters to rest", || {
        let before = packets_counted(&daemon);
        std::thread::sleep(Duration::from_millis(300));
        packets_counted(&daemon) == before
    })
    .unwrap();
    let (memory_before, (taken_before, lost_before)) = (memory(&daemon), taken_and_lost(&lab));
    let counted_before = packets_counted(&daemon);
    let open_before = servers.iter().map(Server::open).sum::<u64>();

    let steady = Steady::start(connections, Duration::from_millis(100));
    let flooding = flood.start(full * share(forward), FLOOD).unwrap();
    let newcomers = Load::to(service.target(&lab))
        .connections(usize::MAX)
        .parallel(2)
        .rate(100)
        .speaks_first()
        .from((0..100).map(|i| lab.client_alias(30_000 + i)))
        .start(lab.client());
    let sent = flooding.finish().unwrap();
    let newcomers = newcomers.stop();
    let experience = steady.stop();

    let (taken, lost) = taken_and_lost(&lab);
    let (taken, lost) = (taken - taken_before, lost - lost_before);
    println!(
        "one core makes and takes {full:.0} SYNs a second; {sent} sent in {FLOOD:?}, {taken} taken, {lost} lost in the ring; \
         {} exchanges on {CONNECTIONS} connections, the longest took {:?}; {} new connections, {} in userspace; {} KiB, {} before; {}",
        experience.exchanges,
        experience.longest,
        newcomers.answered(),
        Userspace::of(&lab).accepted - userspace.accepted,
        memory(&daemon),
        memory_before,
        reasons(&daemon),
    );
    assert_eq!(
        experience.failures,
        Vec::<String>::new(),
        "connections that ended"
    );
    assert!(experience.longest < STALL, "{:?}", experience.longest);
    assert_eq!(
        newcomers.failures,
        Vec::<String>::new(),
        "of {} newcomers",
        newcomers.answered()
    );
    assert!(newcomers.answered() > 100, "{}", newcomers.answered());
    // A check ends its connection by a reset, and a reset that a full queue drops is not sent again: the server keeps
    // that connection, as it would without a balancer.
    let mut open = 0;
    wait::until_true("the connections of those who came last to end", || {
        open = servers.iter().map(Server::open).sum();
        open <= open_before + RESETS_LOST
    })
    .unwrap_or_else(|error| panic!("{error}: {open}, {open_before} before"));
    assert!(taken > 100_000, "a flood of {taken} is none");
    let counted = || packets_counted(&daemon) - counted_before;
    wait::until_true("every SYN that was taken to be counted", || {
        counted() >= taken
    })
    .unwrap_or_else(|error| panic!("{error}: {} of {taken}", counted()));
    assert!(
        memory(&daemon) < memory_before + GROWTH,
        "{} KiB",
        memory(&daemon)
    );
    let status = daemon.status().unwrap();
    let (flows, most) = (
        &status["fast_path"]["flows"],
        &status["fast_path"]["max_flows"],
    );
    assert!(flows.as_u64() <= most.as_u64(), "{flows} of {most}");
    drop(experience.streams);
}

#[test]
fn a_flood_of_syns_disturbs_nobody_fullnat() {
    a_flood_disturbs_nobody(Forward::Fullnat);
}

#[test]
fn a_flood_of_syns_disturbs_nobody_dsr() {
    a_flood_disturbs_nobody(Forward::Dsr);
}

#[test]
fn a_flood_of_syns_disturbs_nobody_ipip() {
    a_flood_disturbs_nobody(Forward::Ipip);
}
