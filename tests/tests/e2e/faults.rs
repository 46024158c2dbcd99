//! What crashes, stalls and careless operators leave behind, and that the kernel path copes with it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::flow::{Flow, FlowKey, V4, flags};
use lb_common::load::ActiveBlock;
use lb_common::tcp;
use lb_tests::client::{self, Load};
use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, bpf, link, skip, wait};
use rustix::process::Signal;

use crate::kernel::{counter, kernel_takes_over};
use crate::setup::{BACKEND, assert_alive, held, servers, service, tcp};

/// Replaces a piece of the configuration that the daemon has on disk.
fn edit(daemon: &Daemon<'_>, from: &str, to: &str) {
    let path = daemon.socket().with_file_name("lb.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// A short idle time for flows.
fn idle(seconds: u32, body: &str) -> String {
    format!("defaults: {{ timeouts: {{ client: {seconds}s, server: {seconds}s }} }}\n{body}")
}

fn pin(daemon: &Daemon<'_>, name: &str) -> PathBuf {
    daemon.pin_path().join("v2/maps").join(name)
}

/// Flows by what the table holds: forward entries, reverse entries, and those that count as active, by server.
fn recount(daemon: &Daemon<'_>) -> (usize, usize, usize) {
    let map = Map::HashMap(MapData::from_pin(pin(daemon, "FLOWS4")).unwrap());
    let map: HashMap<MapData, FlowKey<V4>, Flow<V4>> = map.try_into().unwrap();
    let flows: Vec<_> = map.iter().filter_map(Result::ok).collect();
    let forward = |flow: &Flow<V4>| flow.leg.flags & flags::REVERSE == 0;
    let entries = flows.iter().filter(|(_, flow)| forward(flow)).count();
    let active = flows
        .iter()
        .filter(|(_, flow)| forward(flow) && !tcp::is_closing(flow.leg.state));
    (entries, flows.len() - entries, active.count())
}

/// Flows by what the counters say: all, and active ones.
fn counted(daemon: &Daemon<'_>) -> (usize, usize) {
    let map = Map::Array(MapData::from_pin(pin(daemon, "FLOW_COUNT")).unwrap());
    let count: Array<MapData, u64> = map.try_into().unwrap();
    let map = Map::Array(MapData::from_pin(pin(daemon, "ACTIVE")).unwrap());
    let active: Array<MapData, ActiveBlock> = map.try_into().unwrap();
    let sum = (0..active.len())
        .flat_map(|i| active.get(&i, 0).unwrap().active)
        .sum::<u32>();
    (count.get(&0, 0).unwrap() as usize, sum as usize)
}

/// Waits until tables and counters say the same, and that it is `active` flows.
#[track_caller]
fn counts_agree(daemon: &Daemon<'_>, active: usize) {
    let mut last = None;
    let agreed = wait::until_true("counters that agree with the table", || {
        let ((forward, reverse, open), (flows, counted)) = (recount(daemon), counted(daemon));
        last = Some(((forward, reverse, open), (flows, counted)));
        forward == reverse && forward == flows && open == counted && open == active
    });
    agreed.unwrap_or_else(|error| panic!("{error}: table and counters {last:?}"));
}

#[test]
fn counts_equal_a_recount_after_connections_of_all_kinds_and_a_crash() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let mut daemon = Daemon::builder(&lab, &tcp(&lab, "leastconn", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let sources: Vec<Ipv4Addr> = (0..4).map(|i| lab.client_alias(i)).collect();
    let load = Load::to(service(&lab))
        .connections(usize::MAX)
        .parallel(8)
        .from(sources)
        .start(lab.client());
    let more = || {
        let target = load.done() + 1000;
        wait::until_true("a thousand connections", || load.done() >= target).unwrap();
    };
    more();
    // Resets: closed with unread data, and by SO_LINGER 0.
    for _ in 0..200 {
        let stream = client::connect(lab.client(), service(&lab), None).unwrap();
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    daemon.kill();
    more();
    daemon.start().unwrap();
    more();
    let mut kept = held(&lab, 7);
    load.stop();
    counts_agree(&daemon, 7);
    assert_alive(&mut kept);
    drop(kept);
    counts_agree(&daemon, 0);
}

#[test]
fn an_agent_that_was_stopped_for_a_while_takes_no_busy_flow_for_idle() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = idle(4, &tcp(&lab, "roundrobin", &[]));
    let mut daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 3);
    daemon.signal(Signal::STOP).unwrap();
    // Longer than flows may idle, and these do not.
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(500));
        assert_alive(&mut held);
    }
    daemon.signal(Signal::CONT).unwrap();
    // A sweep or two.
    thread::sleep(Duration::from_millis(2500));
    assert_alive(&mut held);
}

#[test]
fn flows_to_a_server_that_the_file_no_longer_has_idle_out() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = idle(1, &tcp(&lab, "roundrobin", &[]));
    let mut daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 4);
    daemon.kill();
    let one = format!(
        "      - {{ name: s1, address: \"{}:{BACKEND}\", weight: 1 }}\n",
        lab.server_addr(0)
    );
    edit(&daemon, &one, "");
    daemon.start().unwrap();
    kernel_takes_over(&lab, &daemon);
    assert_alive(&mut held);
    // No end of theirs is seen: only time ends them.
    link::ip(lab.client(), &["link set eth0 down"]).unwrap();
    wait::until_true("no flows", || recount(&daemon).0 == 0)
        .unwrap_or_else(|error| panic!("{error}: {:?} {:?}", recount(&daemon), counted(&daemon)));
    assert_eq!((recount(&daemon).1, counted(&daemon)), (0, (0, 0)));
}

#[test]
fn a_server_that_moves_leaves_its_old_flows_where_they_are() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let mut daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[1, 0]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 2);
    daemon.kill();
    // The name s1 is given to the machine that s2 was.
    let [first, second] = [0, 1].map(|i| format!("\"{}:{BACKEND}\"", lab.server_addr(i)));
    edit(&daemon, &first, "\"first\"");
    edit(&daemon, &second, &first);
    edit(&daemon, "\"first\"", &second);
    daemon.start().unwrap();
    kernel_takes_over(&lab, &daemon);
    assert_alive(&mut held);
}

#[test]
fn pins_of_a_start_that_was_killed_do_not_hinder_the_next() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let mut daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    for missing in [&["SETTINGS"][..], &["FLOWS4"], &["CLOCK", "TX", "SETTINGS"]] {
        daemon.kill();
        for link in fs::read_dir(daemon.pin_path().join("v2/links")).unwrap() {
            fs::remove_file(link.unwrap().path()).unwrap();
        }
        for name in missing {
            fs::remove_file(pin(&daemon, name)).unwrap();
        }
        daemon.start().unwrap();
        kernel_takes_over(&lab, &daemon);
    }
}

#[test]
fn a_start_may_be_killed_at_any_moment() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let mut daemon = Daemon::builder(&lab, &tcp(&lab, "leastconn", &[]))
        .prepare()
        .unwrap();
    let killed_after = |daemon: &mut Daemon<'_>, delay: u64| {
        daemon.start_with(|_| Some(())).unwrap();
        thread::sleep(Duration::from_millis(delay));
        daemon.kill();
    };
    // The first pins everything, later ones take over.
    for delay in (0..300).step_by(15) {
        killed_after(&mut daemon, delay);
    }
    daemon.start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 5);
    daemon.kill();
    for delay in (0..300).step_by(15) {
        killed_after(&mut daemon, delay);
        assert_alive(&mut held);
    }
    daemon.start().unwrap();
    kernel_takes_over(&lab, &daemon);
    assert_alive(&mut held);
    counts_agree(&daemon, 5);
}

#[test]
fn connections_live_through_an_interface_that_goes_down_and_up() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 5);
    for name in [lab.client_side(), lab.server_side()] {
        for _ in 0..3 {
            let writing = held.iter().map(|stream| {
                let mut stream = stream.try_clone().unwrap();
                thread::spawn(move || {
                    client::echo(&mut stream, b"through a flap").map_err(|e| e.to_string())
                })
            });
            let writing: Vec<_> = writing.collect();
            let lines = [
                format!("link set {name} down"),
                format!("link set {name} up"),
            ];
            link::ip(lab.balancer(), &lines).unwrap();
            for result in writing {
                assert_eq!(result.join().unwrap(), Ok(()));
            }
            assert_alive(&mut held);
        }
    }
    kernel_takes_over(&lab, &daemon);
}

#[test]
fn a_program_that_somebody_detaches_is_attached_again() {
    if skip::without_lb() {
        return;
    }
    for attach in ["xdp", "tc"] {
        let lab = Lab::builder().build().unwrap();
        let _servers = servers(&lab, Protocol::Echo);
        let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
            .fast_path(&format!("attach: {attach}, max_flows: 100000"))
            .start()
            .unwrap();
        kernel_takes_over(&lab, &daemon);
        let mut held = held(&lab, 5);
        let links = fs::read_dir(daemon.pin_path().join("v2/links")).unwrap();
        let links: Vec<PathBuf> = links.map(|link| link.unwrap().path()).collect();
        // A filter, of kernels before 6.6, has no link.
        if links
            .iter()
            .any(|link| link.to_string_lossy().contains("clsact"))
        {
            continue;
        }
        assert!(links.len() >= 2, "{links:?}");
        for link in &links {
            bpf::detach(link).unwrap();
        }
        wait::until_true("the log to say so", || {
            let log = daemon.log();
            log.matches("it is attached again").count() == links.len()
        })
        .unwrap_or_else(|error| panic!("{error}; {}", daemon.log()));
        kernel_takes_over(&lab, &daemon);
        // Nothing but the interfaces had lost them.
        assert_alive(&mut held);
    }
}

#[test]
fn a_server_with_a_new_mac_is_found_though_an_interface_came_that_cannot_be_had() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 2);
    // `attach: xdp` insists, but a running balancer does not give up for this.
    let lines = [
        "link add odd0 type veth peer name odd1",
        "link set odd0 up",
        "link set odd1 up",
    ];
    link::ip(lab.balancer(), &lines).unwrap();
    wait::until_true("odd0 in the status", || {
        daemon.status().unwrap()["fast_path"]["interfaces"]
            .to_string()
            .contains("odd0")
    })
    .unwrap();
    link::ip(lab.server(0), &["link set eth0 address 02:00:00:00:99:01"]).unwrap();
    // It says so itself, as a machine that takes over an address does.
    lab.server(0).run(|| ping(lab.balancer_addr()));
    assert_alive(&mut held);
}

/// Sends a datagram that nobody reads, for the neighbour request before it.
fn ping(address: Ipv4Addr) {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.send_to(b"here", (address, 9)).unwrap();
}

#[test]
fn a_second_agent_on_the_same_pins_is_refused_wherever_its_socket_is() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let other = format!(
        "frontends:\n  web: {{ mode: tcp, bind: \"{}:81\", default_backend: web }}\n\
         backends:\n  web: {{ mode: tcp, servers: [ {{ name: s1, address: \"{}:{BACKEND}\" }} ] }}\n",
        lab.service_addr(),
        lab.server_addr(0)
    );
    let mut second = Daemon::builder(&lab, &other)
        .role("other")
        .prepare()
        .unwrap();
    let (theirs, ours) = (second.pin_path().display(), daemon.pin_path().display());
    edit(&second, &theirs.to_string(), &ours.to_string());
    let refused = second.start_with(|_| None::<()>).unwrap_err().to_string();
    let first = format!("another lb (pid {}) is running", daemon.pid().unwrap());
    assert!(refused.contains(&first), "{refused}");
    kernel_takes_over(&lab, &daemon);
    assert_eq!(counter(&daemon, "no_flow"), 0);
    // One that wants no kernel path has no use for what is the other's, and leaves it alone.
    edit(&second, "attach: xdp", "attach: off");
    second.start().unwrap();
    let beside = SocketAddr::from((lab.service_addr(), 81));
    client::connect(lab.client(), beside, None).unwrap();
    drop(second);
    kernel_takes_over(&lab, &daemon);
    assert_eq!(counter(&daemon, "no_flow"), 0);
}

/// Removes a folder in one step, whatever is made in its place.
fn remove(folder: &Path) {
    let aside = folder.with_file_name(format!(
        "{}-gone",
        folder.file_name().unwrap().to_str().unwrap()
    ));
    fs::rename(folder, &aside).unwrap();
    fs::remove_dir_all(aside).unwrap();
}

#[test]
fn pins_that_somebody_removes_are_missed_and_made_again() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    for attach in ["xdp", "tc"] {
        let mut daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
            .role(attach)
            .fast_path(&format!("attach: {attach}, max_flows: 100000"))
            .start()
            .unwrap();
        kernel_takes_over(&lab, &daemon);
        let mut held = held(&lab, 5);
        counts_agree(&daemon, 5);

        let links = |daemon: &Daemon| {
            let links = fs::read_dir(daemon.pin_path().join("v2/links"));
            links.map_or(0, Iterator::count)
        };
        let had = links(&daemon);
        assert!(had > 0, "something is attached");

        // Below the pin path it is lb's to make again.
        remove(&daemon.pin_path().join("v2"));
        wait::until_true("the pins to be there again", || {
            // One interface after the other.
            pin(&daemon, "REGISTRY").exists() && links(&daemon) == had
        })
        .unwrap_or_else(|error| panic!("{error}: {}", daemon.log()));
        let said = daemon.log();
        let path = daemon.pin_path().display().to_string();
        let missed = format!("somebody has removed what this lb has pinned at {path}");
        assert_eq!(said.matches(&missed).count(), 1, "{said}");
        kernel_takes_over(&lab, &daemon);
        assert_alive(&mut held);

        // They are as good as the first: the next start takes over by them.
        daemon.kill();
        assert_alive(&mut held);
        daemon.start().unwrap();
        kernel_takes_over(&lab, &daemon);
        counts_agree(&daemon, 5);
        assert_alive(&mut held);

        // The whole of it may not be, and then the mend is said.
        remove(daemon.pin_path());
        wait::until_true("it to be missed", || daemon.log().contains(&missed)).unwrap();
        let said = daemon.log();
        if said.contains("cannot be pinned again") {
            assert!(said.contains("restart lb"), "{said}");
            wait::until_true("userspace to serve", || {
                let status = daemon.status().unwrap();
                status["fast_path"]["frontends"][0]["path"] != "kernel"
            })
            .unwrap();
            daemon.kill();
            daemon.start().unwrap();
        }
        kernel_takes_over(&lab, &daemon);
        assert_eq!(said.matches(&missed).count(), 1, "{said}");
    }
}
