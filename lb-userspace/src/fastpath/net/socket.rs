//! A netlink socket for requests: dumps, and changes of neighbours.
//!
//! Its own, apart from the one that listens for changes: were they one, a burst of changes that overruns the socket could
//! swallow an answer too.

use std::io;
use std::os::fd::AsRawFd;

use futures_util::{Stream, StreamExt};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::JoinHandle;

use super::decode;
use super::model::Event;

/// Dumps that changes kept interrupting are taken as they are after so many tries; the changes themselves follow anyway.
const DUMP_TRIES: u32 = 4;
/// Receive buffer for changes, bytes: some ten thousand of them, for the kernel doubles it.
const CHANGES_BUFFER: usize = 4 << 20;

/// What can go wrong between us and the kernel's routing netlink.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The socket could not be opened.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The connection broke.
    #[error("the netlink connection was lost while asking for {0}")]
    Lost(&'static str),
    /// The kernel refused.
    #[error("the kernel refused {what}: {error}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        #[source]
        error: io::Error,
    },
}

/// Ends a spawned task when dropped.
#[derive(Debug)]
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection that asks.
#[derive(Debug)]
pub(super) struct Requests {
    handle: Handle,
    _connection: Task,
}

impl Requests {
    /// Opens one in the calling thread's network namespace; a tokio runtime must be running.
    pub(super) fn open() -> Result<Self, NetError> {
        let (mut connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Open)?;
        // Else the end of an answer looks like a lost connection.
        connection.set_forward_done(true);
        connection.set_forward_ack(true);
        Ok(Self {
            handle,
            _connection: Task(tokio::spawn(connection)),
        })
    }

    /// Links, addresses, neighbours, routes and rules, in an order in which each finds what it refers to.
    pub(super) async fn dump_all(&mut self) -> Result<Vec<Event>, NetError> {
        let mut links = LinkMessage::default();
        links
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let mut events = self
            .dump("links", RouteNetlinkMessage::GetLink(links))
            .await?;
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        events.extend(self.dump("addresses", addresses).await?);
        let neighbours = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        events.extend(self.dump("neighbours", neighbours).await?);
        let rules = RouteNetlinkMessage::GetRule(RuleMessage::default());
        events.extend(self.dump("policy rules", rules).await?);
        events.extend(self.dump_routes().await?);
        Ok(events)
    }

    /// The routes of both families.
    pub(super) async fn dump_routes(&mut self) -> Result<Vec<Event>, NetError> {
        let mut events = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            events.extend(
                self.dump("routes", RouteNetlinkMessage::GetRoute(message))
                    .await?,
            );
        }
        Ok(events)
    }

    /// A request that is answered by success or failure alone. `flags` beside REQUEST and ACK.
    pub(super) async fn change(
        &mut self,
        what: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetError> {
        let mut answers = self.send(what, message, flags | NLM_F_ACK)?;
        let answer = answers.next().await.ok_or(NetError::Lost(what))?;
        verdict(what, &answer)
    }

    async fn dump(
        &mut self,
        what: &'static str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<Event>, NetError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (events, interrupted) = self.dump_once(what, message.clone()).await?;
            if !interrupted || tries == DUMP_TRIES {
                return Ok(events);
            }
        }
    }

    async fn dump_once(
        &mut self,
        what: &'static str,
        message: RouteNetlinkMessage,
    ) -> Result<(Vec<Event>, bool), NetError> {
        let mut answers = self.send(what, message, NLM_F_DUMP)?;
        let mut events = Vec::new();
        let mut interrupted = false;
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match &answer.payload {
                // In a dump NLM_F_REPLACE has another meaning (it shares a bit with a request flag): none is a change.
                NetlinkPayload::InnerMessage(inner) => events.extend(decode::event(inner, 0)),
                NetlinkPayload::Done(_) => return Ok((events, interrupted)),
                _ => verdict(what, &answer)?,
            }
        }
        Err(NetError::Lost(what))
    }

    fn send(
        &mut self,
        what: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>, NetError> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        self.handle
            .request(message)
            .map_err(|_| NetError::Lost(what))
    }
}

fn verdict(
    what: &'static str,
    answer: &NetlinkMessage<RouteNetlinkMessage>,
) -> Result<(), NetError> {
    match &answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(NetError::Refused {
            what,
            error: error.to_io(),
        }),
        _ => Ok(()),
    }
}

/// The changes as they come.
pub(super) struct Changes {
    messages: futures_util::stream::BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>,
    _connection: Task,
}

/// What came from the kernel unasked.
pub(super) enum Change {
    /// Something changed.
    Event(Event),
    /// Changes were lost: everything must be read again.
    Overrun,
}

impl Changes {
    /// Subscribes in the calling thread's network namespace; nothing that happens after this is missed.
    pub(super) fn subscribe() -> Result<Self, NetError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv6Rule,
        ];
        let (mut connection, _, messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(NetError::Open)?;
        enlarge(connection.socket_mut());
        let messages = messages
            .map(|(message, _): (_, SocketAddr)| message)
            .boxed();
        Ok(Self {
            messages,
            _connection: Task(tokio::spawn(connection)),
        })
    }

    /// The next change that is of concern; `None` if the connection is lost.
    pub(super) async fn next(&mut self) -> Option<Change> {
        loop {
            let message = self.messages.next().await?;
            match message.payload {
                NetlinkPayload::Overrun(_) => return Some(Change::Overrun),
                NetlinkPayload::InnerMessage(inner) => {
                    if let Some(event) = decode::event(&inner, message.header.flags) {
                        return Some(Change::Event(event));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Makes room for bursts: beyond `net.core.rmem_max` if we may. With less, an overrun comes sooner and is dealt with.
fn enlarge(socket: &impl AsRawFd) {
    // SAFETY: the descriptor is open for as long as the borrow of `socket` lasts, which outlives `fd`.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(fd, CHANGES_BUFFER).is_err() {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(fd, CHANGES_BUFFER);
    }
}
