//! A request on its way to a server, and what comes of it.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use h2::{Reason, client};
use http::{Response, StatusCode, request};

use super::{Received, connect, head};
use crate::proxy::http::{
    body::{Inbound, RequestBody},
    client::Client,
    kept::Kept,
    message::Message,
};

/// Why there is no answer to a request.
pub(in super::super) enum Unanswered {
    /// It may be sent once more.
    Unseen(Message),
    /// The server, or its connection, ended the stream.
    Reset,
    /// What has come is none.
    Malformed,
}

/// A request that may be sent once more.
pub(super) struct Again {
    pub(super) head: Box<request::Parts>,
    /// What has passed of its body, if it has one.
    pub(super) body: Option<Kept>,
    /// Also if the server may have looked at it.
    pub(super) read: bool,
}

impl Again {
    /// The request, unless not all of its body is here.
    fn request(self, client: &Rc<Client>) -> Option<Message> {
        let body = match self.body {
            None => RequestBody::new(Inbound::None, client),
            Some(kept) if kept.is_whole() => RequestBody::again(&kept, client),
            Some(_) => return None,
        };
        Some(Message::from_parts(self.head, body))
    }
}

/// A request that waits for its answer.
pub(in super::super) struct Ask {
    response: Option<client::ResponseFuture>,
    /// What has come before the answer is what HTTP/2 has not.
    spoilt: bool,
    /// The request, if it may be sent once more.
    again: Option<Again>,
    /// It asks for another protocol.
    switch: Option<Box<connect::Switch>>,
}

impl Ask {
    /// One that has gone out, and may go `again`.
    pub(super) fn new(
        response: client::ResponseFuture,
        again: Option<Again>,
        switch: Option<Box<connect::Switch>>,
    ) -> Self {
        Self {
            response: Some(response),
            spoilt: false,
            again,
            switch,
        }
    }

    /// One that the connection did not take any more.
    pub(super) fn of_none() -> Self {
        Self {
            response: None,
            spoilt: false,
            again: None,
            switch: None,
        }
    }

    /// What the server has said before the response.
    pub(in super::super) fn poll_interim(&mut self, cx: &mut Context<'_>) -> Option<Response<()>> {
        match self.response.as_mut()?.poll_informational(cx) {
            // RFC 9113 section 8.6: it has been removed, and who is told of it would take what follows for something else.
            Poll::Ready(Some(Ok(head))) if head.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.spoilt = true;
                None
            }
            Poll::Ready(Some(Ok(head))) => Some(head),
            _ => None,
        }
    }

    /// The response.
    pub(in super::super) fn poll(
        &mut self,
        client: &Rc<Client>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Inbound>, Unanswered>> {
        if self.spoilt {
            self.response = None;
            return Poll::Ready(Err(Unanswered::Malformed));
        }
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(Unanswered::Reset));
        };
        match Pin::new(response).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(response)) => {
                let (parts, body) = response.into_parts();
                let mut head = Response::from_parts(parts, ());
                let size = head::response_size(head.status(), head.headers());
                client.exchange().count_server_bytes((size as u64, 0));
                if let Some(switch) = self.switch.take() {
                    switch.answer(&mut head);
                }
                let body = Inbound::Http2(Received::new(body, client));
                Poll::Ready(Ok(head.map(|()| body)))
            }
            Poll::Ready(Err(error)) => {
                if error.is_library() {
                    return Poll::Ready(Err(Unanswered::Malformed));
                }
                // RFC 9113 section 8.7: the server says that it has not looked at it, whatever it asks for. A stream that
                // ends by GOAWAY is one of those that came after the last that it looks at.
                let unread = error.is_remote()
                    && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
                let again = self.again.take();
                let again = again.filter(|again| unread || again.read && error.is_io());
                let again = again.and_then(|again| again.request(client));
                Poll::Ready(Err(again.map_or(Unanswered::Reset, Unanswered::Unseen)))
            }
        }
    }
}
