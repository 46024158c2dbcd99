//! The body of a client's request.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;

use super::{handles::Incoming, state::Broken};
use crate::proxy::http::client::Client;

/// The body of a client's request.
pub(in super::super) struct Body {
    /// There as long as this is.
    stream: Option<Incoming>,
    client: Rc<Client>,
}

impl Body {
    pub(super) fn new(stream: Incoming, client: &Rc<Client>) -> Self {
        Self {
            stream: Some(stream),
            client: Rc::clone(client),
        }
    }

    pub(in super::super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        match ready!(stream.poll_data(cx)) {
            // Whoever takes it asks for more only when it has passed it on.
            Some(Ok(data)) => {
                self.client.received(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => Poll::Ready(stream.take_trailers().map(Frame::trailers).map(Ok)),
        }
    }

    pub(in super::super) fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(Incoming::is_end_stream)
    }
}

impl Drop for Body {
    /// A request whose length is known is complete for whoever reads it before the client has said that it ends. To drop
    /// its stream would be to reset it then, after which some clients do not look at the answer.
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take()
            && !stream.is_end_stream()
        {
            self.client.leave_unread(stream);
        }
    }
}
