//! Bodies on their way through.
//!
//! Both types are our own, whatever the protocol is on either side. They count what passes
//! as activity, hold a body back where the client waits for `100 Continue`, and give the server's connection back once
//! the response is complete.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

pub(super) use super::inbound::{Fault, Inbound};
use super::{
    client::{Client, Expired, Upload, Wait},
    kept::Kept,
    upstream::Lease,
};
use crate::observe::log::Cause;

/// A request's body, from the client to a server.
pub(super) struct RequestBody {
    incoming: Inbound,
    client: Rc<Client>,
    gate: Option<Gate>,
    kept: Option<Kept>,
}

/// Holds a body back until the server asks for it.
struct Gate {
    /// It is sent anyway from here on (RFC 9110 section 10.1.1: a client need not wait for ever).
    until: Instant,
}

impl RequestBody {
    pub(super) fn new(incoming: Inbound, client: &Rc<Client>) -> Self {
        if !incoming.is_end_stream() {
            client.set_upload(Upload::Waiting);
        }
        Self {
            incoming,
            client: Rc::clone(client),
            gate: None,
            kept: None,
        }
    }

    /// What `kept` has of a body, once more.
    pub(super) fn again(kept: &Kept, client: &Rc<Client>) -> Self {
        Self {
            kept: Some(kept.clone()),
            ..Self::new(Inbound::Kept(Box::new(kept.replay())), client)
        }
    }

    /// Keeps what passes, as long as that is possible, so that it can be sent again. Not what the server is to be asked
    /// for first.
    pub(super) fn keep(&mut self) -> Option<Kept> {
        if self.gate.is_none() && self.kept.is_none() {
            self.kept = Some(Kept::of(&self.incoming));
        }
        self.kept.clone()
    }

    /// Holds the body back until the server has asked for it, or `until`.
    pub(super) fn hold(&mut self, until: Instant) {
        self.client.hold_until(Some(until));
        self.gate = Some(Gate { until });
    }

    /// Takes what has come of it already, so that a connection whose request is complete can go on after an answer of
    /// ours. What has not come is not waited for.
    pub(super) async fn drain(&mut self) {
        // hyper reads on when this task is polled again; one round without anything new is the end.
        let mut idle = 0;
        while self.gate.is_none() && !self.is_end_stream() && idle < 2 {
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut *self).poll_frame(cx))).await {
                Poll::Ready(Some(Ok(_))) => idle = 0,
                Poll::Ready(_) => return,
                Poll::Pending => {
                    idle += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn failed(&self, error: &Fault) {
        self.client.set_upload(if error.is_leaving() {
            Upload::Aborted
        } else {
            Upload::Malformed
        });
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        if let Some(gate) = &this.gate {
            if !this.client.is_asked_to_continue() && this.client.now() < gate.until {
                return Poll::Pending;
            }
            this.gate = None;
            this.client.hold_until(None);
            this.client.interim.set(true);
        }
        match this.incoming.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(kept) = &this.kept {
                    kept.note(&this.incoming, &frame);
                }
                this.client.server_active();
                this.client.set_upload(match this.incoming.is_end_stream() {
                    true => Upload::Done,
                    false => Upload::Sending,
                });
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.failed(&error);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                if let Some(kept) = &this.kept {
                    kept.end();
                }
                this.client.set_upload(Upload::Done);
                Poll::Ready(None)
            }
            Poll::Pending => {
                this.client.set_upload(Upload::Waiting);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A response's body, from a server or from us to the client.
pub(super) struct ResponseBody {
    source: Source,
    client: Rc<Client>,
}

enum Source {
    /// Our own.
    Local(Option<Bytes>),
    /// None, though the head declares a length.
    Declared(u64),
    /// None: what follows the head is no HTTP any more.
    Switched,
    /// A server's.
    Server {
        incoming: Inbound,
        /// The connection that it comes from, until all of it has come.
        lease: Option<Lease>,
        ending: Ending,
    },
}

/// How a server's body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// As the server ends it.
    Open,
    /// With what has come so far.
    Cut,
    /// With trailers that are not hyper's to write, once what came has been flushed.
    Trailers,
    /// It will not be complete; said once what came has been flushed.
    Broken(Broken),
}

/// A response that cannot be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The server closed, or sent what is no body.
    Server,
    /// The server ended the stream, with this code.
    Reset(::h2::Reason),
    /// The server took too long.
    Timeout,
    /// The server went down, and its sessions end with it.
    ShutDown,
}

impl Broken {
    const fn cause(self) -> Cause {
        match self {
            Self::Server | Self::Reset(_) => Cause::Server,
            Self::Timeout => Cause::ServerTimeout,
            Self::ShutDown => Cause::Down,
        }
    }
}

impl Broken {
    /// The code with which a client's stream ends because of it.
    pub(super) const fn reason(self) -> ::h2::Reason {
        match self {
            Self::Reset(reason) => reason,
            Self::Server | Self::Timeout | Self::ShutDown => ::h2::Reason::INTERNAL_ERROR,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server | Self::Reset(_) => "the server broke the response off",
            Self::Timeout => "the server took too long for the rest of the response",
            Self::ShutDown => "the server went down",
        })
    }
}

impl std::error::Error for Broken {}

impl ResponseBody {
    /// One of ours.
    pub(super) fn local(client: &Rc<Client>, bytes: Bytes) -> Self {
        Self {
            source: Source::Local(Some(bytes)),
            client: Rc::clone(client),
        }
    }

    /// None, though the head declares `length`.
    pub(super) fn declared(client: &Rc<Client>, length: u64) -> Self {
        Self {
            source: Source::Declared(length),
            client: Rc::clone(client),
        }
    }

    /// None, and the exchange goes on as a tunnel.
    pub(super) fn switched(client: &Rc<Client>) -> Self {
        Self {
            source: Source::Switched,
            client: Rc::clone(client),
        }
    }

    /// A server's.
    pub(super) fn server(client: &Rc<Client>, incoming: Inbound, lease: Option<Lease>) -> Self {
        Self {
            source: Source::Server {
                incoming,
                lease,
                ending: Ending::Open,
            },
            client: Rc::clone(client),
        }
    }

    /// Ends a server's with what has come of it, as if the server had gone then.
    pub(super) fn cut(&mut self) {
        if let Source::Server { ending, .. } = &mut self.source {
            *ending = Ending::Cut;
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self { source, client } = self.get_mut();
        let (incoming, lease, ending) = match source {
            Source::Local(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Source::Declared(_) | Source::Switched => return Poll::Ready(None),
            Source::Server {
                incoming,
                lease,
                ending,
            } => (incoming, lease, ending),
        };
        if *ending == Ending::Trailers {
            return match client.is_blocked() {
                true => Poll::Pending,
                false => {
                    client.trailers_are_due();
                    Poll::Ready(None)
                }
            };
        }
        let Ending::Broken(broken) = *ending else {
            // A server that is fast always has more, and sessions that are to end are not to wait for it.
            let is_over = client.exchange().is_over();
            let why = match poll_incoming(incoming, lease, cx) {
                Poll::Ready(None) => {
                    complete(lease.take(), client);
                    return Poll::Ready(None);
                }
                _ if is_over => Broken::ShutDown,
                Poll::Ready(Some(Ok(frame))) => {
                    client.server_active();
                    if incoming.is_end_stream() {
                        complete(lease.take(), client);
                    }
                    if frame
                        .trailers_ref()
                        .is_some_and(|fields| client.ends_with(fields))
                    {
                        complete(lease.take(), client);
                        *ending = Ending::Trailers;
                        // hyper flushes now and asks again.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(fault))) => {
                    if fault.is_malformed() {
                        client.exchange().malformed = true;
                    }
                    fault.reset().map_or(Broken::Server, Broken::Reset)
                }
                Poll::Pending if *ending == Ending::Cut => Broken::Server,
                Poll::Pending if client.expired() == Some(Expired::Server) => Broken::Timeout,
                Poll::Pending if client.exchange().is_shut_down(cx) => Broken::ShutDown,
                Poll::Pending => return Poll::Pending,
            };
            *ending = Ending::Broken(why);
            *lease = None;
            client.wait_for(Wait::Nothing);
            let cause = match (why, client.upload()) {
                // The server had no way to go on either.
                (Broken::Server | Broken::Reset(_), Upload::Aborted) => Cause::Client,
                (Broken::Server | Broken::Reset(_), Upload::Malformed) => Cause::Proxy,
                _ => why.cause(),
            };
            client.exchange().broken(cause);
            // hyper drops what it has not yet written when a body fails, so what came goes out first: it flushes now
            // and asks again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        // Whoever is to end does not wait for the client to take what has come before.
        match client.is_blocked() && broken != Broken::ShutDown {
            true => Poll::Pending,
            false => Poll::Ready(Some(Err(broken))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Local(bytes) => bytes.is_none(),
            Source::Declared(_) => false,
            Source::Switched => true,
            Source::Server {
                incoming, ending, ..
            } => matches!(ending, Ending::Open | Ending::Cut) && incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Local(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Declared(length) => SizeHint::with_exact(*length),
            Source::Switched => SizeHint::with_exact(0),
            Source::Server { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// The next frame of `incoming`, driving the connection that it comes from.
fn poll_incoming(
    incoming: &mut Inbound,
    lease: &mut Option<Lease>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
    if incoming.is_http2() {
        if let Some(lease) = lease {
            lease.drive(cx);
        }
        return incoming.poll_frame(cx);
    }
    // Nothing arrives but by driving the connection, which is done here: the body itself need wake nobody.
    let mut unwoken = Context::from_waker(Waker::noop());
    if let Poll::Ready(frame) = incoming.poll_frame(&mut unwoken) {
        return Poll::Ready(frame);
    }
    if let Some(lease) = lease {
        lease.drive(cx);
    }
    incoming.poll_frame(&mut unwoken)
}

/// All of the response has come: the server is free for the next, once it has all of the request.
pub(super) fn complete(lease: Option<Lease>, client: &Client) {
    match lease.and_then(|lease| lease.give_back(client)) {
        Some(lease) => client.carry_on(lease),
        None => {
            client.wait_for(Wait::Nothing);
            client.exchange().release();
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !matches!(self.source, Source::Switched) {
            self.client.answered();
        }
    }
}
