//! Data from client to server and back, until both directions have ended, one side breaks, or nothing has moved for
//! too long.
//!
//! One task polls both directions. A side that sends FIN may still receive: its FIN is passed on after the data before
//! it. One that says nothing for too long is taken to have sent it, as HAProxy does: what the other still says goes its
//! way within that one's own time, and the session ends with the name of who was too slow first. One that does not take
//! what it is sent ends both. An idle connection holds no buffer.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_util::future::OptionFuture;
use tokio::time::Sleep;

use super::{
    Local,
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
    /// While the client is, and has been told that no more comes for it.
    pub client_fin: Option<Duration>,
    /// The same of the server.
    pub server_fin: Option<Duration>,
    /// What the client is told does not lengthen its time to speak.
    pub client_alone: bool,
    /// The same of the server.
    pub server_alone: bool,
    /// Whoever is told the end of either is reset: once one side's time is over there is nothing left to be said.
    pub resets: bool,
    /// Once the server has ended and the client has got what it had said, all is over: what HTTP has become ends with its
    /// answer, as in HAProxy.
    pub ends_with_server: bool,
}

impl Idle {
    /// The same for both sides, and nothing else.
    pub const fn both(time: Duration) -> Self {
        Self {
            client: time,
            server: time,
            client_fin: None,
            server_fin: None,
            client_alone: false,
            server_alone: false,
            resets: false,
            ends_with_server: false,
        }
    }
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
    let ended = poll_fn(|cx| {
        let mut ended = relay.poll(cx, timer.as_mut());
        if ended.is_pending() && matches!(shut_down.as_mut().poll(cx), Poll::Ready(Some(()))) {
            ended = Poll::Ready(Termination::new(Cause::Down, relay.phase()));
        }
        relay.count(ended.is_ready(), &mut count);
        ended
    })
    .await;
    Outcome {
        // Whatever came of it later.
        termination: relay.expired.unwrap_or(ended),
        bytes_in: relay.upward.bytes,
        bytes_out: relay.downward.bytes,
        broken: matches!(ended.cause, Cause::Client | Cause::Server),
    }
}

struct Relay<'a> {
    upward: Direction<'a>,
    downward: Direction<'a>,
    idle: Idle,
    /// When something last moved.
    moved: Instant,
    /// When something of the client's last moved, and of the server's.
    spoke: (Instant, Instant),
    /// What the timer was set to when it was last set.
    limit: Duration,
    /// From when on that is counted.
    counted_from: Instant,
    /// The first whose time to speak was over.
    expired: Option<Termination>,
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
            spoke: (now, now),
            counted_from: now,
            limit: idle.client.min(idle.server),
            expired: None,
            server_broke: false,
            counted: (0, 0),
            counted_at: now,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Termination> {
        loop {
            let before = (self.upward.progress, self.downward.progress);
            if let Poll::Ready(end) = self.poll_directions(cx) {
                return Poll::Ready(end);
            }
            if before != (self.upward.progress, self.downward.progress) {
                self.moved = Instant::now();
                if before.0 != self.upward.progress {
                    self.spoke.0 = self.moved;
                }
                if before.1 != self.downward.progress {
                    self.spoke.1 = self.moved;
                }
            }
            let late = ready!(self.poll_idle(cx, timer.as_mut()));
            if !self.goes_on(late) {
                return Poll::Ready(late);
            }
        }
    }

    /// Takes a side that has said nothing for too long to have ended, unless it has, or is all that there is.
    fn goes_on(&mut self, late: Termination) -> bool {
        self.expired.get_or_insert(late);
        let (client, server) = (&mut self.upward, &mut self.downward);
        let (from, to, fin) = match late.cause {
            Cause::ClientTimeout => (client, server, self.idle.server_fin),
            _ => (server, client, self.idle.client_fin),
        };
        if self.idle.resets || !from.reads() || to.holds() {
            return false;
        }
        from.end();
        if fin.is_some() {
            // That time begins with the end that it is told.
            self.moved = Instant::now();
            self.spoke = (self.moved, self.moved);
        }
        true
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
            (false, _) if self.idle.ends_with_server && self.downward.is_done() => {
                Poll::Ready(Termination::NORMAL)
            }
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
    fn poll_idle(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Termination> {
        let (limit, since, cause) = self.limit();
        if limit != self.limit || since < self.counted_from {
            self.limit = limit;
            timer.as_mut().reset((since + limit).into());
        }
        self.counted_from = since;
        // The timer is set once and looked at when it fires, not moved at each packet.
        while timer.as_mut().poll(cx).is_ready() {
            let due = since + limit;
            if Instant::now() >= due {
                return Poll::Ready(Termination::new(cause, self.phase()));
            }
            timer.as_mut().reset(due.into());
        }
        Poll::Pending
    }

    /// How long may pass, from when on, and whose fault it is then.
    fn limit(&self) -> (Duration, Instant, Cause) {
        let idle = &self.idle;
        // Who has been told that nothing more comes has another time to end as well.
        let time = |all: Duration, fin: Option<Duration>, ended: bool| match fin {
            Some(fin) if ended => fin,
            _ => all,
        };
        let (to_client, to_server) = (self.downward.is_done(), self.upward.is_done());
        let client_time = time(idle.client, idle.client_fin, to_client);
        let server_time = time(idle.server, idle.server_fin, to_server);
        let client = self.upward.reads() || self.downward.writes();
        let server = self.downward.reads() || self.upward.writes();
        let (limit, since, cause) = match (client, server) {
            (true, true) if server_time < client_time => {
                (server_time, self.moved, Cause::ServerTimeout)
            }
            (false, true) => (server_time, self.moved, Cause::ServerTimeout),
            _ => (client_time, self.moved, Cause::ClientTimeout),
        };
        let mut first = (limit, since, cause);
        let alone = [
            (
                idle.client_alone && self.upward.reads(),
                (client_time, self.spoke.0, Cause::ClientTimeout),
            ),
            (
                idle.server_alone && self.downward.reads(),
                (server_time, self.spoke.1, Cause::ServerTimeout),
            ),
        ];
        for (counts, other) in alone {
            if counts && other.1 + other.0 < first.1 + first.0 {
                first = other;
            }
        }
        first
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
