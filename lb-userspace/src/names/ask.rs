//! Questions to DNS servers: all are asked at once, and the first good answer counts.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};

use super::message::{self, Answer, Kind, NoAnswer};
use crate::{
    config::model::{Nameserver, Resolvers},
    topology::{Resolving, resolving::Asked},
};

/// The servers that the system asks.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Whom to ask, and how.
#[derive(Debug, Clone)]
pub struct Asker {
    servers: Vec<(Nameserver, Arc<Asked>)>,
    retries: u32,
    patience: Duration,
    payload: u16,
}

impl Asker {
    /// Of `resolvers`, counting in `resolving`; the system's file is read now.
    pub fn new(resolvers: &Resolvers, resolving: &Resolving) -> Self {
        let mut servers = resolvers.nameservers.clone();
        if resolvers.system {
            match std::fs::read_to_string(RESOLV_CONF) {
                Ok(text) => servers.extend(of_system(&text)),
                Err(error) => tracing::warn!("{RESOLV_CONF} cannot be read: {error}"),
            }
        }
        if servers.is_empty() {
            tracing::warn!("resolvers {} have no DNS server to ask", resolvers.name);
        }
        let counted = servers.into_iter().map(|server| {
            let asked = resolving.of(&resolvers.name, server.address);
            (server, asked)
        });
        Self {
            servers: counted.collect(),
            retries: resolvers.retries,
            patience: resolvers.retry,
            payload: resolvers.payload,
        }
    }

    /// Asks for `kind` records of `name`, again where nobody answers.
    ///
    /// # Errors
    /// The worst that was answered, if nothing good was.
    pub async fn ask(&self, name: &str, kind: Kind) -> Result<Answer, NoAnswer> {
        let mut last = NoAnswer::Timeout;
        for _ in 0..=self.retries {
            match self.once(name, kind).await {
                Err(NoAnswer::Timeout) => {}
                Err(error @ NoAnswer::Other) => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    async fn once(&self, name: &str, kind: Kind) -> Result<Answer, NoAnswer> {
        let mut asked = JoinSet::new();
        for (server, counters) in &self.servers {
            let (server, name) = (*server, name.to_owned());
            let (patience, payload) = (self.patience, self.payload);
            let counters = Arc::clone(counters);
            asked.spawn(async move {
                let answered = timeout(patience, one(server, &name, kind, payload, &counters));
                let answered = answered.await.unwrap_or(Err(NoAnswer::Timeout));
                match &answered {
                    Ok(_) => &counters.valid,
                    Err(NoAnswer::NoName) => &counters.no_name,
                    Err(NoAnswer::Refused) => &counters.refused,
                    Err(NoAnswer::Timeout) => &counters.timeouts,
                    Err(NoAnswer::Truncated | NoAnswer::Other) => &counters.other,
                }
                .inc();
                answered
            });
        }
        let mut bad = NoAnswer::Timeout;
        while let Some(answered) = asked.join_next().await {
            match answered {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(NoAnswer::Timeout)) | Err(_) => {}
                Ok(Err(error)) => bad = error,
            }
        }
        if bad == NoAnswer::Other || self.servers.is_empty() {
            // Who says nonsense at once is not to be asked at once again.
            tokio::time::sleep(self.patience).await;
        }
        Err(bad)
    }
}

async fn one(
    server: Nameserver,
    name: &str,
    kind: Kind,
    payload: u16,
    counters: &Asked,
) -> Result<Answer, NoAnswer> {
    let id = random();
    let question = message::question(id, name, kind, payload);
    counters.sent.inc();
    let failed = |_: io::Error| {
        counters.send_errors.inc();
        NoAnswer::Other
    };
    if !server.tcp {
        let bytes = by_udp(server.address, &question, id, payload);
        match message::answer(&bytes.await.map_err(failed)?, id, name, kind) {
            Err(NoAnswer::Truncated) => counters.truncated.inc(),
            done => return done,
        }
    }
    let bytes = by_tcp(server.address, &question).await.map_err(failed)?;
    message::answer(&bytes, id, name, kind)
}

/// A number that nobody can guess; the source port is another, of the system's choice.
fn random() -> u16 {
    RandomState::new().hash_one(()) as u16
}

async fn by_udp(server: SocketAddr, question: &[u8], id: u16, payload: u16) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server.is_ipv4() {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Nobody else's datagrams come by it then.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut bytes = vec![0; usize::from(payload)];
    loop {
        let length = socket.recv(&mut bytes).await?;
        if message::is_answer(&bytes[..length], id) {
            bytes.truncate(length);
            return Ok(bytes);
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(question);
    stream.write_all(&bytes).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// The `nameserver` lines of resolv.conf(5).
fn of_system(text: &str) -> Vec<Nameserver> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let ip = words
            .next()
            .filter(|word| *word == "nameserver")
            .and(words.next())?;
        // A zone is the interface of a link-local one, which we cannot name.
        let ip: IpAddr = ip.parse().ok()?;
        Some(Nameserver {
            address: (ip, 53).into(),
            tcp: false,
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_servers_are_read() {
        let text = "# made by hand\nsearch example.org\nnameserver 192.0.2.53\n nameserver 2001:db8::53 # two\nnameserver fe80::1%eth0\noptions edns0\n";
        let found: Vec<String> = of_system(text)
            .iter()
            .map(|n| n.address.to_string())
            .collect();
        assert_eq!(found, ["192.0.2.53:53", "[2001:db8::53]:53"]);
    }
}
