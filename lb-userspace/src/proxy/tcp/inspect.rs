//! Looking at the first bytes of a connection before it is known where they go, by the rules of `inspect`.
//!
//! What is read is kept and goes to the server first, so that nothing of it is lost.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::{Client, Local, Stream, Worker, around::Around};
use crate::{
    config::model::Inspect,
    observe::log::{Cause, Phase, Termination},
    proxy::stream::without_goodbye,
    rules::{
        Captured, Content, Counted, MOST_PAYLOAD, Seen, State,
        hello::{self, Hello},
    },
    topology::Backend,
};

/// What a client has said that no server has been told yet.
#[derive(Debug, Default)]
pub(super) struct Early {
    pub(super) bytes: Vec<u8>,
    /// It says nothing more.
    pub(super) ended: bool,
    /// Rules have looked at it.
    pub(super) looked: bool,
    /// How long they were ready to wait for it, if they were at all.
    deadline: Option<Instant>,
    /// The connection is to end without a word to the other end.
    pub(super) vanishes: bool,
    /// Its line has been written.
    pub(super) logged: bool,
}

impl Early {
    /// As rules see it when nothing more is waited for.
    pub(super) fn seen(&self) -> Option<Seen<'_>> {
        self.looked.then_some(Seen {
            bytes: &self.bytes,
            is_final: true,
        })
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= MOST_PAYLOAD
    }

    /// Reads once, as much as there is room for: by the worker's own buffer, so that who says nothing holds no memory.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        local: &Local,
        stream: &mut Stream,
    ) -> Poll<Result<(), Ended>> {
        let mut scratch = local.scratch.borrow_mut();
        let room = MOST_PAYLOAD.saturating_sub(self.bytes.len());
        let room = room.min(scratch.len());
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        match ready!(Pin::new(stream).poll_read(cx, &mut buffer)) {
            Ok(()) => self.ended |= buffer.filled().is_empty(),
            Err(error) if without_goodbye(&error) => self.ended = true,
            Err(_) => return Poll::Ready(Err(gone(Cause::Client))),
        }
        self.bytes.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }

    /// Reads what is there already. With TLS that may be several records.
    fn read_what_is_there(
        &mut self,
        cx: &mut Context<'_>,
        local: &Local,
        stream: &mut Stream,
    ) -> Result<(), Ended> {
        while !self.ended && !self.is_full() {
            match self.poll_read(cx, local, stream) {
                Poll::Ready(read) => read?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

/// Why a connection goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Rules say so.
    Dropped,
    /// It is the client's fault, or it was ended.
    Gone(Termination),
}

/// What a connection remembers.
pub(super) fn remembering(client: &Client) -> RefCell<State> {
    let mut state = State::of_session();
    state.take_session(&mut client.session.borrow_mut());
    let captures = &client.frontend().config.captures;
    if !captures.is_empty() {
        state.capture(Captured::of_request(captures, &http::HeaderMap::new()));
    }
    RefCell::new(state)
}

/// Reads of the client what rules ask for, until they have decided.
pub(super) async fn inspect(
    worker: &Worker,
    client: &mut Client,
    early: &mut Early,
    state: &RefCell<State>,
    (inspect, backend): (&Inspect, Option<&Arc<Backend>>),
) -> Result<(), Ended> {
    early.looked = true;
    let deadline = Instant::now() + inspect.delay;
    early.deadline = (!inspect.delay.is_zero()).then_some(deadline);
    let patience = client.frontend().config.timeouts.client;
    let mut heard = Instant::now();
    let mut counted = Counted::default();
    // What is there already is read first, as HAProxy does it.
    tokio::task::yield_now().await;
    if early.bytes.is_empty() {
        poll_fn(|cx| Poll::Ready(early.read_what_is_there(cx, &worker.tcp, &mut client.stream)))
            .await?;
    }
    loop {
        let is_final =
            inspect.delay.is_zero() || early.ended || early.is_full() || Instant::now() >= deadline;
        let named;
        let verdict = {
            let seen = Seen {
                bytes: &early.bytes,
                is_final,
            };
            let world = Around {
                backend,
                request: Some(seen),
                ..Around::of(worker, client)
            };
            let verdict = {
                let mut state = state.borrow_mut();
                inspect.rules.content(&mut counted, &mut state, &world)
            };
            let (source, destination) = (world.source.get(), world.destination.get());
            named = (source, destination);
            verdict
        };
        // Who it is and where it goes from here on, as rules say.
        if let Some(source) = named.0 {
            client.address = source.into();
        }
        if named.1 != client.destination().inet() {
            client.destination = named.1;
        }
        match verdict {
            Content::Drop(silent) => {
                early.vanishes = silent;
                return Err(Ended::Dropped);
            }
            Content::Wait if !is_final => {}
            Content::Pass | Content::Wait | Content::Close => return Ok(()),
        }
        let idle = heard + patience;
        tokio::select! {
            biased;
            read = poll_fn(|cx| early.poll_read(cx, &worker.tcp, &mut client.stream)) => {
                read?;
                heard = Instant::now();
            }
            () = sleep_until(deadline.min(idle)) => {
                if idle < deadline {
                    return Err(gone(Cause::ClientTimeout));
                }
            }
        }
    }
}

/// Reads on until the name that a TLS client asks for must have come, where rules have decided before: what they have
/// seen is gone from the socket, so that nobody can look there any more. No longer than they were ready to wait, or
/// than `patience` from the beginning where they were not.
pub(super) async fn await_name(
    worker: &Worker,
    client: &mut Client,
    early: &mut Early,
    patience: Duration,
) -> Result<(), Ended> {
    let from_beginning = Instant::from_std(client.accepted) + patience;
    let deadline = early.deadline.unwrap_or(from_beginning);
    while !early.ended
        && !early.is_full()
        && matches!(hello::parse(&early.bytes), Hello::Partial(_))
    {
        tokio::select! {
            biased;
            read = poll_fn(|cx| early.poll_read(cx, &worker.tcp, &mut client.stream)) => read?,
            () = sleep_until(deadline) => break,
        }
    }
    Ok(())
}

fn gone(cause: Cause) -> Ended {
    Ended::Gone(Termination::new(cause, Phase::Request))
}

/// Holds what a server says back until rules have decided.
pub(super) struct Gate<'a> {
    judge: Box<dyn FnMut(Seen<'_>) -> Content + 'a>,
    /// Until then; `None`: they do not wait at all.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<'a> Gate<'a> {
    pub(super) fn new(delay: Duration, judge: impl FnMut(Seen<'_>) -> Content + 'a) -> Self {
        Self {
            judge: Box::new(judge),
            patience: (!delay.is_zero()).then(|| Box::pin(sleep(delay))),
        }
    }

    /// What rules say of what has come so far; `ended`: nothing more will.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, bytes: &[u8], ended: bool) -> Content {
        let waits = self
            .patience
            .as_mut()
            .is_some_and(|patience| patience.as_mut().poll(cx).is_pending());
        let is_final = ended || !waits || bytes.len() >= MOST_PAYLOAD;
        match (self.judge)(Seen { bytes, is_final }) {
            Content::Wait if is_final => Content::Pass,
            verdict => verdict,
        }
    }
}
