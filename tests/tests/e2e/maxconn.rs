//! A server's `maxconn`: a bound for both paths together, and a queue for who finds it reached.

use std::net::TcpStream;

use lb_tests::client::{self, Load};
use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, skip, wait};

use crate::kernel::{active, kernel_takes_over, reasons, settles_at};
use crate::setup::{accepted_in_userspace, servers, service, tcp};

#[test]
fn nobody_is_sent_more_than_maxconn_and_who_waits_is_served() {
    if skip::without_lb() {
        return;
    }
    const LIMITS: [u64; 2] = [5, 3];
    const CLIENTS: usize = 20;
    for balance in ["roundrobin", "leastconn"] {
        let lab = Lab::builder().servers(2).build().unwrap();
        let servers = servers(&lab, Protocol::Echo);
        let mut body = tcp(&lab, balance, &[]) + "defaults: { timeouts: { queue: 30s } }\n";
        for (i, limit) in LIMITS.iter().enumerate() {
            let address = format!("address: \"{}\"", servers[i].address());
            body = body.replace(&address, &format!("{address}, maxconn: {limit}"));
        }
        let daemon = Daemon::builder(&lab, &body).start().unwrap();
        kernel_takes_over(&lab, &daemon);
        for server in &servers {
            settles_at("a server to be idle", 0, || active(&daemon, server.name()));
        }
        let queued = || {
            let status = daemon.status().unwrap();
            status["backends"][0]["own"]["row"]["qcur"]
                .as_u64()
                .unwrap()
        };
        settles_at("the queue of probes", 0, queued);
        wait::until_true("probes to be gone", || {
            servers.iter().all(|s| s.open() == 0)
        })
        .unwrap();
        let userspace = accepted_in_userspace(&lab);

        let within = || {
            for (server, limit) in servers.iter().zip(LIMITS) {
                assert!(
                    server.open() <= limit,
                    "{}: {}",
                    server.name(),
                    server.open()
                );
            }
        };
        let connect = |lab: &Lab| client::connect(lab.client(), service(lab), None).unwrap();
        let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(&lab)).collect();
        for stream in &clients {
            stream.set_nonblocking(true).unwrap();
        }
        let mut served = 0;
        while served < CLIENTS {
            // Those that have been greeted hold their slot until the queue is as long as it must be.
            let mut greeted = Vec::new();
            let slots = LIMITS.iter().sum::<u64>().min(clients.len() as u64);
            wait::until_true(
                format!("{slots} of {} to be greeted", clients.len()),
                || {
                    within();
                    greeted = (0..clients.len())
                        .filter(|i| matches!(clients[*i].peek(&mut [0]), Ok(1)))
                        .collect();
                    greeted.len() as u64 == slots
                },
            )
            .unwrap_or_else(|error| panic!("{balance}: {error}; {}", reasons(&daemon)));
            let waiting = clients.len() as u64 - slots;
            settles_at("the queue", waiting, || {
                within();
                queued()
            });
            // One leaves, the next is let in.
            clients.swap_remove(greeted[served % greeted.len()]);
            served += 1;
        }
        let in_userspace = accepted_in_userspace(&lab) - userspace;
        assert!(
            in_userspace >= CLIENTS as u64 - LIMITS.iter().sum::<u64>(),
            "{balance}: who has to wait does so there: {}",
            reasons(&daemon)
        );
    }
}

#[test]
fn nobody_is_sent_more_while_connections_come_and_go_on_both_paths() {
    if skip::without_lb() {
        return;
    }
    const LIMIT: u64 = 5;
    const CONNECTIONS: usize = 3000;
    let lab = Lab::builder().servers(2).build().unwrap();
    let servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]) + "defaults: { timeouts: { queue: 30s } }\n";
    let body = body.replace("weight:", &format!("maxconn: {LIMIT}, weight:"));
    let daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let userspace = accepted_in_userspace(&lab);
    let load = Load::to(service(&lab))
        .connections(CONNECTIONS)
        .parallel(16)
        .start(lab.client());
    while load.done() < CONNECTIONS {
        for server in &servers {
            assert!(
                server.open() <= LIMIT,
                "{}: {}",
                server.name(),
                server.open()
            );
        }
        std::thread::yield_now();
    }
    let tally = load.finish();
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(tally.answered(), CONNECTIONS as u64);
    assert!(accepted_in_userspace(&lab) > userspace, "some had to wait");
}
