//! Mode tcp over UDP in userspace: `udp:` binds, where the kernel does not take a flow and where there is no kernel path.
//!
//! A *flow* is what comes from one address and port of a client to one of ours, until nothing has moved for its idle
//! time. It is balanced, counted and logged like a connection, and is bounded like one by `maxconn`. What cannot have a
//! place is dropped, and the oldest flow that no server has answered ends for it, so that forged datagrams push out only
//! one another. Each flow has a socket of its own towards its server, so that answers find back and ICMP tells when
//! nobody listens there.
//!
//! Where the kernel program may forward a frontend's datagrams, a flow has a socket of its own on the client's side as
//! well, connected to the client: the program asks for a socket before it opens a flow, and so leaves alone what
//! userspace has begun. Up to Linux 6.12 the kernel looks through all such sockets of a port for each datagram, so where
//! userspace serves alone the listening sockets are used instead, and a map finds the flow.

use std::{
    cell::{OnceCell, RefCell, RefMut},
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    rc::{Rc, Weak},
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::net::UdpSocket;

use super::{
    Worker,
    connect::ConnectError,
    worker::{Place, Served},
};
use crate::{
    config::{model::Attach, path},
    topology::Frontend,
};

mod carry;
mod flow;
mod held;
pub(super) mod socket;

use flow::Flow;
use held::Budget;
use socket::{Arrival, Envelope};

/// Datagrams taken from one socket before others get their turn.
const BURST: usize = 64;

/// What a worker's flows share.
#[derive(Debug, Default)]
pub struct Local {
    /// Where a datagram is while it passes. Never borrowed across an await.
    buffer: OnceCell<RefCell<Box<[u8]>>>,
    budget: Budget,
}

impl Local {
    fn buffer(&self) -> RefMut<'_, Box<[u8]>> {
        self.buffer
            .get_or_init(|| RefCell::new(vec![0; socket::LARGEST].into()))
            .borrow_mut()
    }
}

/// Which flow a datagram is of: who sent it, and to which address.
type Key = (SocketAddr, IpAddr);

/// One listening socket and its flows.
struct Relay {
    worker: Rc<Worker>,
    frontend: Arc<Frontend>,
    socket: UdpSocket,
    /// What the socket is bound to.
    bound: SocketAddr,
    /// Whether the kernel program has to find the owner of a flow.
    owned: bool,
    flows: RefCell<HashMap<Key, Rc<Flow>>>,
    /// Flows in the order of their opening; those that have ended or were answered go when they are met.
    unanswered: RefCell<VecDeque<Weak<Flow>>>,
}

/// Takes datagrams until the worker ends. Once it stops, only those of the flows that there are.
pub(super) async fn serve(
    worker: Rc<Worker>,
    frontend: Arc<Frontend>,
    socket: std::net::UdpSocket,
) {
    let opened = socket
        .local_addr()
        .and_then(|bound| Ok((bound, UdpSocket::from_std(socket)?)));
    let (bound, socket) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let name = &frontend.name;
            tracing::error!("frontend {name}: cannot watch its UDP socket: {error}");
            return;
        }
    };
    let config = &worker.shared.config;
    let owned = config.global.fast_path.attach != Attach::Off
        && path::kernel_path(config, &frontend.config).is_ok();
    let relay = Rc::new(Relay {
        worker,
        frontend,
        socket,
        bound,
        owned,
        flows: RefCell::default(),
        unanswered: RefCell::default(),
    });
    while socket::readable(&relay.socket).await.is_ok() {
        relay.take_burst();
        tokio::task::yield_now().await;
    }
}

impl Relay {
    /// Takes what there is, up to a burst.
    fn take_burst(self: &Rc<Self>) {
        let mut buffer = self.worker.udp.buffer();
        for _ in 0..BURST {
            match socket::receive(&self.socket, &mut buffer) {
                Ok(envelope) => self.take(&buffer[..envelope.length], envelope),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::debug!("frontend {}: a datagram: {error}", self.frontend.name);
                    return;
                }
            }
        }
    }

    /// Gives a datagram to its flow, or opens one.
    fn take(self: &Rc<Self>, data: &[u8], envelope: Envelope) {
        let client = socket::canonical(envelope.client);
        let ip = envelope
            .arrival
            .map_or(self.bound.ip(), |arrival| arrival.ip)
            .to_canonical();
        let flow = self.flows.borrow().get(&(client, ip)).cloned();
        match flow {
            Some(flow) => flow.forward(data),
            None => self.open((client, ip), data, envelope),
        }
    }

    /// Takes a datagram that another flow's socket at `ip` got.
    fn take_strayed(self: &Rc<Self>, data: &[u8], envelope: Envelope, ip: IpAddr) {
        let client = envelope.client;
        // As the listening socket would have told of it.
        let mapped = |ip: IpAddr| match ip {
            IpAddr::V4(v4) if self.bound.is_ipv6() => v4.to_ipv6_mapped().into(),
            ip => ip,
        };
        let wildcard = self.bound.ip().is_unspecified();
        self.take(
            data,
            Envelope {
                client: SocketAddr::new(mapped(client.ip()), client.port()),
                arrival: wildcard.then(|| Arrival {
                    ip: mapped(ip),
                    interface: match client {
                        SocketAddr::V6(v6) => v6.scope_id(),
                        SocketAddr::V4(_) => 0,
                    },
                }),
                ..envelope
            },
        );
    }

    fn open(self: &Rc<Self>, key: Key, data: &[u8], envelope: Envelope) {
        let (client, ip) = key;
        // Nobody can be answered at port 0, and nobody answers for a group.
        if client.port() == 0 || ip.is_multicast() || self.worker.is_stopping() {
            return;
        }
        let shared = &self.worker.shared;
        let place = Place::try_take(shared, &self.frontend);
        let Some(place) = place.filter(|_| !self.worker.udp.budget.is_spent()) else {
            self.frontend.counters.request_errors.inc();
            self.evict();
            return;
        };
        let own = match self.own(client, ip, envelope.arrival) {
            Ok(own) => own,
            Err(error) => {
                shared.accept_errors.inc();
                tracing::warn!(
                    "frontend {}: no socket for a flow: {error}",
                    self.frontend.name
                );
                return;
            }
        };
        let accepted = Instant::now();
        self.frontend
            .count_connection(shared.topology.clock.at(accepted));
        shared.accepted.inc();
        let flow = Rc::new(Flow::new(envelope, own, &self.worker.udp.budget, accepted));
        flow.forward(data);
        self.flows.borrow_mut().insert(key, Rc::clone(&flow));
        self.remember(&flow);
        let opened = Opened {
            key,
            flow,
            accepted,
            accepted_at: SystemTime::now(),
            relay: Rc::clone(self),
            place,
            _served: Served::begin(&self.worker),
        };
        tokio::task::spawn_local(async move { Box::pin(carry::run(&opened)).await });
    }

    /// Puts a new flow at the end of those that may have to make room.
    fn remember(&self, flow: &Rc<Flow>) {
        let mut unanswered = self.unanswered.borrow_mut();
        unanswered.push_back(Rc::downgrade(flow));
        // Now and then, so that it costs nothing that counts.
        if unanswered.len() > 2 * self.flows.borrow().len() + BURST {
            unanswered.retain(|flow| flow.upgrade().is_some_and(|flow| !flow.is_answered()));
        }
    }

    /// Ends the oldest flow that was not answered: the next that comes has its place.
    fn evict(&self) {
        let mut unanswered = self.unanswered.borrow_mut();
        while let Some(flow) = unanswered.pop_front() {
            if let Some(flow) = flow.upgrade().filter(|flow| !flow.is_answered()) {
                flow.eviction.notify_one();
                return;
            }
        }
    }

    /// A socket on the client's side for one flow, where the kernel program looks for it. An address that none can have,
    /// such as one that has just left, does with the listening socket.
    fn own(
        &self,
        client: SocketAddr,
        ip: IpAddr,
        arrival: Option<Arrival>,
    ) -> Result<Option<UdpSocket>, ConnectError> {
        if !self.owned {
            return Ok(None);
        }
        let mut service = SocketAddr::new(ip, self.bound.port());
        if let (SocketAddr::V6(v6), Some(arrival)) = (&mut service, arrival)
            && v6.ip().is_unicast_link_local()
        {
            v6.set_scope_id(arrival.interface);
        }
        match socket::for_client(service, client) {
            Ok(own) => Ok(Some(own)),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(None),
            Err(error) => match ConnectError::from(error) {
                error @ ConnectError::Resource(_) => Err(error),
                _ => Ok(None),
            },
        }
    }
}

/// A flow while it lasts; its place in map and counts is given back when it is dropped.
struct Opened {
    key: Key,
    flow: Rc<Flow>,
    accepted: Instant,
    accepted_at: SystemTime,
    relay: Rc<Relay>,
    place: Place,
    _served: Served,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.relay.flows.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
