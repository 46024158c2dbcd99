//! As few rights as will do: a user with some capabilities, and root that becomes a user.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lb_tests::client::{self, Load};
use lb_tests::daemon::Builder;
use lb_tests::lab::ETH;
use lb_tests::link::{self, End, ip};
use lb_tests::scratch::Scratch;
use lb_tests::server::{Protocol, UdpServer};
use lb_tests::{Daemon, Lab, Netns, skip, wait};
use rustix::process::Signal;

use crate::kernel::{kernel_takes_over, kernel_takes_over_at};
use crate::reload::take;
use crate::setup::{BACKEND, assert_alive, held, servers, service, tcp};

/// All that lb has use for.
pub(crate) const ALL: [&str; 5] = ["bpf", "net_admin", "net_bind_service", "net_raw", "perfmon"];
/// As the kernel writes that set.
const ALL_BITS: &str = "000000c000003400";
/// `nobody`.
const NOBODY: u32 = 65534;
const DNS: u16 = 53;

/// True, and says why, when a user cannot be given a pin path here.
pub(crate) fn without_user() -> bool {
    let others = |path: &str| fs::metadata(path).is_ok_and(|folder| folder.mode() & 1 != 0);
    if skip::without_lb() || skip::without_tool("setpriv") {
        return true;
    }
    skip::unless(others("/sys/fs/bpf"), "/sys/fs/bpf is for root alone")
}

/// What each of the daemon's threads is and may do: user, capabilities, and that it gets no more.
fn threads(pid: u32) -> Vec<[String; 3]> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let read = |task: &Path| {
        let status = fs::read_to_string(task.join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next().map(str::to_owned)
        };
        Some([field("Uid:")?, field("CapEff:")?, field("NoNewPrivs:")?])
    };
    let each = tasks.filter_map(|task| read(&task.unwrap().path()));
    each.collect()
}

#[track_caller]
pub(crate) fn assert_confined(pid: u32) {
    let threads = threads(pid);
    assert!(threads.len() > 3, "{threads:?}");
    for thread in threads {
        let expected = [&NOBODY.to_string(), ALL_BITS, "1"];
        assert_eq!(thread.each_ref().map(String::as_str), expected);
    }
}

pub(crate) fn reserved(lab: &Lab) -> String {
    let path = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    lab.balancer().read(path).unwrap().trim().to_owned()
}

/// Starts it, has it serve and die and serve again, lets it stop, and looks what it leaves.
fn lives_a_life(lab: &Lab, builder: Builder<'_>) {
    let _servers = servers(lab, Protocol::Echo);
    let mut daemon = builder.start().unwrap();
    kernel_takes_over(lab, &daemon);
    assert_confined(daemon.pid().unwrap());
    assert_ne!(reserved(lab), "");

    let mut held = held(lab, 5);
    let load = Load::to(service(lab)).connections(300).parallel(4);
    let tally = load.run(lab.client());
    assert_eq!(tally.failures, Vec::<String>::new(), "{}", daemon.log());
    let flows = daemon.lb(&["flows"]).unwrap();
    assert!(flows.status.success(), "{flows:?}");

    // It is in no folder but its own.
    let owner = |path: &Path| fs::symlink_metadata(path).unwrap();
    let socket = owner(daemon.socket());
    assert_eq!((socket.uid(), socket.mode() & 0o777), (NOBODY, 0o600));
    let maps = owner(&daemon.pin_path().join("v2/maps"));
    assert_eq!((maps.uid(), maps.mode() & 0o777), (NOBODY, 0o700));

    daemon.kill();
    daemon.start().unwrap();
    kernel_takes_over(lab, &daemon);
    assert_alive(&mut held);
    assert_confined(daemon.pid().unwrap());

    // Interfaces that come later are attached with what is left of its rights.
    let late = Netns::new(&lab.tag().name("late")).unwrap();
    let [near, far] = [(lab.balancer(), "late0", 1), (&late, ETH, 2)].map(|(netns, name, mac)| {
        let mac = [2, 0, 0, 0, 9, mac];
        End { netns, name, mac }
    });
    link::veth(near, far).unwrap();
    let _program = link::far_end(&late, ETH).unwrap();
    ip(lab.balancer(), &["addr add 10.80.0.1/24 dev late0"]).unwrap();
    wait::until_true("late0 to be attached", || {
        let status = daemon.status().unwrap();
        let interfaces = status["fast_path"]["interfaces"].as_array().cloned();
        let mut interfaces = interfaces.unwrap_or_default().into_iter();
        interfaces.any(|at| at["name"] == "late0" && at["attach"] == "xdp")
    })
    .unwrap_or_else(|error| panic!("{error}; {}", daemon.log()));

    // What is left at the end of the grace is reset, which takes a raw socket.
    daemon.signal(Signal::TERM).unwrap();
    wait::until_true("new connections are refused", || {
        client::connect(lab.client(), service(lab), None).is_err()
    })
    .unwrap();
    daemon.signal(Signal::TERM).unwrap();
    let status = daemon.wait(wait::PATIENCE).unwrap();
    assert!(status.success(), "{status}: {}", daemon.log());
    for stream in &mut held {
        assert!(client::echo(stream, b"over").is_err());
    }
    assert_eq!(reserved(lab), "");
    assert!(!daemon.socket().exists());
    let left = fs::read_dir(daemon.pin_path()).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{}", daemon.log());
}

#[test]
fn a_user_with_the_capabilities_has_everything() {
    if without_user() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let body = tcp(&lab, "roundrobin", &[]);
    lives_a_life(&lab, Daemon::builder(&lab, &body).capabilities(&ALL));
}

#[test]
fn root_becomes_a_user_and_goes_on_with_everything() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let body = tcp(&lab, "roundrobin", &[]);
    let builder = Daemon::builder(&lab, &body)
        .global("user", "nobody")
        .closed_pins()
        .given_to_nobody();
    lives_a_life(&lab, builder);
}

#[test]
fn a_capability_that_is_missing_is_named() {
    if without_user() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Http);
    let body = tcp(&lab, "roundrobin", &[]);
    for missing in ALL {
        let left: Vec<&str> = ALL.into_iter().filter(|name| *name != missing).collect();
        let name = format!("CAP_{}", missing.to_uppercase());
        let prepare = |attach: &str| {
            Daemon::builder(&lab, &body)
                .capabilities(&left)
                .fast_path(&format!("attach: {attach}, max_flows: 100000"))
                .prepare()
                .unwrap()
        };
        // Whoever insists on the kernel path, or on a low port, is told what there has to be.
        match missing {
            "net_raw" => {}
            _ => {
                let mut daemon = prepare("tc");
                let error = daemon.start_with(|_| None::<()>).unwrap_err();
                let error = error.to_string();
                assert!(error.contains(&name), "{error}");
                assert!(error.contains("lb has ended"), "{error}");
            }
        }
        if missing == "net_bind_service" {
            continue;
        }
        // Whoever does not is served without it, and told why.
        let mut daemon = prepare("auto");
        daemon.start().unwrap();
        let told = || String::from_utf8(daemon.lb(&["status"]).unwrap().stdout).unwrap();
        wait::until_true(format!("lb status to name {name}"), || {
            told().contains(&name)
        })
        .unwrap_or_else(|error| panic!("{error}: {}; {}", told(), daemon.log()));
        let load = Load::to(service(&lab)).connections(50).get("/");
        let tally = load.run(lab.client());
        assert_eq!(tally.failures, Vec::<String>::new(), "{missing}");
    }
}

#[test]
fn udp_flows_of_userspace_have_their_sockets_after_root_is_given_up() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let server = SocketAddr::new(lab.server_addr(0).into(), BACKEND);
    let _server = UdpServer::start(lab.server(0), "s1", server).unwrap();
    let target = SocketAddr::new(lab.service_addr().into(), DNS);
    let body = format!(
        "frontends:\n  dns: {{ mode: tcp, bind: \"udp:{target}\", default_backend: dns }}\n\
         backends:\n  dns: {{ mode: tcp, servers: [{{ name: s1, address: \"{server}\" }}] }}\n"
    );
    // A kernel path that is there, and sees no packet.
    let daemon = Daemon::builder(&lab, &body)
        .global("user", "nobody")
        .given_to_nobody()
        .fast_path("interfaces: [absent0], max_flows: 100000")
        .start()
        .unwrap();
    let client = lab
        .client()
        .run(|| UdpSocket::bind((lab.client_addr(), 0)).unwrap());
    client.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    client.send_to(b"hello", target).unwrap();
    let mut answer = [0; 64];
    let (length, from) = client.recv_from(&mut answer).unwrap();
    assert_eq!((&answer[..length], from), (&b"\x02s1hello"[..], target));
    // The socket that tells the kernel program whose flow it is.
    let sockets = lab.balancer().read("/proc/thread-self/net/udp").unwrap();
    let port = client.local_addr().unwrap().port();
    let remote = format!(":{port:04X} ");
    let own = sockets.lines().find(|line| line.contains(&remote));
    let own = own.unwrap_or_else(|| panic!("none of {port}: {sockets}; {}", daemon.log()));
    assert!(own.contains(&format!(" {NOBODY} ")), "{own}");
}

#[test]
fn what_is_left_is_enough_for_another_configuration() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .global("user", "nobody")
        .closed_pins()
        .given_to_nobody()
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 5);

    // Low ports more, one of them of datagrams, and a file in a folder that nobody has named before.
    let folder = Scratch::files(lab.tag(), "later").unwrap();
    let page = "HTTP/1.0 503 Later\r\nContent-Length: 5\r\n\r\nlater";
    let page = folder.write("503.http", page).unwrap();
    let at = lab.service_addr();
    let body = tcp(&lab, "roundrobin", &[]);
    let more = format!(
        "frontends:\n  \
           more: {{ mode: tcp, bind: [\"{at}:81\", \"udp:{at}:53\"], default_backend: web }}\n  \
           pages: {{ mode: http, bind: \"*:82\", errorfiles: {{ 503: {} }}, default_backend: nobody }}\n",
        page.display()
    );
    let nobody = "  nobody: { mode: http, servers: [{ name: s1, address: \"10.77.2.11:1\", disabled: true }] }\n";
    let body = body.replace("frontends:\n", &more) + nobody;
    take(&daemon, &body);
    kernel_takes_over_at(&lab, &daemon, (at, 81).into());
    let mut pages = client::connect(lab.client(), (at, 82).into(), None).unwrap();
    let answer = client::exchange(&mut pages, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((answer.status, &answer.body[..]), (503, &b"later"[..]));

    // What is to be written elsewhere is refused, and all stays as it was.
    let elsewhere = folder.path().join("lb.log");
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let config = daemon.folder().join("lb.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let log = format!("global:\n  log: [{{ target: {} }}]\n", elsewhere.display());
    fs::write(&config, text.replacen("global:\n", &log, 1)).unwrap();
    let refused = daemon.lb(&["reload"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains(elsewhere.to_str().unwrap()), "{said}");
    assert!(said.contains("restart"), "{said}");
    assert!(!elsewhere.exists());
    assert_alive(&mut held);
    assert_confined(daemon.pid().unwrap());
}
