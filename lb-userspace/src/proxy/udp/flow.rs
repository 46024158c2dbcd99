//! One flow: what its two sides and the listening socket share of it, all on one thread.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::Instant,
};

use tokio::{net::UdpSocket, sync::Notify};

use super::{
    held::{Budget, Held},
    socket::{self, Arrival, Envelope},
};

/// What is known of one flow.
#[derive(Debug)]
pub(super) struct Flow {
    /// The client, as the listening socket's family writes it.
    client: SocketAddr,
    /// Where its first datagram came to.
    arrival: Option<Arrival>,
    /// Its own socket on the client's side, if it has one.
    pub(super) own: Option<UdpSocket>,
    /// The socket towards its server, once there is one.
    server: RefCell<Option<Rc<UdpSocket>>>,
    held: RefCell<Held>,
    /// Something came from the server.
    answered: Cell<bool>,
    refused: Cell<bool>,
    /// Told when it has been refused.
    pub(super) refusal: Notify,
    /// Told when it is to make room.
    pub(super) eviction: Notify,
    moved: Cell<Instant>,
    /// Payload from and to the client.
    bytes: Cell<(u64, u64)>,
}

impl Flow {
    pub(super) fn new(
        envelope: Envelope,
        own: Option<UdpSocket>,
        budget: &Budget,
        now: Instant,
    ) -> Self {
        Self {
            client: envelope.client,
            arrival: envelope.arrival,
            own,
            server: RefCell::new(None),
            held: RefCell::new(Held::new(budget)),
            answered: Cell::new(false),
            refused: Cell::new(false),
            refusal: Notify::new(),
            eviction: Notify::new(),
            moved: Cell::new(now),
            bytes: Cell::new((0, 0)),
        }
    }

    /// A datagram of the client's goes to the server, or waits until there is one.
    pub(super) fn forward(&self, data: &[u8]) {
        self.moved.set(Instant::now());
        let (bytes_in, bytes_out) = self.bytes.get();
        self.bytes.set((bytes_in + data.len() as u64, bytes_out));
        if !self.answered.get() {
            self.held.borrow_mut().keep(data);
        }
        if let Some(server) = &*self.server.borrow() {
            self.send(server, data);
        }
    }

    /// A datagram of the server's goes to the client, by `listening` if the flow has no socket of its own.
    ///
    /// # Errors
    /// Nobody listens at the client any more.
    pub(super) fn back(&self, listening: &UdpSocket, data: &[u8]) -> io::Result<()> {
        self.moved.set(Instant::now());
        let (bytes_in, bytes_out) = self.bytes.get();
        self.bytes.set((bytes_in, bytes_out + data.len() as u64));
        if !self.answered.replace(true) {
            self.held.borrow_mut().clear();
        }
        let sent = match &self.own {
            Some(own) => socket::send(own, data),
            None => socket::answer(listening, data, self.client, self.arrival),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
            // Lost, as datagrams are.
            _ => Ok(()),
        }
    }

    /// From now on datagrams go to `server`, those that have waited first.
    pub(super) fn assign(&self, server: Rc<UdpSocket>) {
        self.refused.set(false);
        for data in self.held.borrow().iter() {
            self.send(&server, data);
        }
        *self.server.borrow_mut() = Some(server);
    }

    /// What comes waits for another server.
    pub(super) fn leave(&self) {
        *self.server.borrow_mut() = None;
    }

    fn send(&self, server: &UdpSocket, data: &[u8]) {
        // Anything else is a datagram lost.
        if let Err(error) = socket::send(server, data)
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            self.refused.set(true);
            self.refusal.notify_one();
        }
    }

    /// Whether the server has said that nobody listens there.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.get()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    pub(super) fn holds(&self) -> bool {
        !self.held.borrow().is_empty()
    }

    /// Nothing will have to be sent again.
    pub(super) fn let_go(&self) {
        self.held.borrow_mut().clear();
    }

    /// When something last moved.
    pub(super) fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Payload from and to the client so far.
    pub(super) fn bytes(&self) -> (u64, u64) {
        self.bytes.get()
    }
}
