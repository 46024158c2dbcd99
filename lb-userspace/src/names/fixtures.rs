//! A DNS server for tests: it says what it is told to say, over UDP and TCP.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

/// One record of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// An address of the name.
    Address(IpAddr),
    /// The name is but another's.
    Alias(&'static str),
    /// A service: weight, port, host, and the host's address if that comes with it.
    Service(u16, u16, &'static str, Option<IpAddr>),
}

/// What it does when asked for a name.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// It answers with these, those of the kind that was asked for.
    Say(Vec<Says>),
    /// It answers with this code and nothing else.
    Fail(u8),
    /// It says nothing.
    Nothing,
    /// By UDP it says that the answer does not fit.
    Overflow(Vec<Says>),
}

/// Addresses of a name.
pub(crate) fn at(ips: &[&str]) -> Does {
    let address = |ip: &&str| Says::Address(ip.parse().unwrap());
    Does::Say(ips.iter().map(address).collect())
}

/// A running server; it ends with the test's process.
#[derive(Clone)]
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    names: Arc<Mutex<HashMap<&'static str, Does>>>,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl Dns {
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1".parse().unwrap())
    }

    pub(crate) fn start_at(ip: IpAddr) -> Self {
        // A port that both protocols have free.
        let (udp, tcp) = std::iter::repeat_with(|| {
            let udp = UdpSocket::bind((ip, 0)).unwrap();
            let tcp = TcpListener::bind(udp.local_addr().unwrap());
            tcp.map(|tcp| (udp, tcp))
        })
        .find_map(Result::ok)
        .unwrap();
        let dns = Self {
            address: udp.local_addr().unwrap(),
            names: Arc::default(),
            asked: Arc::default(),
        };
        let answering = dns.clone();
        thread::spawn(move || {
            let mut bytes = [0; 2048];
            while let Ok((length, from)) = udp.recv_from(&mut bytes) {
                if let Some(answer) = answering.answer(&bytes[..length], true) {
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        let answering = dns.clone();
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
                if stream.read_exact(&mut bytes).is_ok()
                    && let Some(answer) = answering.answer(&bytes, false)
                {
                    let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
                    framed.extend(answer);
                    let _ = stream.write_all(&framed);
                }
            }
        });
        dns
    }

    /// What it does from here on when asked for `name`; others it does not know.
    pub(crate) fn set(&self, name: &'static str, does: Does) {
        self.names.lock().unwrap().insert(name, does);
    }

    /// How often it was asked for records of this type.
    pub(crate) fn asked(&self, name: &str, kind: u16) -> usize {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(n, k)| n == name && *k == kind)
            .count()
    }

    fn answer(&self, question: &[u8], udp: bool) -> Option<Vec<u8>> {
        let (mut name, mut at) = (String::new(), 12);
        while question[at] > 0 {
            let end = at + 1 + usize::from(question[at]);
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&String::from_utf8_lossy(&question[at + 1..end]));
            at = end;
        }
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let asked = &question[12..at + 5];
        self.asked.lock().unwrap().push((name.clone(), kind));
        let does = self.names.lock().unwrap().get(name.as_str()).cloned();
        let (code, cut, says) = match does.unwrap_or(Does::Fail(3)) {
            Does::Say(says) => (0, false, says),
            Does::Fail(code) => (code, false, Vec::new()),
            Does::Nothing => return None,
            Does::Overflow(_) if udp => (0, true, Vec::new()),
            Does::Overflow(says) => (0, false, says),
        };
        Some(message(&question[..2], asked, kind, code, cut, &says))
    }
}

/// The bytes of an answer.
pub(crate) fn message(
    id: &[u8],
    asked: &[u8],
    kind: u16,
    code: u8,
    cut: bool,
    says: &[Says],
) -> Vec<u8> {
    let (mut answers, mut more) = (Vec::new(), Vec::new());
    // What an alias stands for owns what follows it.
    let mut owner = vec![0xc0, 12];
    for says in says {
        match says {
            Says::Address(ip) if kind == if ip.is_ipv4() { 1 } else { 28 } => {
                answers.push(record(&owner, kind, &octets(*ip)));
            }
            Says::Address(_) => {}
            Says::Alias(to) => {
                answers.push(record(&owner, 5, &labels(to)));
                owner = labels(to);
            }
            Says::Service(weight, port, target, address) if kind == 33 => {
                let mut data = vec![0, 1];
                data.extend(weight.to_be_bytes());
                data.extend(port.to_be_bytes());
                data.extend(labels(target));
                answers.push(record(&owner, 33, &data));
                if let Some(ip) = address {
                    let kind = if ip.is_ipv4() { 1 } else { 28 };
                    more.push(record(&labels(target), kind, &octets(*ip)));
                }
            }
            Says::Service(..) => {}
        }
    }
    let mut bytes = id.to_vec();
    bytes.extend([0x81 | u8::from(cut) << 1, 0x80 | code, 0, 1]);
    bytes.extend((answers.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend((more.len() as u16).to_be_bytes());
    bytes.extend(asked);
    bytes.extend(answers.concat());
    bytes.extend(more.concat());
    bytes
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 60]);
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A name as messages have it.
pub(crate) fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
