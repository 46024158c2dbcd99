//! Segments and ICMP errors that somebody forges against connections of others: nobody is moved, nobody is ended.
//!
//! Sequence numbers are out of every window, as a forger who sees nothing would guess them; those who guess right end a
//! connection without a balancer too.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep, TcpHeader};
use lb_tests::capture::Capture;
use lb_tests::lab::{Arms, ETH, Family};
use lb_tests::raw::RawSocket;
use lb_tests::server::Server;
use lb_tests::{Daemon, Lab, client, skip, wait};
use rustix::net::sockopt::set_socket_linger;

use crate::kernel::settles_at;
use crate::oracle;
use crate::services::{Forward, Service, Transport, Userspace};

/// Connections that are lied about.
const CONNECTIONS: u16 = 20;

/// Who can be pretended to have sent a segment.
#[derive(Clone, Copy)]
struct Ends {
    from: SocketAddr,
    to: SocketAddr,
}

impl Ends {
    fn turned(self) -> Ends {
        Ends {
            from: self.to,
            to: self.from,
        }
    }
}

/// A host's link, and how to reach the balancer's on it.
struct Link<'a> {
    socket: &'a RawSocket,
    from: [u8; 6],
    to: [u8; 6],
}

impl Link<'_> {
    fn frame(&self, from: IpAddr, to: IpAddr, protocol: IpNumber, payload: &[u8]) {
        let ethernet = PacketBuilder::ethernet2(self.from, self.to);
        let mut frame = Vec::new();
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
            _ => panic!("{from} and {to} are of two families"),
        }
        .write(&mut frame, protocol, payload)
        .unwrap();
        self.socket.send(&frame).unwrap();
    }

    /// A segment with these flags and a sequence number made up.
    fn segment(&self, ends: Ends, sequence: u32, flags: impl Fn(&mut TcpHeader)) {
        let bytes = segment(ends, sequence, flags);
        self.frame(ends.from.ip(), ends.to.ip(), IpNumber::TCP, &bytes);
    }

    /// ICMP errors of all kinds from a host on the way, about a segment that was never sent.
    fn errors(&self, quoted: Ends, sequence: u32, teller: IpAddr) {
        let inner = packet(quoted, &segment(quoted, sequence, |tcp| tcp.ack = true));
        for (kind, code, more) in errors_of(quoted.from.ip()) {
            let mut message = vec![*kind, *code, 0, 0];
            message.extend(more.to_be_bytes());
            message.extend(&inner);
            let to = quoted.from.ip();
            let (protocol, pseudo) = match (teller, to) {
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    let mut pseudo = [from.octets(), to.octets()].concat();
                    pseudo.extend((message.len() as u32).to_be_bytes());
                    pseudo.extend([0, 0, 0, 58]);
                    (IpNumber::IPV6_ICMP, pseudo)
                }
                _ => (IpNumber::ICMP, Vec::new()),
            };
            let sum = checksum(&[pseudo, message.clone()].concat());
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            self.frame(teller, to, protocol, &message);
        }
    }
}

/// Type, code and the word after the checksum: unreachable in every way, too big with sizes that no path has, time
/// exceeded, parameter problem, redirect's cousin source quench.
fn errors_of(family: IpAddr) -> &'static [(u8, u8, u32)] {
    match family {
        IpAddr::V4(_) => &[
            (3, 0, 0),
            (3, 1, 0),
            (3, 2, 0),
            (3, 3, 0),
            (3, 4, 68),
            (3, 4, 0),
            (3, 13, 0),
            (4, 0, 0),
            (11, 0, 0),
            (12, 0, 0),
        ],
        IpAddr::V6(_) => &[
            (1, 0, 0),
            (1, 1, 0),
            (1, 3, 0),
            (1, 4, 0),
            (2, 0, 1280),
            (2, 0, 0),
            (3, 0, 0),
            (4, 1, 6),
        ],
    }
}

/// A TCP header with its checksum.
fn segment(ends: Ends, sequence: u32, flags: impl Fn(&mut TcpHeader)) -> Vec<u8> {
    let mut header = TcpHeader::new(ends.from.port(), ends.to.port(), sequence, 1024);
    flags(&mut header);
    if header.ack {
        header.acknowledgment_number = sequence ^ 0x5555_5555;
    }
    let sum = match (ends.from.ip(), ends.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[])
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &[])
        }
        (from, to) => panic!("{from} and {to} are of two families"),
    };
    header.checksum = sum.unwrap();
    let mut bytes = Vec::new();
    header.write(&mut bytes).unwrap();
    bytes
}

/// An IP packet as an error quotes it.
fn packet(ends: Ends, segment: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder: PacketBuilderStep<_> = match (ends.from.ip(), ends.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 60),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 60),
        (from, to) => panic!("{from} and {to} are of two families"),
    };
    builder.write(&mut bytes, IpNumber::TCP, segment).unwrap();
    bytes
}

/// RFC 1071
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// SYN, RST, FIN and nonsense, three times over with other sequence numbers.
fn forge_segments(link: &Link<'_>, ends: Ends) {
    for sequence in [1, 0x7fff_ffff, 0xdead_beef] {
        link.segment(ends, sequence, |tcp| tcp.syn = true);
        link.segment(ends, sequence, |tcp| (tcp.syn, tcp.ack) = (true, true));
        link.segment(ends, sequence, |tcp| tcp.rst = true);
        link.segment(ends, sequence, |tcp| (tcp.rst, tcp.ack) = (true, true));
        link.segment(ends, sequence, |tcp| (tcp.fin, tcp.ack) = (true, true));
        link.segment(ends, sequence, |tcp| tcp.fin = true);
        link.segment(ends, sequence, |tcp| {
            (tcp.fin, tcp.syn, tcp.rst, tcp.psh, tcp.urg) = (true, true, true, true, true);
        });
        link.segment(ends, sequence, |_| {});
    }
}

/// A connection, the server that greeted it, and its own ends.
struct Victim {
    stream: TcpStream,
    server: String,
    ends: Ends,
}

fn victims(lab: &Lab, service: Service) -> Vec<Victim> {
    let target = service.target(lab);
    let connect = |i| {
        let source = lab.client_alias_ip(service.family, i);
        let mut stream = client::connect(lab.client(), target, Some(source)).unwrap();
        let server = client::greeting(&mut stream).unwrap();
        let from = stream.local_addr().unwrap();
        Victim {
            stream,
            server,
            ends: Ends { from, to: target },
        }
    };
    (0..CONNECTIONS).map(connect).collect()
}

/// What is forged, then that everyone is where he was: bytes come back, no server has accepted anybody else, and the
/// kernel still counts each as active.
fn nobody_is_moved_or_ended(service: Service) {
    let lab = service.forward.lab().build().unwrap();
    let servers: Vec<Server> = service.echo_servers(&lab);
    let daemon = Daemon::builder(&lab, &service.config(&lab))
        .start()
        .unwrap();
    service.taken_by_kernel(&lab, &daemon).unwrap();
    settles_at("probes to be gone", 0, || service.active(&daemon));
    let mut victims = victims(&lab, service);
    let ends: Vec<Ends> = victims.iter().map(|victim| victim.ends).collect();
    let accepted = || servers.iter().map(Server::accepted).sum::<u64>();
    let (accepted_before, userspace) = (accepted(), Userspace::of(&lab));
    // Who the servers believe to talk to: whoever can see that can lie about it from their side.
    let peers: Vec<Vec<SocketAddr>> = servers.iter().map(Server::take_peers).collect();

    let wire = Capture::start(lab.client(), ETH).unwrap();
    let near = RawSocket::open(lab.client(), ETH).unwrap();
    let edge = match lab.arms() {
        Arms::Two => lab.service_addr(),
        Arms::One => lab.balancer_addr(),
    };
    let near = Link {
        socket: &near,
        from: lab.mac_of(lab.client_addr()),
        to: lab.mac_of(edge),
    };
    let teller = lab.client_alias_ip(service.family, 40_000);
    let mut all_alive = |when: &str| {
        for Victim {
            stream,
            server,
            ends,
        } in &mut victims
        {
            client::echo(stream, b"unimpressed")
                .unwrap_or_else(|error| panic!("{when}: {} of {server}: {error}", ends.from));
        }
    };
    for round in 0..3 {
        for ends in &ends {
            forge_segments(&near, *ends);
            // Somebody on the way says that the server's answers cannot reach the client.
            near.errors(ends.turned(), round, teller);
        }
        all_alive("forged from the clients' side");
        for (i, peers) in peers.iter().enumerate() {
            let socket = RawSocket::open(lab.server(i), ETH).unwrap();
            let (from, to) = (
                lab.mac_of(lab.server_addr(i)),
                lab.mac_of(lab.balancer_addr()),
            );
            let far = Link {
                socket: &socket,
                from,
                to,
            };
            let newest = peers.iter().rev().take(usize::from(CONNECTIONS));
            for peer in newest {
                let own = Ends {
                    from: service.listens(&lab, i),
                    to: *peer,
                };
                forge_segments(&far, own);
                far.errors(own.turned(), round, lab.server_ip(service.family, i));
            }
        }
        all_alive("forged from the servers' side");
    }
    // Neither a forgery nor what came of one was thrown away for its checksum alone.
    let findings = oracle::look(&wire.stop().unwrap());
    assert_eq!(findings.wrong, Vec::<String>::new());
    let forged = 3 * u64::from(CONNECTIONS) * 24;
    assert!(
        findings.tcp >= forged && findings.icmp >= forged / 24 * 8,
        "{findings:?}"
    );
    assert_eq!(accepted(), accepted_before, "somebody was moved");
    assert_eq!(
        servers.iter().map(Server::open).sum::<u64>(),
        u64::from(CONNECTIONS)
    );
    settles_at("every flow to be active", CONNECTIONS.into(), || {
        service.active(&daemon)
    });
    assert_eq!(
        Userspace::of(&lab).accepted,
        userspace.accepted,
        "somebody came up"
    );
    for victim in victims {
        drop(victim.stream);
    }
    settles_at("all to have ended", 0, || service.active(&daemon));
}

fn spoofed(forward: Forward, family: Family) {
    if !skip::without_lb() {
        nobody_is_moved_or_ended(Service::new(forward, family, Transport::Tcp));
    }
}

#[test]
fn forged_packets_move_and_end_nobody_fullnat() {
    spoofed(Forward::Fullnat, Family::V4);
}

#[test]
fn forged_packets_move_and_end_nobody_fullnat_ipv6() {
    spoofed(Forward::Fullnat, Family::V6);
}

#[test]
fn forged_packets_move_and_end_nobody_nat() {
    spoofed(Forward::Nat, Family::V4);
}

#[test]
fn forged_packets_move_and_end_nobody_nat_ipv6() {
    spoofed(Forward::Nat, Family::V6);
}

#[test]
fn forged_packets_move_and_end_nobody_dsr() {
    spoofed(Forward::Dsr, Family::V4);
}

#[test]
fn forged_packets_move_and_end_nobody_dsr_ipv6() {
    spoofed(Forward::Dsr, Family::V6);
}

#[test]
fn forged_packets_move_and_end_nobody_ipip() {
    spoofed(Forward::Ipip, Family::V4);
}

#[test]
fn forged_packets_move_and_end_nobody_ipip_ipv6() {
    spoofed(Forward::Ipip, Family::V6);
}

/// A reset that somebody forges in a client's name, then silence for longer than a connection that was really reset is
/// remembered: the client is asked.
fn a_forged_reset_ends_no_idle_connection(service: Service) {
    let lab = service.forward.lab().build().unwrap();
    let _servers: Vec<Server> = service.echo_servers(&lab);
    let daemon = Daemon::builder(&lab, &service.config(&lab))
        .start()
        .unwrap();
    service.taken_by_kernel(&lab, &daemon).unwrap();
    settles_at("probes to be gone", 0, || service.active(&daemon));
    let victims = victims(&lab, service);
    let all = u64::from(CONNECTIONS);
    settles_at("all to be counted", all, || service.active(&daemon));
    let edge = match lab.arms() {
        Arms::Two => lab.service_addr(),
        Arms::One => lab.balancer_addr(),
    };
    let socket = RawSocket::open(lab.client(), ETH).unwrap();
    let link = Link {
        socket: &socket,
        from: lab.mac_of(lab.client_addr()),
        to: lab.mac_of(edge),
    };
    for victim in &victims {
        link.segment(victim.ends, 1, |tcp| tcp.rst = true);
    }
    settles_at("all to look reset", 0, || service.active(&daemon));
    settles_at("all to have been asked", all, || service.active(&daemon));
    let clients: Vec<IpAddr> = victims.iter().map(|victim| victim.ends.from.ip()).collect();
    for mut victim in victims {
        client::echo(&mut victim.stream, b"unimpressed").unwrap();
        // It really resets the connection.
        set_socket_linger(&victim.stream, Some(Duration::ZERO)).unwrap();
    }
    settles_at("all to be reset", 0, || service.active(&daemon));
    // Ten seconds after the reset they are asked, and as long after the answer they are forgotten.
    wait::until("all to be forgotten", Duration::from_secs(60), || {
        let known = |client: &IpAddr| {
            let client = client.to_string();
            let flows = daemon.lb(&["flows", "--json", "--client", &client]);
            !flows.unwrap().stdout.is_empty()
        };
        (!clients.iter().any(known)).then_some(())
    })
    .unwrap();
}

#[test]
fn a_forged_reset_ends_no_idle_connection_fullnat() {
    if !skip::without_lb() {
        let service = Service::new(Forward::Fullnat, Family::V4, Transport::Tcp);
        a_forged_reset_ends_no_idle_connection(service);
    }
}

#[test]
fn a_forged_reset_ends_no_idle_connection_dsr_ipv6() {
    if !skip::without_lb() {
        let service = Service::new(Forward::Dsr, Family::V6, Transport::Tcp);
        a_forged_reset_ends_no_idle_connection(service);
    }
}
