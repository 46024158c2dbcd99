//! A body into a server's stream, as fast as its window allows.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::proxy::http::client::Client;

/// A body on its way into a stream.
pub(super) struct Pipe<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// What the body gave and the window does not take yet.
    rest: Bytes,
    client: Rc<Client>,
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
    pub(super) fn new(body: B, stream: SendStream<Bytes>, client: &Rc<Client>) -> Self {
        Self {
            body,
            stream,
            rest: Bytes::new(),
            client: Rc::clone(client),
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
                    Poll::Pending => return Poll::Pending,
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
        self.client.server_active();
        let sent = (0, part.len() as u64);
        self.client.exchange().count_server_bytes(sent);
        Poll::Ready(self.stream.send_data(part, last).ok().map(|()| last))
    }
}
