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
    cell::{Cell, OnceCell, RefCell, RefMut},
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    rc::{Rc, Weak},
    time::{Instant, SystemTime},
};

use tokio::{net::UdpSocket, sync::Notify};

use super::{
    Worker,
    connect::ConnectError,
    generation::Served,
    post::{Post, Spot},
    worker::Place,
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
    post: Rc<Post>,
    local: Rc<Local>,
    socket: UdpSocket,
    /// What the socket is bound to.
    bound: SocketAddr,
    /// Whether the kernel program has to find the owner of a flow, and of which of the post's moves that is known.
    owned: Cell<(u64, bool)>,
    flows: RefCell<HashMap<Key, Rc<Flow>>>,
    /// The last of them has ended.
    empty: Notify,
    /// Flows in the order of their opening; those that have ended or were answered go when they are met.
    unanswered: RefCell<VecDeque<Weak<Flow>>>,
}

/// Takes datagrams until the worker ends. Once it stops, only those of the flows that there are; and the same, until there
/// are none, once the configuration has the bind no longer.
pub(super) async fn serve(post: Rc<Post>, socket: std::net::UdpSocket) {
    let Spot {
        worker, frontend, ..
    } = post.spot();
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
    let relay = Rc::new(Relay {
        local: Rc::clone(&worker.udp),
        owned: Cell::new((post.moves(), is_owned(&worker, &frontend))),
        post,
        socket,
        bound,
        flows: RefCell::default(),
        empty: Notify::new(),
        unanswered: RefCell::default(),
    });
    drop((worker, frontend));
    loop {
        if relay.post.is_closed() && relay.flows.borrow().is_empty() {
            return;
        }
        tokio::select! {
            biased;
            readable = socket::readable(&relay.socket) => {
                if readable.is_err() {
                    return;
                }
                relay.take_burst();
                tokio::task::yield_now().await;
            }
            () = relay.empty.notified() => {}
            () = relay.post.moved() => {}
        }
    }
}

/// Whether the kernel program may serve a frontend, and so has to find out who owns a flow.
fn is_owned(worker: &Worker, frontend: &Frontend) -> bool {
    let config = &worker.shared.config;
    config.global.fast_path.attach != Attach::Off
        && path::kernel_path(config, &frontend.config).is_ok()
}

impl Relay {
    /// Takes what there is, up to a burst.
    fn take_burst(self: &Rc<Self>) {
        let mut buffer = self.local.buffer();
        for _ in 0..BURST {
            match socket::receive(&self.socket, &mut buffer) {
                Ok(envelope) => self.take(&buffer[..envelope.length], envelope),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    let name = &self.post.spot().frontend.name;
                    tracing::debug!("frontend {name}: a datagram: {error}");
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
        let Spot {
            worker, frontend, ..
        } = self.post.spot();
        let gone = worker.is_stopping() || self.post.is_closed() || !frontend.gate().is_open();
        // Nobody can be answered at port 0, and nobody answers for a group.
        if client.port() == 0 || ip.is_multicast() || gone {
            return;
        }
        let shared = &worker.shared;
        let place = Place::try_take(shared, &frontend, self.post.spot().bind);
        let Some(place) = place.filter(|_| !self.local.budget.is_spent()) else {
            frontend.counters.request_errors.inc();
            self.evict();
            return;
        };
        if self.owned.get().0 != self.post.moves() {
            let owned = is_owned(&worker, &frontend);
            self.owned.set((self.post.moves(), owned));
        }
        let own = match self.own(client, ip, envelope.arrival) {
            Ok(own) => own,
            Err(error) => {
                shared.accept_errors.inc();
                tracing::warn!("frontend {}: no socket for a flow: {error}", frontend.name);
                return;
            }
        };
        let accepted = Instant::now();
        frontend.count_connection(shared.topology.clock.at(accepted));
        shared.accepted.inc();
        let flow = Rc::new(Flow::new(envelope, own, &self.local.budget, accepted));
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
            _served: Served::begin(&worker),
            worker,
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
        if !self.owned.get().1 {
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
    worker: Rc<Worker>,
    place: Place,
    _served: Served,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut flows = self.relay.flows.borrow_mut();
        flows.remove(&self.key);
        if flows.is_empty() && self.relay.post.is_closed() {
            self.relay.empty.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
