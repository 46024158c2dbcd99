//! A body into a client's stream, as fast as its window allows.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body;

use super::handles::{Gone, Outgoing};
use crate::proxy::http::{
    body::{Broken, ResponseBody},
    client::Client,
};

/// A body on its way to a client.
pub(super) struct Responding<'a> {
    body: ResponseBody,
    stream: &'a Outgoing,
    client: &'a Rc<Client>,
    /// All of it was given.
    given: bool,
}

/// How a body's way ended.
pub(super) enum End {
    /// All of it is with the connection.
    Complete,
    /// The client wants no more of it.
    Reset,
    /// The body failed.
    Failed(Broken),
}

impl<'a> Responding<'a> {
    pub(super) fn new(body: ResponseBody, stream: &'a Outgoing, client: &'a Rc<Client>) -> Self {
        Self {
            body,
            stream,
            client,
            given: false,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let room = self.stream.poll_room(cx);
            // Whatever has gone, the client has taken some.
            let moved = self.stream.take_moved();
            if moved > 0 {
                self.client.sent(moved);
            }
            match room {
                // The body says what becomes of it.
                Poll::Pending if self.client.exchange().is_over() => {}
                Poll::Pending => {
                    self.client.write_blocked();
                    return Poll::Pending;
                }
                Poll::Ready(Err(Gone)) => return Poll::Ready(End::Reset),
                Poll::Ready(Ok(())) if self.given => return Poll::Ready(End::Complete),
                Poll::Ready(Ok(())) => {}
            }
            let next = Pin::new(&mut self.body).poll_frame(cx);
            if next.is_pending() && self.stream.poll_broken(cx).is_ready() {
                return Poll::Ready(End::Reset);
            }
            match ready!(next) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.given = self.body.is_end_stream();
                        self.stream.data(data, self.given);
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.given = true;
                            self.stream.trailers(&trailers);
                        }
                    }
                },
                Some(Err(error)) => return Poll::Ready(End::Failed(error)),
                None => {
                    self.given = true;
                    self.stream.data(Bytes::new(), true);
                }
            }
        }
    }
}
