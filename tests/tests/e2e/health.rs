//! Servers that die and come back: who is sent there, and who notices.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use lb_tests::client::{self, Load};
use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, process, skip, wait};

use crate::kernel::{FOLLOWS, kernel_connections, kernel_takes_over, reasons, server_status};
use crate::setup::{servers, service, tcp};

const INTERVAL: &str = "100ms";
const RISE: u64 = 2;

fn checked(lab: &Lab, balance: &str) -> String {
    let check = format!("{{ type: tcp, interval: {INTERVAL}, rise: {RISE}, fall: 3 }}");
    tcp(lab, balance, &[]).replace(
        "    servers:",
        &format!("    health_check: {check}\n    servers:"),
    )
}

fn until_status(daemon: &Daemon<'_>, server: &str, wanted: &str) {
    let mut last = String::new();
    wait::until_true(format!("{server} to be {wanted}"), || {
        let member = server_status(daemon, server);
        member["row"]["status"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut last);
        last == wanted
    })
    .unwrap_or_else(|error| panic!("{error}; it is {last}; lb said:\n{}", daemon.log()));
}

/// Waits as long as the kernel may take to follow what the status says already.
fn until_the_kernel_follows() {
    thread::sleep(FOLLOWS);
}

#[test]
fn a_dead_server_gets_nothing_until_it_has_risen_and_the_others_never_notice() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let mut servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &checked(&lab, "roundrobin"))
        .start()
        .unwrap();
    for server in &servers {
        until_status(&daemon, server.name(), "UP");
    }
    kernel_takes_over(&lab, &daemon);
    let mut streams: Vec<(String, TcpStream)> = (0..12)
        .map(|_| {
            let mut stream = client::connect(lab.client(), service(&lab), None).unwrap();
            (client::greeting(&mut stream).unwrap(), stream)
        })
        .collect();
    let mut assert_alive = |dead: &[&str]| {
        for (name, stream) in &mut streams {
            if !dead.contains(&name.as_str()) {
                client::echo(stream, b"unimpressed").unwrap();
            }
        }
    };
    let load = || {
        Load::to(service(&lab))
            .connections(300)
            .parallel(4)
            .run(lab.client())
    };

    // Its listener goes: it is down for new connections, and those that run go on.
    servers[0].refuse();
    until_status(&daemon, "s1", "DOWN");
    until_the_kernel_follows();
    // As the host counts them: on a busy one the server itself may not have got round to taking them yet.
    let connected = || lab.server(0).snmp("Tcp", "PassiveOpens").unwrap();
    let at_down = connected();
    let tally = load();
    assert_eq!(tally.failures, Vec::<String>::new(), "{}", reasons(&daemon));
    assert_eq!((tally.of("s1"), tally.answered()), (0, 300));
    assert_alive(&[]);

    // All of it goes: whoever was connected there learns of it, nobody else.
    servers[0].stop();
    let tally = load();
    assert_eq!((tally.of("s1"), tally.failures), (0, vec![]));
    assert_alive(&["s1"]);
    let forwarded = kernel_connections(&daemon, "s1");

    servers[0].restart().unwrap();
    until_status(&daemon, "s1", "UP");
    assert!(connected() - at_down >= RISE, "up after {RISE} checks");
    assert_eq!(
        kernel_connections(&daemon, "s1"),
        forwarded,
        "nothing before it was up"
    );
    until_the_kernel_follows();
    let tally = load();
    assert_eq!(tally.failures, Vec::<String>::new());
    let cpus = thread::available_parallelism().unwrap().get() as u64;
    for server in &servers {
        assert!(tally.of(server.name()).abs_diff(100) <= cpus, "{tally:?}");
    }
    assert_alive(&["s1"]);
}

/// What clients may hold a server's death against.
#[derive(Default)]
struct Deaths {
    /// Deaths so far, by server.
    of: [AtomicU64; 3],
    /// Deaths so far, and those that the balancer has taken note of.
    begun: AtomicU64,
    noted: AtomicU64,
    end: AtomicBool,
}

impl Deaths {
    fn index(name: &str) -> usize {
        ["s1", "s2", "s3"].iter().position(|n| *n == name).unwrap()
    }
}

/// Connects, learns where it is, talks for a while, and complains of what no server's death excuses.
fn chat(lab: &Lab, target: SocketAddr, deaths: &Deaths, source: u16) -> Result<u64, String> {
    let source = lab.client_alias(source);
    let mut count = 0;
    while !deaths.end.load(SeqCst) {
        let unnoted = deaths.noted.load(SeqCst);
        let before = [0, 1, 2].map(|i| deaths.of[i].load(SeqCst));
        let open = || -> io::Result<(String, TcpStream)> {
            let mut stream = client::connect(lab.client(), target, Some(source.into()))
                .map_err(io::Error::other)?;
            let name = client::greeting(&mut stream)?;
            Ok((name, stream))
        };
        let (name, mut stream) = match open() {
            Ok(open) => open,
            // A server was dying meanwhile, or had died and the balancer could not know yet.
            Err(_) if deaths.begun.load(SeqCst) > unnoted => continue,
            Err(error) => return Err(format!("a new connection, all dead ones known: {error}")),
        };
        for _ in 0..20 {
            if let Err(error) = client::echo(&mut stream, &[0x55; 100]) {
                let server = Deaths::index(&name);
                if deaths.of[server].load(SeqCst) == before[server] {
                    return Err(format!("a connection to {name}, which lived on: {error}"));
                }
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        count += 1;
    }
    Ok(count)
}

/// A linear congruential generator (Knuth's MMIX): the test is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[test]
fn only_connections_to_a_server_that_died_fail() {
    if skip::without_lb() {
        return;
    }
    const CLIENTS: u16 = 8;
    const ROUNDS: usize = 24;
    let lab = Lab::builder().build().unwrap();
    let mut servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &checked(&lab, "leastconn"))
        .start()
        .unwrap();
    for server in &servers {
        until_status(&daemon, server.name(), "UP");
    }
    kernel_takes_over(&lab, &daemon);
    let (target, deaths, mut dice) = (service(&lab), Deaths::default(), Dice(20_261_123));
    let mut up = [true; 3];
    let results = thread::scope(|scope| {
        let chats: Vec<_> = (0..CLIENTS)
            .map(|i| {
                scope.spawn({
                    let (lab, deaths) = (&lab, &deaths);
                    move || chat(lab, target, deaths, i)
                })
            })
            .collect();
        for _ in 0..ROUNDS {
            thread::sleep(Duration::from_millis(dice.below(400)));
            let i = dice.below(3) as usize;
            if up[i] && up.iter().filter(|up| **up).count() > 1 {
                deaths.begun.fetch_add(1, SeqCst);
                deaths.of[i].fetch_add(1, SeqCst);
                servers[i].stop();
                until_status(&daemon, servers[i].name(), "DOWN");
                until_the_kernel_follows();
                deaths.noted.fetch_add(1, SeqCst);
                up[i] = false;
            } else if !up[i] {
                servers[i].restart().unwrap();
                until_status(&daemon, servers[i].name(), "UP");
                up[i] = true;
            }
        }
        deaths.end.store(true, SeqCst);
        chats
            .into_iter()
            .map(|chat| chat.join().unwrap())
            .collect::<Vec<_>>()
    });
    let mut connections = 0;
    for result in results {
        connections += result.unwrap_or_else(|error| panic!("{error}; {}", reasons(&daemon)));
    }
    assert!(connections >= u64::from(CLIENTS) && deaths.begun.load(SeqCst) >= 3);
    // Nobody is left behind.
    servers
        .iter_mut()
        .zip(up)
        .filter(|(_, up)| !up)
        .for_each(|(s, _)| s.restart().unwrap());
    for server in &servers {
        until_status(&daemon, server.name(), "UP");
    }
}

/// Connects from this port of the client, and ends the connection so: by a reset, or as one that is cut off. The server's name.
fn from_port(lab: &Lab, port: u16, end: &str) -> String {
    let script = format!(
        "import socket, struct\n\
         s = socket.socket()\n\
         s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.settimeout(20)\n\
         s.bind(('', {port}))\n\
         s.connect(('{}', {}))\n\
         print(s.recv(100).decode().split()[0])\n\
         if '{end}' == 'reset': s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n\
         if '{end}' == 'cut off': s.setsockopt(socket.IPPROTO_TCP, 19, 1)\n\
         s.close()\n",
        lab.service_addr(),
        service(lab).port(),
    );
    let mut command = lab.client().command("python3");
    let output = command.args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{end}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_port_is_not_tied_to_a_server_that_takes_nobody() {
    if skip::without_lb() || skip::without_tool("python3") {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let servers = servers(&lab, Protocol::Echo);
    let daemon = Daemon::builder(&lab, &checked(&lab, "roundrobin"))
        .start()
        .unwrap();
    for server in &servers {
        until_status(&daemon, server.name(), "UP");
    }
    kernel_takes_over(&lab, &daemon);
    // As long as it takes others it stays the same.
    let first = from_port(&lab, 50_000, "reset");
    assert_eq!(from_port(&lab, 50_000, "reset"), first);
    let maint = daemon
        .lb(&["server", "maint", &format!("web/{first}")])
        .unwrap();
    assert!(maint.status.success(), "{maint:?}");
    until_the_kernel_follows();
    assert_ne!(
        from_port(&lab, 50_000, "reset"),
        first,
        "{}",
        reasons(&daemon)
    );
    let ready = daemon
        .lb(&["server", "ready", &format!("web/{first}")])
        .unwrap();
    assert!(ready.status.success(), "{ready:?}");
    until_status(&daemon, &first, "UP");
    until_the_kernel_follows();

    for (port, end) in [(50_001, "reset"), (50_002, "cut off")] {
        let dead = from_port(&lab, port, end);
        let at = servers.iter().position(|s| s.name() == dead).unwrap();
        let link = |to: &str| {
            let mut command = lab.switch().command("ip");
            process::run(command.args(["link", "set", &lab.port(at), to])).unwrap();
        };
        link("down");
        until_status(&daemon, &dead, "DOWN");
        until_the_kernel_follows();
        assert_ne!(
            from_port(&lab, port, end),
            dead,
            "{end}; {}",
            reasons(&daemon)
        );
        link("up");
        until_status(&daemon, &dead, "UP");
        until_the_kernel_follows();
    }
}
