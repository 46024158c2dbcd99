//! A body that comes by a stream.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::Frame;

use super::pipe::Side;
use crate::proxy::http::client::Client;

/// A body that comes by a stream. The peer may send more only once what came has been taken.
pub(in super::super) struct Received {
    /// There as long as this is.
    stream: Option<RecvStream>,
    side: Side,
    /// All data has come; trailers may follow.
    data_ended: bool,
}

impl Received {
    /// What `client` sends.
    pub(super) fn of_client(stream: RecvStream, client: &Rc<Client>) -> Self {
        Self::new(stream, Side::Client(Rc::clone(client)))
    }

    /// What a server sends for `client`.
    pub(super) fn of_server(stream: RecvStream, client: &Rc<Client>) -> Self {
        Self::new(stream, Side::Server(Rc::clone(client)))
    }

    fn new(stream: RecvStream, side: Side) -> Self {
        Self {
            stream: Some(stream),
            side,
            data_ended: false,
        }
    }

    /// The stream itself.
    pub(super) fn into_stream(mut self) -> Option<RecvStream> {
        self.stream.take()
    }

    pub(in super::super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        if !self.data_ended {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Whoever takes it asks for more only when it has passed it on.
                    let released = stream.flow_control().release_capacity(data.len());
                    self.side.received(data.len());
                    return Poll::Ready(Some(released.map(|()| Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    pub(in super::super) fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }
}

impl Drop for Received {
    /// A request whose length is known is complete for whoever reads it before the client has said that it ends. To drop
    /// its stream would be to reset it then, after which some clients do not look at the answer.
    fn drop(&mut self) {
        if let (Some(stream), Side::Client(client)) = (self.stream.take(), &self.side)
            && !stream.is_end_stream()
        {
            client.leave_unread(stream);
        }
    }
}
