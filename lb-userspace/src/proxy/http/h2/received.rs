//! A body that comes from a server by a stream.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::Frame;

use crate::proxy::http::client::Client;

/// A body that comes by a stream. The server may send more only once what came has been taken.
pub(in super::super) struct Received {
    stream: RecvStream,
    client: Rc<Client>,
    /// All data has come; trailers may follow.
    data_ended: bool,
}

impl Received {
    /// What a server sends for `client`.
    pub(super) fn new(stream: RecvStream, client: &Rc<Client>) -> Self {
        Self {
            stream,
            client: Rc::clone(client),
            data_ended: false,
        }
    }

    /// The stream itself.
    pub(super) fn into_stream(self) -> RecvStream {
        self.stream
    }

    pub(in super::super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Whoever takes it asks for more only when it has passed it on.
                    let released = self.stream.flow_control().release_capacity(data.len());
                    let received = (data.len() as u64, 0);
                    self.client.exchange().count_server_bytes(received);
                    return Poll::Ready(Some(released.map(|()| Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    pub(in super::super) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
