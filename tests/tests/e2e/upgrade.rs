//! Another process takes the daemon's place, with the rights that this one has kept, and the kernel path with its flows.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use lb_tests::client::{self, Account, Datagrams, Load, Steady};
use lb_tests::daemon::{Builder, binary};
use lb_tests::server::{Protocol, Server, UdpServer};
use lb_tests::{Daemon, Lab, bpf, process, skip, wait};
use rustix::process::{Pid, Signal, kill_process};

use crate::kernel::{kernel_takes_over, reasons};
use crate::privileges::{ALL, assert_confined, reserved, without_user};
use crate::setup::{BACKEND, accepted_in_userspace, assert_alive, held, servers, service, tcp};

/// Where datagrams go.
const DNS: u16 = 53;

/// A file in the daemon's folder that anybody may run.
fn runnable(daemon: &Daemon<'_>, name: &str, write: impl Fn(&Path)) -> PathBuf {
    let path = daemon.folder().join(name);
    write(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Asks for an upgrade that comes to nothing; why.
fn refused(daemon: &Daemon<'_>, arguments: &[&str]) -> String {
    let output = daemon.lb(&[&["upgrade"], arguments].concat()).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    said
}

fn denied(daemon: &Daemon<'_>) -> String {
    let output = daemon.lb(&["deny", "list"]).unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Starts it, has others take its place or fail to, and looks what the last one leaves.
fn is_succeeded(lab: &Lab, builder: Builder<'_>) {
    let _servers = servers(lab, Protocol::Echo);
    let daemon = builder.start().unwrap();
    kernel_takes_over(lab, &daemon);
    let mut held = held(lab, 5);
    let added = daemon.lb(&["deny", "add", "198.51.100.0/24"]).unwrap();
    assert!(added.status.success(), "{added:?}");
    let userspace = accepted_in_userspace(lab);
    let mut serves = |who: &str| {
        assert_alive(&mut held);
        let load = Load::to(service(lab)).connections(100).parallel(4);
        let tally = load.run(lab.client());
        assert_eq!(
            tally.failures,
            Vec::<String>::new(),
            "{who}: {}",
            daemon.log()
        );
        assert_eq!(
            accepted_in_userspace(lab),
            userspace,
            "{who}: in the kernel"
        );
        let flows = daemon.lb(&["flows"]).unwrap();
        assert!(flows.status.success(), "{who}: {flows:?}");
        assert!(denied(&daemon).contains("198.51.100.0/24"), "{who}");
    };
    serves("the first");

    let ends = runnable(&daemon, "ends", |path| {
        fs::write(path, "#!/bin/sh\nexit 1\n").unwrap();
    });
    let said = refused(&daemon, &["--binary", ends.to_str().unwrap()]);
    assert!(said.contains("exit status: 1"), "{said}");
    serves("whoever goes on");
    // One that has come as far as it can, and then has no kernel path: that of the running one is without an agent by then.
    let next = runnable(&daemon, "next", |path| {
        fs::copy(binary(), path).unwrap();
    });
    let next = next.to_str().unwrap();
    let lesser = runnable(&daemon, "lesser", |path| {
        let less = "--ambient-caps=-all --inh-caps=-all";
        let script = format!("#!/bin/sh\nexec setpriv {less} -- {next} \"$@\"\n");
        fs::write(path, script).unwrap();
    });
    let said = refused(&daemon, &["--binary", lesser.to_str().unwrap()]);
    assert!(said.contains("CAP_BPF"), "{said}");
    serves("whoever has the kernel path again");

    let mut last = 0;
    for turn in 1..=2 {
        last = daemon.upgrade_with(&["--binary", next]).unwrap();
        assert_confined(last);
        serves(&format!("successor {turn}"));
    }
    assert_ne!(reserved(lab), "", "the ports are its own");

    let pid = Pid::from_raw(last.cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    wait::until_true("new connections are refused", || {
        client::connect(lab.client(), service(lab), None).is_err()
    })
    .unwrap();
    drop(held);
    kill_process(pid, Signal::TERM).unwrap();
    wait::until_true("its socket is gone", || !daemon.socket().exists()).unwrap();
    wait::until_true("nothing is reserved", || reserved(lab).is_empty()).unwrap();
    wait::until_true("nothing is pinned", || {
        fs::read_dir(daemon.pin_path()).map_or(0, Iterator::count) == 0
    })
    .unwrap_or_else(|error| panic!("{error}; {}", daemon.log()));
}

#[test]
fn a_user_with_capabilities_is_succeeded() {
    if without_user() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let body = tcp(&lab, "roundrobin", &[]);
    is_succeeded(&lab, Daemon::builder(&lab, &body).capabilities(&ALL));
}

#[test]
fn whom_root_has_become_is_succeeded() {
    if skip::without_lb() || skip::without_tool("setpriv") {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let body = tcp(&lab, "roundrobin", &[]);
    let builder = Daemon::builder(&lab, &body)
        .global("user", "nobody")
        .closed_pins()
        .given_to_nobody();
    is_succeeded(&lab, builder);
}

/// Streams of bytes and of datagrams, each with its server, over some upgrades: all is the kernel's.
fn nothing_is_noticed(lab: &Lab, forward: &str) {
    let dns = SocketAddr::from((lab.service_addr(), DNS));
    let mut servers = Vec::new();
    let mut datagrams = Vec::new();
    let mut lists = [String::new(), String::new()];
    for i in 0..lab.servers() {
        // With `dsr` they have the service's address.
        let [tcp, udp] = match forward {
            "dsr" => [service(lab), dns],
            _ => [BACKEND, DNS].map(|port| (lab.server_addr(i), port).into()),
        };
        let name = format!("s{}", i + 1);
        servers.push(Server::start(lab.server(i), &name, Protocol::Echo, tcp).unwrap());
        datagrams.push(UdpServer::start(lab.server(i), &name, udp).unwrap());
        for (list, at) in lists.iter_mut().zip([tcp, udp]) {
            let at = SocketAddr::from((lab.server_addr(i), at.port()));
            let _ = write!(list, "{{ name: {name}, address: \"{at}\" }}, ");
        }
    }
    let [tcp, udp] = lists;
    let body = format!(
        "frontends:\n  web: {{ mode: tcp, bind: \"{}\", default_backend: web }}\n  \
         dns: {{ mode: tcp, bind: \"udp:{dns}\", default_backend: dns }}\n\
         backends:\n  web: {{ mode: tcp, forward: {forward}, servers: [{tcp}] }}\n  \
         dns: {{ mode: tcp, forward: {forward}, servers: [{udp}] }}\n",
        service(lab)
    );
    let daemon = Daemon::builder(lab, &body).start().unwrap();
    kernel_takes_over(lab, &daemon);
    let streams = Steady::start(held(lab, 20), Duration::from_millis(10));
    let over = AtomicBool::new(false);
    let begun = AtomicBool::new(false);
    let userspace = accepted_in_userspace(lab);
    let account = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut sum = Account::default();
            while !over.load(Relaxed) && sum.failures.is_empty() {
                let account = Datagrams::to(dns).flows(64).each(200).run(lab.client());
                begun.store(true, Relaxed);
                sum.sent += account.sent;
                sum.lost += account.lost;
                sum.failures.extend(account.failures);
            }
            sum
        });
        wait::until_true("datagrams", || begun.load(Relaxed)).unwrap();
        for _ in 0..3 {
            let rounds = streams.rounds();
            daemon.upgrade().unwrap();
            wait::until_true("streams go on", || streams.rounds() > rounds + 20).unwrap();
        }
        over.store(true, Relaxed);
        load.join().unwrap()
    });
    assert_eq!(account.failures, Vec::<String>::new(), "{forward}");
    assert_eq!(
        account.lost,
        0,
        "{forward}: of {}; {}",
        account.sent,
        reasons(&daemon)
    );
    let streams = streams.stop();
    assert_eq!(streams.failures, Vec::<String>::new(), "{forward}");
    assert_eq!(streams.streams.len(), 20);
    assert_eq!(accepted_in_userspace(lab), userspace, "{forward}");
}

#[test]
fn flows_of_both_kinds_notice_nothing_with_fullnat() {
    if skip::without_lb() {
        return;
    }
    nothing_is_noticed(&Lab::builder().build().unwrap(), "fullnat");
}

#[test]
fn flows_of_both_kinds_notice_nothing_with_dsr() {
    if skip::without_lb() {
        return;
    }
    nothing_is_noticed(&Lab::builder().one_armed().build().unwrap(), "dsr");
}

/// What stands between both processes, as the new one's binary.
const BETWEEN: &str = include_str!("../../../lb-userspace/tests/reload/between.py");

#[test]
fn flows_outlive_whoever_is_killed_amid_it() {
    if skip::without_lb() || skip::without_tool("python3") {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let mut daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 5);
    let answers = |daemon: &Daemon<'_>| {
        let status = daemon.status().ok();
        status.and_then(|status| status["process"]["pid"].as_u64())
    };
    // The last of each are amid what the two say of the kernel path: before it is told, before and after its agent is another.
    for (when, what) in [
        ("Prepared", "new"),
        ("Ready", "new"),
        ("Commit", "new"),
        ("Serving", "new"),
        ("Told", "old"),
        ("Ready", "old"),
        ("Serving", "old"),
        ("Told", "both"),
        ("Ready", "both"),
    ] {
        let turn = format!("{when}, {what}");
        let between = between(&daemon, when, what, |text| text);
        let before = answers(&daemon);
        let there = daemon.folder().join("there");
        let _ = fs::remove_file(&there);
        refused(&daemon, &["--binary", between.to_str().unwrap()]);
        assert!(there.exists(), "{turn}");
        match what {
            "new" => {}
            "old" => wait::until_true(&turn, || answers(&daemon).is_some()).unwrap(),
            _ => {
                let gone = || std::os::unix::net::UnixStream::connect(daemon.socket()).is_err();
                wait::until_true(&turn, gone).unwrap();
                daemon.start().unwrap();
            }
        }
        let after = answers(&daemon);
        assert_eq!(
            after == before,
            what == "new",
            "{turn}: {before:?}, {after:?}"
        );
        kernel_takes_over(&lab, &daemon);
        assert_alive(&mut held);
        let load = Load::to(service(&lab)).connections(100).parallel(4);
        let userspace = accepted_in_userspace(&lab);
        let tally = load.run(lab.client());
        assert_eq!(tally.failures, Vec::<String>::new(), "{turn}");
        assert_eq!(accepted_in_userspace(&lab), userspace, "{turn}");
    }
}

/// Starts `between` both processes as it would be the new one's binary: up to the message `when`, then `does`.
fn between(
    daemon: &Daemon<'_>,
    when: &str,
    does: &str,
    change: impl Fn(String) -> String,
) -> PathBuf {
    runnable(daemon, "between", |path| {
        let text = BETWEEN.replace("LB", binary().to_str().unwrap());
        let text = text.replace("WHEN", when).replace("DO", does);
        fs::write(path, change(text)).unwrap();
    })
}

/// Exit code and words of a command.
fn said(daemon: &Daemon<'_>, arguments: &[&str]) -> (bool, String) {
    let output = daemon.lb(arguments).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let words = text(&output.stdout) + &text(&output.stderr);
    (output.status.success(), words)
}

/// An interface in the balancer that takes what is redirected to it only as long as the program is on its other end.
fn half_a_pair(lab: &Lab) -> bpf::Link {
    let pair = "ip link add pair0 type veth peer name pair1 && ip link set pair0 up && ip link set pair1 up";
    process::run(lab.balancer().command("sh").args(["-c", pair])).unwrap();
    let shown = lab
        .balancer()
        .command("ip")
        .args(["-o", "link", "show", "pair1"])
        .output()
        .unwrap();
    // `7: pair1@pair0: <…`
    let index = String::from_utf8_lossy(&shown.stdout);
    let index = index
        .split(':')
        .next()
        .and_then(|index| index.parse().ok())
        .unwrap();
    lab.balancer()
        .run(|| bpf::Program::xdp_pass().unwrap().attach(index).unwrap())
}

#[test]
fn a_kernel_path_is_taken_up_again_as_it_is_attached() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let other_end = half_a_pair(&lab);
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let daemon = Daemon::builder(&lab, &body)
        .fast_path("attach: xdp, interfaces: [clients0, servers0, pair0], max_flows: 100000")
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 5);
    // What runs goes on; what starts cannot have it any more.
    drop(other_end);
    let why = refused(&daemon, &[]);
    assert!(why.contains("pair0"), "{why}");
    assert_alive(&mut held);
    assert!(said(&daemon, &["health"]).0, "{}", daemon.log());
    assert!(said(&daemon, &["deny", "add", "198.51.100.0/24"]).0);
    kernel_takes_over(&lab, &daemon);
}

#[test]
fn a_kernel_path_without_an_agent_gets_one_as_soon_as_that_can_be_had() {
    if skip::without_lb() || skip::without_tool("python3") || skip::without_tool("prlimit") {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let mut daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 5);
    let pid = daemon.pid().unwrap();
    // The new one dies once the old one's agent has ended, and there are descriptors for hardly any more than connections.
    let few = "    import resource\n    count = len(os.listdir(f'/proc/{pid}/fd')) + 12\n    \
               resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))\n";
    let lose = |daemon: &Daemon<'_>| {
        let named = between(daemon, "Ready", "new", |text| {
            let begin = "def kill(what, name):\n";
            text.replace(begin, &format!("{begin}{few}"))
        });
        refused(daemon, &["--binary", named.to_str().unwrap()]);
        let (healthy, words) = said(daemon, &["health"]);
        assert!(
            !healthy && words.contains("nobody looks after"),
            "{words}; {}",
            daemon.log()
        );
    };
    let enough = || {
        let mut command = std::process::Command::new("prlimit");
        command.args([format!("--pid={pid}"), "--nofile=4096:".to_owned()]);
        process::run(&mut command).unwrap();
    };
    lose(&daemon);
    assert_alive(&mut held);
    assert!(said(&daemon, &["status"]).1.contains("Nobody looks after"));
    assert!(
        !said(&daemon, &["deny", "list"]).0,
        "there is nobody to ask"
    );
    enough();
    wait::until_true("the kernel path to be looked after", || {
        said(&daemon, &["health"]).0
    })
    .unwrap();
    assert_alive(&mut held);
    assert!(said(&daemon, &["deny", "list"]).0);
    kernel_takes_over(&lab, &daemon);

    // Nothing forwards for one that has been stopped, with an agent or without.
    lose(&daemon);
    assert_alive(&mut held);
    assert!(said(&daemon, &["stop", "--now"]).0);
    daemon.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(
        fs::read_dir(daemon.pin_path()).map_or(0, Iterator::count),
        0,
        "{}",
        daemon.log()
    );
    assert_eq!(reserved(&lab), "");
    assert!(client::connect(lab.client(), service(&lab), None).is_err());
}

#[test]
fn a_script_goes_with_all_that_it_has_started() {
    if skip::without_lb() || skip::without_tool("python3") {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &tcp(&lab, "roundrobin", &[]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let named = between(&daemon, "Prepared", "hold", |text| text);
    let script = runnable(&daemon, "script", |path| {
        let text = format!("#!/bin/sh\n{} \"$@\"\nexit $?\n", named.display());
        fs::write(path, text).unwrap();
    });
    let why = refused(
        &daemon,
        &["--timeout", "3", "--binary", script.to_str().unwrap()],
    );
    assert!(why.contains("does not serve after"), "{why}");
    let config = daemon.folder().join("lb.yaml");
    let others = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let of_it = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = words.split(|byte| *byte == 0);
            words.any(|word| word == config.as_os_str().as_encoded_bytes())
        };
        pids.filter(|pid| Some(*pid) != daemon.pid() && of_it(pid))
            .count()
    };
    wait::until_true("nothing is left of it", || others() == 0).unwrap();
    kernel_takes_over(&lab, &daemon);
}
