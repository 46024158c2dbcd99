//! One connection to a server, and how much it carries.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use h2::{Ping, PingPong, client};
use http::uri::Scheme;
use tokio::sync::Notify;

use super::super::{
    CONNECTION_WINDOW, MAX_HEAD, REMEMBERED_RESETS, SEND_BUFFER, STREAM_WINDOW, STREAMS,
};
use crate::{proxy::Stream, rules::Links, tls::Session};

/// The most streams of a connection whose server has not said how many it takes: no number that it can say, nor that of one
/// that says none.
const UNSAID: usize = usize::MAX - 1;

/// A connection to a server.
pub(super) struct Connection {
    pub(super) sender: client::SendRequest<Bytes>,
    pub(super) scheme: Scheme,
    /// Our end of it.
    pub(super) local: Option<SocketAddr>,
    /// What its TLS has shown, if somebody wants to know.
    pub(super) tls: Option<Rc<Session>>,
    pub(super) active: Cell<usize>,
    /// Requests that it has carried.
    pub(super) carried: Cell<u32>,
    /// The most that it may.
    most: u32,
    /// It is to carry no more requests.
    pub(super) used_up: Cell<bool>,
    /// What asks whether the server is there; its settings have come before it answers.
    ping: RefCell<Option<PingPong>>,
    /// It is on its way, or has come back.
    pinged: Cell<bool>,
    /// Its settings are known, as the ping has shown.
    settled: tokio::sync::OnceCell<()>,
    /// Whoever waits for the server's settings is told of them, or of the connection's end.
    pub(super) said: Rc<Notify>,
    pub(super) idle_since: Cell<Instant>,
}

impl Connection {
    pub(super) async fn open(
        stream: Stream,
        most: u32,
        wants: Links,
    ) -> Result<Rc<Self>, h2::Error> {
        let scheme = match stream.is_tls() {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        };
        let local = stream.tcp().local_addr().ok();
        let tls = wants.tls.then(|| stream.session()).flatten().map(Rc::new);
        let (sender, mut wire) = client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(4 * MAX_HEAD)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .enable_push(false)
            .initial_max_send_streams(UNSAID)
            .handshake(stream)
            .await?;
        let ping = wire.ping_pong();
        let said = Rc::<Notify>::default();
        let (tells, mut waits) = (Rc::clone(&said), true);
        tokio::task::spawn_local(async move {
            let driven = poll_fn(|cx| {
                let driven = Pin::new(&mut wire).poll(cx);
                if waits && wire.max_concurrent_send_streams() != UNSAID {
                    waits = false;
                    tells.notify_waiters();
                }
                driven
            });
            // What goes wrong is told to the requests on it.
            let _ = driven.await;
            tells.notify_waiters();
        });
        Ok(Rc::new(Self {
            sender,
            scheme,
            local,
            tls,
            active: Cell::new(0),
            carried: Cell::new(0),
            most,
            used_up: Cell::new(false),
            ping: RefCell::new(ping),
            pinged: Cell::new(false),
            settled: tokio::sync::OnceCell::new(),
            said,
            idle_since: Cell::new(Instant::now()),
        }))
    }

    /// Whether the server still takes requests on it.
    pub(super) fn is_open(&self) -> bool {
        if self.used_up.get() {
            return false;
        }
        let mut sender = self.sender.clone();
        !matches!(
            sender.poll_ready(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Err(_))
        )
    }

    /// Whether it carries other protocols (RFC 8441). The server says so with its settings, which are the first that it
    /// sends, so that they have come once it has answered a ping.
    pub(super) async fn switches(&self) -> bool {
        if !self.sender.is_extended_connect_protocol_enabled() {
            // Whoever waits may leave: the ping stays where it is, and the next one goes on waiting for its answer.
            let settled = self.settled.get_or_init(async || {
                poll_fn(|cx| {
                    let mut ping = self.ping.borrow_mut();
                    let Some(ping) = ping.as_mut() else {
                        return Poll::Ready(());
                    };
                    if !self.pinged.replace(true) && ping.send_ping(Ping::opaque()).is_err() {
                        return Poll::Ready(());
                    }
                    ping.poll_pong(cx).map(drop)
                })
                .await;
            });
            settled.await;
        }
        self.sender.is_extended_connect_protocol_enabled()
    }

    /// Whether the server has said how many requests it takes at a time.
    pub(super) fn has_said(&self) -> bool {
        self.sender.current_max_send_streams() != UNSAID
    }

    /// Whether the server takes none at a time.
    pub(super) fn takes_none(&self) -> bool {
        self.sender.current_max_send_streams() == 0
    }

    /// Whether one more request may go by it. As long as the server has not said how many it takes, one may.
    pub(super) fn has_room(&self) -> bool {
        let most = match self.sender.current_max_send_streams() {
            UNSAID => 1,
            said => said.min(STREAMS as usize),
        };
        self.active.get() < most && !self.is_worn()
    }

    /// Whether it has carried as much as it may.
    pub(super) fn is_worn(&self) -> bool {
        self.carried.get() >= self.most
    }
}
