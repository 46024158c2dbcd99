//! A body into a stream, as fast as its window allows.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::proxy::http::client::Client;

/// Whose stream it is, and so who is told what passes.
pub(super) enum Side {
    Client(Rc<Client>),
    /// A server's, for this client.
    Server(Rc<Client>),
}

impl Side {
    pub(super) fn received(&self, n: usize) {
        match self {
            Self::Client(client) => client.received(n),
            Self::Server(client) => client.exchange().count_server_bytes((n as u64, 0)),
        }
    }

    fn sent(&self, n: usize) {
        match self {
            Self::Client(client) => client.sent(n),
            Self::Server(client) => {
                client.server_active();
                client.exchange().count_server_bytes((0, n as u64));
            }
        }
    }

    fn blocked(&self) {
        if let Self::Client(client) = self {
            client.write_blocked();
        }
    }
}

/// A body on its way into a stream.
pub(super) struct Pipe<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// What the body gave and the window does not take yet.
    rest: Bytes,
    side: Side,
}

/// How a body's way ended.
pub(super) enum End<E> {
    /// All of it is with the h2 crate.
    Complete,
    /// The peer, or the connection, wants no more of it.
    Reset,
    /// The body failed.
    Failed(E),
}

impl<B: Body<Data = Bytes> + Unpin> Pipe<B> {
    pub(super) fn new(body: B, stream: SendStream<Bytes>, side: Side) -> Self {
        Self {
            body,
            stream,
            rest: Bytes::new(),
            side,
        }
    }

    /// Ends the stream before its end.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End<B::Error>> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(End::Reset);
            }
            if !self.rest.is_empty() {
                match self.poll_rest(cx) {
                    Poll::Pending => {
                        self.side.blocked();
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(false)) => {}
                    Poll::Ready(Some(true)) => return Poll::Ready(End::Complete),
                    Poll::Ready(None) => return Poll::Ready(End::Reset),
                }
                continue;
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        // Asked for only now that there is data: the connection's window is shared.
                        self.stream.reserve_capacity(data.len());
                        self.rest = data;
                    }
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else {
                            continue;
                        };
                        let sent = self.stream.send_trailers(trailers);
                        return Poll::Ready(sent.map_or(End::Reset, |()| End::Complete));
                    }
                },
                Some(Err(error)) => return Poll::Ready(End::Failed(error)),
                None => {
                    let sent = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(sent.map_or(End::Reset, |()| End::Complete));
                }
            }
        }
    }

    /// Hands over what the window takes; whether that was the end of it all, `None` if the stream is no more.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<bool>> {
        let mut capacity = self.stream.capacity();
        while capacity == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(n)) => capacity = n,
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
        let part = self.rest.split_to(capacity.min(self.rest.len()));
        let last = self.rest.is_empty() && self.body.is_end_stream();
        self.side.sent(part.len());
        Poll::Ready(self.stream.send_data(part, last).ok().map(|()| last))
    }
}
