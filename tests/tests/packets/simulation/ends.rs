//! Clients and servers: just enough of TCP to open, use and end connections, and to answer what is wrong as a real stack
//! would.

use std::collections::BTreeMap;

use crate::frame::{End, Frame, L4, proto};
use crate::simulation::model::is_translated;
use crate::simulation::{SERVICES, proto_of};
use crate::tuple::Tuple;
use crate::world::World;

/// SplitMix64: the same numbers from the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn number(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (lb_common::hash::mix(self.0) >> 32) as u32
    }

    /// One of so many.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.number() as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A connection as one of its ends sees it.
#[derive(Clone, Copy)]
struct Connection {
    own: u32,
    other: u32,
    open: bool,
}

#[derive(Default)]
pub(super) struct Ends {
    clients: BTreeMap<Tuple, Connection>,
    servers: BTreeMap<Tuple, Connection>,
}

/// What a frame says.
fn tcp_of(frame: &Frame) -> Option<(&'static str, u32, u32)> {
    match frame.l4 {
        L4::Tcp {
            flags, seq, ack, ..
        } => Some((flags, seq, ack)),
        _ => None,
    }
}

/// One of the clients: few, so that they use their ports again.
fn client(w: &World, random: &mut Random) -> End {
    let host = 2 + random.below(6) as u8;
    let port = 40_000 + random.below(4) as u16;
    client_at(w, host, port)
}

pub(super) fn client_at(w: &World, host: u8, port: u16) -> End {
    w.client
        .at_host(host)
        .at_port(port)
        .at_mac([0x02, 0, 0, 0, 1, host])
}

impl Ends {
    /// A client does what comes next, or gives up and begins anew.
    pub(super) fn client_acts(&mut self, w: &World, random: &mut Random) -> Frame {
        let (from, service) = (client(w, random), random.of(&SERVICES));
        let to = w.at(service);
        if random.one_in(4) {
            return Frame::udp(from, to).data(&[b'u'; 40][..random.below(40)]);
        }
        let key = Tuple::new(from, to, proto::TCP);
        let connection = self.clients.get(&key).copied();
        match connection {
            Some(Connection {
                own,
                other,
                open: true,
            }) => {
                let flags = random.of(&["P.", "P.", "P.", ".", "F.", "F.", "R"]);
                if flags == "R" || flags == "F." && random.one_in(2) {
                    self.clients.remove(&key);
                }
                let frame = Frame::tcp(from, to, flags).seq(own.wrapping_add(1));
                let frame = if flags == "R" {
                    frame
                } else {
                    frame.ack(other.wrapping_add(1))
                };
                if flags == "P." {
                    frame.data(&[b'c'; 100][..1 + random.below(99)])
                } else {
                    frame
                }
            }
            Some(Connection { own, .. }) if !random.one_in(8) => Frame::tcp(from, to, "S").seq(own),
            _ => {
                let own = random.number();
                let connection = Connection {
                    own,
                    other: 0,
                    open: false,
                };
                self.clients.insert(key, connection);
                Frame::tcp(from, to, "S").seq(own)
            }
        }
    }

    /// A server sends something of its own accord.
    pub(super) fn server_acts(&mut self, w: &World, random: &mut Random) -> Option<Frame> {
        // What answers clients directly does not come by here.
        let of_family = |key: &&Tuple| key.src.is_ipv4() == w.v4() && key.dst.port() >= w.s1.port;
        let keys: Vec<Tuple> = self.servers.keys().filter(of_family).copied().collect();
        if keys.is_empty() {
            return None;
        }
        let key = random.of(&keys);
        if key.proto == proto::UDP {
            let (server, seen) = ends_of(w, key);
            return Some(Frame::udp(server, seen).data(&[b'v'; 40][..random.below(40)]));
        }
        let connection = self.servers[&key];
        let flags = if connection.open {
            random.of(&["P.", "P.", "P.", "P.", ".", "F.", "R"])
        } else {
            "S."
        };
        if flags == "R" || flags == "F." && random.one_in(2) {
            self.servers.remove(&key);
        }
        Some(server_frame(w, key, connection, flags))
    }

    /// Somebody forges a segment, or a stack that has lost its memory sends one.
    pub(super) fn forged(&mut self, w: &World, random: &mut Random) -> Frame {
        let flags = random.of(&["S", "S.", ".", ".", "P.", "F.", "R", "R.", ""]);
        let known: Vec<Tuple> = self.servers.keys().copied().collect();
        if random.one_in(3) && !known.is_empty() {
            let key = random.of(&known);
            if key.src.is_ipv4() == w.v4() && key.proto == proto::TCP && key.dst.port() >= w.s1.port
            {
                let (server, seen) = ends_of(w, key);
                let frame = Frame::tcp(server, seen, flags).seq(random.number());
                return frame.ack(random.number());
            }
        }
        let frame = Frame::tcp(client(w, random), w.at(random.of(&SERVICES)), flags);
        frame.seq(random.number()).ack(random.number())
    }

    /// A first packet of one of very many.
    pub(super) fn stranger(&mut self, w: &World, random: &mut Random) -> Frame {
        let host = 100 + random.below(100) as u8;
        let from = client_at(w, host, 1_000 + random.below(60_000) as u16);
        let to = w.at(random.of(&SERVICES));
        if random.one_in(3) {
            Frame::udp(from, to)
        } else {
            Frame::tcp(from, to, "S").seq(random.number())
        }
    }

    /// What a server answers to a client's packet.
    pub(super) fn server_receives(
        &mut self,
        w: &World,
        key: Tuple,
        frame: &Frame,
        random: &mut Random,
    ) -> Vec<Frame> {
        let translated = is_translated(frame.to.port);
        let Some((flags, seq, ack)) = tcp_of(frame) else {
            if !translated {
                return Vec::new();
            }
            let (server, seen) = ends_of(w, key);
            let connection = Connection {
                own: 0,
                other: 0,
                open: true,
            };
            self.servers.insert(key, connection);
            let answers = random.below(3);
            return vec![Frame::udp(server, seen).data(b"an answer"); answers];
        };
        let connection = self.servers.get(&key).copied();
        let answer = |connection, flags| vec![server_frame(w, key, connection, flags)];
        match (connection, flags) {
            (_, "R" | "R.") => {
                self.servers.remove(&key);
                Vec::new()
            }
            // A challenge: the client says what is true (RFC 5961 §4).
            (Some(connection), "S") if connection.open => answer(connection, "."),
            (_, "S") => {
                let new = Connection {
                    own: random.number(),
                    other: seq,
                    open: false,
                };
                if random.one_in(20) {
                    return answer(new, "R.");
                }
                self.servers.insert(key, new);
                answer(new, "S.")
            }
            (None, _) => {
                // As whoever has no such connection: a reset that the sender will accept.
                let unknown = Connection {
                    own: ack.wrapping_sub(1),
                    other: seq,
                    open: false,
                };
                answer(unknown, "R")
            }
            (Some(connection), _) => {
                if ack != connection.own.wrapping_add(1) || seq != connection.other.wrapping_add(1)
                {
                    return answer(connection, ".");
                }
                let open = Connection {
                    open: true,
                    ..connection
                };
                self.servers.insert(key, open);
                match flags {
                    "F." => {
                        self.servers.remove(&key);
                        answer(open, "F.")
                    }
                    "P." => answer(open, random.of(&["P.", "."])),
                    _ => Vec::new(),
                }
            }
        }
    }

    /// What a client answers to a server's packet.
    pub(super) fn client_receives(
        &mut self,
        w: &World,
        key: Tuple,
        frame: &Frame,
    ) -> Option<Frame> {
        let (flags, seq, ack) = tcp_of(frame)?;
        let from = client_at(w, last_byte(key.src.ip()), key.src.port());
        let to = w.at(key.dst.port());
        let connection = self.clients.get(&key).copied();
        match (connection, flags) {
            (_, "R" | "R.") => {
                self.clients.remove(&key);
                None
            }
            (Some(connection), "S.") if ack == connection.own.wrapping_add(1) => {
                let open = Connection {
                    other: seq,
                    open: true,
                    ..connection
                };
                self.clients.insert(key, open);
                let frame = Frame::tcp(from, to, ".").seq(ack);
                Some(frame.ack(seq.wrapping_add(1)))
            }
            (Some(connection), "F." | "P.") if connection.open => {
                let frame = Frame::tcp(from, to, ".").seq(connection.own.wrapping_add(1));
                Some(frame.ack(connection.other.wrapping_add(1)))
            }
            (None, "F.") => Some(Frame::tcp(from, to, ".").seq(ack).ack(seq.wrapping_add(1))),
            (None, "S." | "P.") => Some(Frame::tcp(from, to, "R").seq(ack)),
            _ => None,
        }
    }

    /// What the ends of a connection answer to a segment that they cannot accept.
    pub(super) fn poked(&self, w: &World, key: Tuple, at_server: Tuple) -> Vec<Frame> {
        let mut answers = Vec::new();
        if let Some(connection) = self.clients.get(&key) {
            let from = client_at(w, last_byte(key.src.ip()), key.src.port());
            let answer = Frame::tcp(from, w.at(key.dst.port()), ".");
            let answer = answer.seq(connection.own.wrapping_add(1));
            answers.push(answer.ack(connection.other.wrapping_add(1)));
        }
        if let Some(connection) = self.servers.get(&at_server)
            && is_translated(key.dst.port())
            && key.proto == proto::TCP
        {
            answers.push(server_frame(w, at_server, *connection, "."));
        }
        answers
    }

    pub(super) fn client_is_reset(&mut self, key: Tuple) {
        self.clients.remove(&key);
    }

    pub(super) fn server_is_reset(&mut self, key: Tuple) {
        self.servers.remove(&key);
    }
}

fn last_byte(address: std::net::IpAddr) -> u8 {
    match address {
        std::net::IpAddr::V4(address) => address.octets()[3],
        std::net::IpAddr::V6(address) => address.octets()[15],
    }
}

/// The server of a tuple as it arrives there, and whom it sees.
fn ends_of(w: &World, key: Tuple) -> (End, End) {
    let server = if key.dst.ip() == w.s2.address {
        w.s2
    } else {
        w.s1
    };
    let server = End {
        address: key.dst.ip(),
        port: key.dst.port(),
        ..server
    };
    let seen = End {
        mac: w.snat.mac,
        address: key.src.ip(),
        port: key.src.port(),
    };
    (server, seen)
}

fn server_frame(w: &World, key: Tuple, connection: Connection, flags: &'static str) -> Frame {
    let (server, seen) = ends_of(w, key);
    let first = flags.contains('S');
    let seq = connection.own.wrapping_add(u32::from(!first));
    let frame = Frame::tcp(server, seen, flags).seq(seq);
    let frame = if flags.contains('.') {
        frame.ack(connection.other.wrapping_add(1))
    } else {
        frame
    };
    debug_assert_eq!(proto_of(&frame), key.proto);
    if flags == "P." {
        frame.data(b"served")
    } else {
        frame
    }
}
