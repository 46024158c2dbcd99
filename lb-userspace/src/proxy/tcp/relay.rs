//! Data from client to server and back, until both directions have ended, one side breaks, or nothing has moved for
//! too long.
//!
//! One task polls both directions. A side that sends FIN may still receive: its FIN is passed on after the data before
//! it. An idle connection holds no buffer.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::OptionFuture;
use tokio::time::Sleep;

use super::{
    Local,
    bell::{Bell, Rung},
    direction::{Broken, Direction},
    inspect::Gate,
};
use crate::{
    observe::log::{Cause, Phase, Termination},
    proxy::{Stream, session::Outcome},
    rules::Content,
};

/// Bytes after which a running transfer is counted, so that statistics move while it lasts.
const COUNT_BYTES: u64 = 64 * 1024;
/// Time after which it is counted at the next data in any case.
const COUNT_TIME: Duration = Duration::from_secs(1);

/// How long nothing may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// While the client is expected to send or to take data.
    pub client: Duration,
    /// While the server is.
    pub server: Duration,
}

/// What comes before the bytes of a relay, and what looks at them.
#[derive(Default)]
pub struct Before<'a> {
    /// What the client has said already.
    pub early: Vec<u8>,
    /// Rules of what the server says first.
    pub(super) gate: Option<Gate<'a>>,
}

/// Carries data both ways. `shut_down` resolves if the server's sessions are to end, if they may be; `count` is told the
/// bytes in and out as they come to be.
pub async fn relay(
    local: &Local,
    client: &mut Stream,
    server: &mut Stream,
    idle: Idle,
    before: Before<'_>,
    shut_down: Option<impl Future<Output = ()>>,
    mut count: impl FnMut(u64, u64),
) -> Outcome {
    let mut relay = Relay::new(local, client, server, idle, before);
    let mut timer = std::pin::pin!(tokio::time::sleep(idle.client.min(idle.server)));
    let mut shut_down = std::pin::pin!(OptionFuture::from(shut_down));
    // To ask at each packet for what hardly ever comes would cost a fiftieth of what a small packet does.
    let mut bell = Bell::default();
    let termination = poll_fn(|cx| {
        let rung = bell.ask(cx);
        let mut ended = relay.poll(cx, rung, timer.as_mut());
        if ended.is_pending()
            && rung.is_so
            && let Poll::Ready(Some(())) = shut_down.as_mut().poll(&mut rung.context())
        {
            ended = Poll::Ready(Termination::new(Cause::Down, relay.phase()));
        }
        relay.count(ended.is_ready(), &mut count);
        ended
    })
    .await;
    Outcome {
        termination,
        bytes_in: relay.upward.bytes,
        bytes_out: relay.downward.bytes,
        broken: matches!(
            termination.cause,
            Cause::Client | Cause::Server | Cause::Down
        ),
    }
}

struct Relay<'a> {
    upward: Direction<'a>,
    downward: Direction<'a>,
    idle: Idle,
    /// When something last moved.
    moved: Instant,
    /// What the timer was set to when it was last set.
    limit: Duration,
    /// The server broke off, but what it had sent is still on its way to the client.
    server_broke: bool,
    /// Until rules have decided what becomes of what the server says.
    gate: Option<Gate<'a>>,
    counted: (u64, u64),
    counted_at: Instant,
}

impl<'a> Relay<'a> {
    fn new(
        local: &'a Local,
        client: &'a mut Stream,
        server: &'a mut Stream,
        idle: Idle,
        before: Before<'a>,
    ) -> Self {
        let now = Instant::now();
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        Self {
            upward: Direction::new(from_client, to_server, local).after(before.early),
            gate: before.gate,
            downward: Direction::new(from_server, to_client, local),
            idle,
            moved: now,
            limit: idle.client.min(idle.server),
            server_broke: false,
            counted: (0, 0),
            counted_at: now,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        rung: Rung<'_>,
        timer: Pin<&mut Sleep>,
    ) -> Poll<Termination> {
        let before = (self.upward.progress, self.downward.progress);
        if let Poll::Ready(end) = self.poll_directions(cx) {
            return Poll::Ready(end);
        }
        if before != (self.upward.progress, self.downward.progress) {
            self.moved = Instant::now();
        }
        self.poll_idle(rung, timer)
    }

    fn poll_directions(&mut self, cx: &mut Context<'_>) -> Poll<Termination> {
        if !self.upward.is_done()
            && let Poll::Ready(Err(broken)) = self.upward.poll(cx)
        {
            return Poll::Ready(self.broken(match broken {
                Broken::Reading => Cause::Client,
                Broken::Writing => Cause::Server,
            }));
        }
        if let Poll::Ready(end) = self.poll_gate(cx) {
            return Poll::Ready(end);
        }
        if self.gate.is_none()
            && !self.downward.is_done()
            && let Poll::Ready(Err(broken)) = self.downward.poll(cx)
        {
            match broken {
                Broken::Writing => return Poll::Ready(self.broken(Cause::Client)),
                Broken::Reading if !self.downward.holds() => {
                    return Poll::Ready(self.broken(Cause::Server));
                }
                Broken::Reading => {
                    self.server_breaks();
                    // It waits for the client to take what is kept.
                    cx.waker().wake_by_ref();
                }
            }
        }
        match (
            self.upward.is_done() && self.downward.is_done(),
            self.server_broke,
        ) {
            (true, false) => Poll::Ready(Termination::NORMAL),
            (true, true) => Poll::Ready(self.broken(Cause::Server)),
            (false, _) => Poll::Pending,
        }
    }

    /// Asks rules what becomes of what the server has said, while they have not decided.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<Termination> {
        let Some(mut gate) = self.gate.take() else {
            return Poll::Pending;
        };
        let ended = match self.downward.gather(cx) {
            Ok(ended) => ended,
            Err(_) if self.downward.gathered().is_empty() => {
                return Poll::Ready(self.broken(Cause::Server));
            }
            Err(_) => {
                self.server_breaks();
                true
            }
        };
        match gate.poll(cx, self.downward.gathered(), ended) {
            Content::Wait => self.gate = Some(gate),
            Content::Pass => {}
            Content::Close => {
                // What it has said already goes to the client.
                self.upward.give_up();
                self.downward.end();
                cx.waker().wake_by_ref();
            }
            Content::Drop(_) => {
                return Poll::Ready(Termination::new(Cause::Proxy, Phase::Data));
            }
        }
        Poll::Pending
    }

    /// The server has broken off; what it had sent still goes to the client.
    fn server_breaks(&mut self) {
        self.server_broke = true;
        self.upward.give_up();
        self.downward.end();
    }

    /// Whose time it is: a side is waited for if data is expected from it, or has to be taken by it.
    fn poll_idle(&mut self, rung: Rung<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Termination> {
        let client = self.upward.reads() || self.downward.writes();
        let server = self.downward.reads() || self.upward.writes();
        let (limit, cause) = match (client, server) {
            (true, true) if self.idle.server < self.idle.client => {
                (self.idle.server, Cause::ServerTimeout)
            }
            (false, true) => (self.idle.server, Cause::ServerTimeout),
            _ => (self.idle.client, Cause::ClientTimeout),
        };
        if limit != self.limit {
            self.limit = limit;
            timer.as_mut().reset((self.moved + limit).into());
        } else if !rung.is_so {
            return Poll::Pending;
        }
        // The timer is set once and looked at when it fires, not moved at each packet.
        while timer.as_mut().poll(&mut rung.context()).is_ready() {
            let due = self.moved + limit;
            if Instant::now() >= due {
                return Poll::Ready(Termination::new(cause, self.phase()));
            }
            timer.as_mut().reset(due.into());
        }
        Poll::Pending
    }

    fn broken(&self, cause: Cause) -> Termination {
        Termination::new(cause, self.phase())
    }

    /// `L` once the server's connection is closed both ways and only the client's is left.
    fn phase(&self) -> Phase {
        let server_gone = self.upward.is_done() && !self.downward.reads();
        if server_gone {
            Phase::Last
        } else {
            Phase::Data
        }
    }

    fn count(&mut self, ended: bool, count: &mut impl FnMut(u64, u64)) {
        let now = (self.upward.bytes, self.downward.bytes);
        let (bytes_in, bytes_out) = (now.0 - self.counted.0, now.1 - self.counted.1);
        if bytes_in + bytes_out == 0 {
            return;
        }
        if ended
            || bytes_in + bytes_out >= COUNT_BYTES
            || self.moved - self.counted_at >= COUNT_TIME
        {
            count(bytes_in, bytes_out);
            self.counted = now;
            self.counted_at = self.moved;
        }
    }
}
