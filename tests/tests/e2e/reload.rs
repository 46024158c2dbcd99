//! Another configuration while the kernel forwards: what has the same name goes on there as well.

use std::net::SocketAddr;

use lb_tests::client::{self, Load};
use lb_tests::server::{Protocol, Server};
use lb_tests::{Daemon, Lab, process, skip, wait};
use rustix::process::Signal;

use crate::kernel::{counter, kernel_connections, kernel_takes_over, kernel_takes_over_at};
use crate::setup::{BACKEND, accepted_in_userspace, assert_alive, held, servers, service, tcp};

/// Has the daemon take `body`; what `lb reload` said.
#[track_caller]
pub(crate) fn take(daemon: &Daemon<'_>, body: &str) -> String {
    daemon.write_config(body).unwrap();
    let output = daemon.lb(&["reload"]).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, why) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{why}");
    assert!(!said.contains("kernel path"), "{said}");
    said
}

/// A frontend for each of these services before a backend over these servers, by their numbers.
fn forwarding(lab: &Lab, services: &[(&str, SocketAddr)], keys: &str, servers: &[usize]) -> String {
    let frontends = services.iter().map(|(name, at)| {
        format!("  {name}: {{ mode: tcp, bind: \"{at}\", default_backend: web }}\n")
    });
    let servers = servers.iter().map(|i| {
        format!(
            "      - {{ name: s{}, address: \"{}:{BACKEND}\" }}\n",
            i + 1,
            lab.server_addr(*i)
        )
    });
    format!(
        "frontends:\n{}backends:\n  web:\n    mode: tcp\n{keys}    servers:\n{}",
        frontends.collect::<String>(),
        servers.collect::<String>()
    )
}

/// Names of the servers that connections of their own get to.
fn reached(lab: &Lab, at: SocketAddr, connections: usize) -> Vec<(String, u64)> {
    let tally = Load::to(at).connections(connections).run(lab.client());
    assert_eq!(tally.failures, Vec::<String>::new());
    ["s1", "s2", "s3"]
        .map(|name| (name.to_owned(), tally.of(name)))
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn a_kernel_path_without_a_frontend_touches_no_interface_until_there_is_one() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let http = format!(
        "frontends:\n  web: {{ mode: http, bind: \"{}\", default_backend: web }}\n\
         backends:\n  web: {{ mode: http, servers: [ {{ name: s1, address: \"{}:{BACKEND}\" }} ] }}\n",
        service(&lab),
        lab.server_addr(0)
    );
    let daemon = Daemon::builder(&lab, &http)
        .fast_path("attach: auto, max_flows: 100000")
        .start()
        .unwrap();
    let said = |arguments: &[&str]| {
        let output = daemon.lb(arguments).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait::until_true("the kernel path to say that it is idle", || {
        said(&["status"]).contains("In-kernel path idle")
    })
    .unwrap_or_else(|error| panic!("{error}: {}", said(&["status"])));
    let links = pinned_links(&daemon);
    assert!(links.is_empty(), "{links:?}");
    assert_eq!(said(&["health"]), "userspace serves\n");
    let room = || daemon.status().unwrap()["fast_path"]["max_flows"].clone();
    assert_eq!(room(), 2048, "nobody needs more");
    take(&daemon, &tcp(&lab, "roundrobin", &[]));
    kernel_takes_over(&lab, &daemon);
    assert_eq!(room(), 100_000);
    assert!(!pinned_links(&daemon).is_empty());
    let status = said(&["status"]);
    assert!(status.contains("forwarded in the kernel"), "{status}");
    // What has the program keeps it: there are flows.
    let mut held = held(&lab, 3);
    take(&daemon, &http);
    assert!(!pinned_links(&daemon).is_empty());
    assert_alive(&mut held);
}

/// The attachments that the daemon has pinned.
fn pinned_links(daemon: &Daemon<'_>) -> Vec<std::path::PathBuf> {
    let versions = std::fs::read_dir(daemon.pin_path()).unwrap();
    let links = versions.map(|version| version.unwrap().path().join("links"));
    links
        .filter_map(|links| std::fs::read_dir(links).ok())
        .flatten()
        .map(|link| link.unwrap().path())
        .collect()
}

#[test]
fn kernel_flows_and_their_counts_go_on_under_another_configuration() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(3).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let web = [("web", service(&lab))];
    let daemon = Daemon::builder(&lab, &forwarding(&lab, &web, "", &[0, 1]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 20);
    let load = Load::to(service(&lab))
        .connections(usize::MAX)
        .parallel(4)
        .start(lab.client());
    let before = accepted_in_userspace(&lab);
    let counted = kernel_connections(&daemon, "s1");
    for keys in [
        "    balance: leastconn\n",
        "    balance: maglev\n",
        "    retries: 1\n",
        "    balance: source\n",
    ] {
        take(&daemon, &forwarding(&lab, &web, keys, &[0, 1]));
        assert_alive(&mut held);
        let target = load.done() + 100;
        wait::until_true("a hundred connections more", || load.done() >= target).unwrap();
    }
    assert_eq!(
        accepted_in_userspace(&lab),
        before,
        "the kernel forwards all the while"
    );
    // One server more, before the others: they keep their place in the kernel's tables. Until its neighbour entry is there,
    // its connections are userspace's.
    let said = take(&daemon, &forwarding(&lab, &web, "", &[2, 0, 1]));
    assert!(said.contains("server web/s3 added"), "{said}");
    wait::until_true("the new one to get connections", || {
        kernel_connections(&daemon, "s3") > 10
    })
    .unwrap();
    assert_alive(&mut held);
    let tally = load.stop();
    assert_eq!(tally.failures, Vec::<String>::new());
    assert!(kernel_connections(&daemon, "s1") > counted);
}

#[test]
fn a_server_that_goes_keeps_its_kernel_flows_and_gets_no_new_ones() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let web = [("web", service(&lab))];
    let mut daemon = Daemon::builder(&lab, &forwarding(&lab, &web, "", &[0, 1]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 20);
    take(&daemon, &forwarding(&lab, &web, "", &[1]));
    assert_eq!(reached(&lab, service(&lab), 40), [("s2".to_owned(), 40)]);
    assert_alive(&mut held);
    take(&daemon, &forwarding(&lab, &web, "", &[1, 0]));
    assert_eq!(reached(&lab, service(&lab), 40).len(), 2);
    assert_alive(&mut held);
    take(&daemon, &forwarding(&lab, &web, "", &[0]));
    // A stop waits for those of servers that are in no file any more as well.
    daemon.signal(Signal::TERM).unwrap();
    wait::until_true("new connections are refused", || {
        client::connect(lab.client(), service(&lab), None).is_err()
    })
    .unwrap();
    assert_alive(&mut held);
    drop(held);
    let status = daemon.wait(wait::PATIENCE).unwrap();
    assert!(status.success(), "{status}: {}", daemon.log());
}

#[test]
fn services_come_and_go_in_the_kernel_and_their_flows_end_by_themselves() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let other: SocketAddr = (lab.service_addr(), 81).into();
    let web = ("web", service(&lab));
    let both = [web, ("other", other)];
    let daemon = Daemon::builder(&lab, &forwarding(&lab, &[web], "", &[0, 1]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    assert!(client::connect(lab.client(), other, None).is_err());
    take(&daemon, &forwarding(&lab, &both, "", &[0, 1]));
    kernel_takes_over_at(&lab, &daemon, other);
    let mut held: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = client::connect(lab.client(), other, None).unwrap();
            client::greeting(&mut stream).unwrap();
            stream
        })
        .collect();
    take(&daemon, &forwarding(&lab, &[web], "", &[0, 1]));
    wait::until_true("nobody new is taken", || {
        client::connect(lab.client(), other, None).is_err()
    })
    .unwrap();
    assert_alive(&mut held);
    let opened = counter(&daemon, "flow_opened");
    assert_eq!(reached(&lab, service(&lab), 10).len(), 2);
    assert_alive(&mut held);
    wait::until_true("the kernel forwards the other one", || {
        counter(&daemon, "flow_opened") >= opened + 10
    })
    .unwrap();
    // A service of another name at the same place has flows of its own.
    take(
        &daemon,
        &forwarding(&lab, &[web, ("again", other)], "", &[1]),
    );
    kernel_takes_over_at(&lab, &daemon, other);
    assert_eq!(reached(&lab, other, 10), [("s2".to_owned(), 10)]);
    assert_alive(&mut held);
}

#[test]
fn a_file_that_is_not_valid_leaves_the_kernel_path_as_it_is() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(1).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let web = [("web", service(&lab))];
    let mut daemon = Daemon::builder(&lab, &forwarding(&lab, &web, "", &[0]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 5);
    daemon
        .write_config(&forwarding(&lab, &web, "    balance: leastcon\n", &[0]))
        .unwrap();
    let output = daemon.lb(&["reload"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        why.contains("lb.yaml:9:14: error: ") && why.contains("did you mean `leastconn`"),
        "{why}"
    );
    assert_alive(&mut held);
    kernel_takes_over(&lab, &daemon);
    // What takes a restart is said, and all else is taken; here by a signal.
    daemon
        .change_fast_path(
            "attach: xdp, max_flows: 200000, deny: [192.0.2.0/24]",
            &forwarding(&lab, &web, "", &[0]),
        )
        .unwrap();
    daemon.signal(Signal::HUP).unwrap();
    wait::until_true("it is said", || {
        daemon
            .log()
            .contains("global.fast_path.max_flows has changed, which takes a restart")
    })
    .unwrap();
    wait::until_true("the new deny list", || {
        let listed = daemon.lb(&["deny", "list"]).unwrap();
        String::from_utf8_lossy(&listed.stdout).contains("192.0.2.0/24")
    })
    .unwrap();
    assert_alive(&mut held);
}

#[test]
fn the_program_moves_from_one_hook_to_another_and_its_flows_along() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let web = [("web", service(&lab))];
    let body = forwarding(&lab, &web, "", &[0, 1]);
    let mut daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 10);
    for hook in ["tc", "xdp"] {
        let fast_path = format!("attach: {hook}, max_flows: 100000");
        daemon.change_fast_path(&fast_path, &body).unwrap();
        let said = take(&daemon, &body);
        assert!(said.contains("global changed: fast_path"), "{said}");
        assert_alive(&mut held);
        let status = daemon.status().unwrap();
        let interfaces = status["fast_path"]["interfaces"].as_array().unwrap();
        assert!(interfaces.iter().all(|i| i["attach"] == hook), "{status}");
        kernel_takes_over(&lab, &daemon);
        assert_alive(&mut held);
    }
}

#[test]
fn health_goes_on_in_the_kernel() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().servers(2).build().unwrap();
    let mut all: Vec<Server> = servers(&lab, Protocol::Echo);
    let web = [("web", service(&lab))];
    let check = "    health_check: { type: tcp, interval: 100ms, rise: 1, fall: 1 }\n";
    let daemon = Daemon::builder(&lab, &forwarding(&lab, &web, check, &[0, 1]))
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    all[0].refuse();
    let only_second = || reached(&lab, service(&lab), 10) == [("s2".to_owned(), 10)];
    wait::until_true("the first is seen to be down", || {
        daemon.log().contains("Server web/s1 is DOWN")
    })
    .unwrap();
    for keys in ["    balance: leastconn\n", "    retries: 1\n"] {
        take(
            &daemon,
            &forwarding(&lab, &web, &format!("{check}{keys}"), &[1, 0]),
        );
        assert!(only_second(), "it is still down");
    }
    all[0].restart().unwrap();
    wait::until_true("it comes back", || {
        reached(&lab, service(&lab), 10).len() == 2
    })
    .unwrap();
}

#[test]
fn an_attachment_that_cannot_be_had_is_refused() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    // A veth without a program on its other end takes nothing from XDP.
    let pair = "ip link add bare0 type veth peer name bare1 && ip link set bare0 up && ip link set bare1 up";
    process::run(lab.balancer().command("sh").args(["-c", pair])).unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let mut daemon = Daemon::builder(&lab, &body)
        .fast_path("attach: tc, max_flows: 100000")
        .start()
        .unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 3);
    let reload = |daemon: &Daemon<'_>| {
        let output = daemon.lb(&["reload"]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let changed = body.replace("name: s1,", "name: s9,");
    daemon
        .change_fast_path("attach: xdp, max_flows: 100000", &changed)
        .unwrap();
    let (taken, said) = reload(&daemon);
    assert!(!taken && said.contains("cannot attach to bare"), "{said}");
    let status = daemon.status().unwrap();
    assert!(
        !status.to_string().contains("\"s9\""),
        "nothing has changed"
    );
    assert_eq!(status["fast_path"]["interfaces"][0]["attach"], "tc");
    assert_alive(&mut held);
    // An upgrade to such a file comes to nothing either, and what there is goes on.
    let upgraded = daemon.lb(&["upgrade"]).unwrap();
    assert!(!upgraded.status.success());
    assert!(
        daemon.lb(&["health"]).unwrap().status.success(),
        "{}",
        daemon.log()
    );
    assert_alive(&mut held);
    kernel_takes_over(&lab, &daemon);
    // Where it can be had it is taken.
    let fit = "attach: xdp, interfaces: [clients0, servers0], max_flows: 100000";
    daemon.change_fast_path(fit, &body).unwrap();
    let (taken, said) = reload(&daemon);
    assert!(taken, "{said}");
    assert_alive(&mut held);
    kernel_takes_over(&lab, &daemon);
}

#[test]
fn an_interface_that_servers_are_reached_by_is_not_let_go() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let mut daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 3);
    let fewer = "attach: xdp, interfaces: [clients0], max_flows: 100000";
    daemon.change_fast_path(fewer, &body).unwrap();
    let output = daemon.lb(&["reload"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("leaves out servers0, by which server web/s"),
        "{said}"
    );
    assert_alive(&mut held);
    kernel_takes_over(&lab, &daemon);
}

#[test]
fn servers_may_come_and_go_for_as_long_as_they_like() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 3);
    let counted = || {
        let status = daemon.status().unwrap();
        status["frontends"][0]["kernel"]["connections"].as_u64()
    };
    // A block has room for 256.
    for turn in 0..300 {
        let address = format!("{}:{BACKEND}", lab.server_addr(turn % 3));
        let name = format!("web/t{turn}");
        for command in [
            format!("add server {name} {address}"),
            format!("enable server {name}"),
            format!("set server {name} state maint"),
        ] {
            daemon.ask(&command).unwrap();
        }
        let deleted = daemon.ask(&format!("del server {name}")).unwrap();
        assert_eq!(deleted, "Server deleted.", "{name}");
    }
    assert_alive(&mut held);
    let before = counted();
    let last = format!("add server web/last {}:{BACKEND}", lab.server_addr(0));
    daemon.ask(&last).unwrap();
    daemon.ask("enable server web/last").unwrap();
    kernel_takes_over(&lab, &daemon);
    assert!(counted() >= before, "nothing that was counted is lost");
    assert_alive(&mut held);
}
