//! A client's connection from one configuration to the next: between two requests it goes on under the newest one, as the
//! same connection.

use std::{
    cell::{Cell, OnceCell, RefCell},
    os::fd::AsRawFd,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{Client, Phase, Upload, Whose};
use crate::{proxy::worker::Place, rules::SessionVars, topology::Peer, wire::sockopt};

/// A connection is new for so long.
const NEWCOMER: Duration = Duration::from_secs(1);

impl Client {
    /// Whether there is a newer configuration under which it can go on: one that has its frontend.
    pub(in super::super) fn moves(&self) -> bool {
        self.worker.http.is_superseded()
            && !self.worker.http.is_stopping()
            && self.worker.successor(&self.frontend).is_some()
    }

    /// Whether it is to end after the request that it is at: all stops, or its frontend is there no longer.
    pub(in super::super) fn is_leaving(&self) -> bool {
        (self.worker.http.is_quiet() && !self.is_new())
            || self.is_over()
                && self
                    .newcomer_until()
                    .is_none_or(|until| self.now() >= until)
    }

    /// Whether nobody is served any more after the request that it is at.
    fn is_over(&self) -> bool {
        self.worker.http.is_stopping()
            || (self.worker.http.is_superseded() && self.worker.successor(&self.frontend).is_none())
    }

    /// Until when a request is waited for that is on its way, for all that can be known: whoever has just come would find the
    /// connection reset.
    fn newcomer_until(&self) -> Option<Instant> {
        self.is_new().then(|| self.since.get() + NEWCOMER)
    }

    /// When it is no newcomer any more, if that matters.
    pub(in super::super) fn leaves_at(&self) -> Option<Instant> {
        self.newcomer_until().filter(|_| self.is_over())
    }

    /// Whether nothing of a request or of an answer is under way.
    pub(in super::super) fn is_between_requests(&self) -> bool {
        self.phase() == Phase::Idle && self.upload() == Upload::Done && !self.is_behind()
    }

    /// The same connection under the newest configuration; itself where that has its frontend no longer. `destination`
    /// finds out where it connected to, `socket` is its descriptor, and `place` is counted there from now on.
    pub(in super::super) fn renewed(
        self: &Rc<Self>,
        destination: impl FnOnce(Peer) -> Peer,
        socket: &impl AsRawFd,
        place: &mut Place,
    ) -> Rc<Self> {
        let Some(whose) = self.whose_next(destination, socket) else {
            return Rc::clone(self);
        };
        place.move_to(&whose.frontend);
        let renewed = Self::begun(Rc::new(whose), self.now(), false);
        renewed.since.set(self.since.get());
        renewed.started.set(self.started.get());
        renewed.phase.set(self.phase());
        renewed.requests.set(self.requests());
        renewed.bytes_in.set(self.bytes_in());
        renewed.bytes_out.set(self.bytes_out());
        renewed.client_active.set(self.client_active.get());
        Rc::new(renewed)
    }

    /// Whose requests they are under the newest configuration.
    fn whose_next(
        &self,
        destination: impl FnOnce(Peer) -> Peer,
        socket: &impl AsRawFd,
    ) -> Option<Whose> {
        let (worker, frontend) = self.worker.successor(&self.frontend)?;
        let asks = worker.shared.http.introduces() || worker.shared.http.asks_for_ends();
        let identity = OnceCell::new();
        if let Some(number) = self.identity.get() {
            let _ = identity.set(Rc::clone(number));
        }
        let session: SessionVars = self.session.take();
        let (before, after) = (&self.worker.shared.config, &worker.shared.config);
        Some(Whose {
            session: RefCell::new(session.renamed(&before.variables, &after.variables)),
            peer: self.peer,
            // As at the beginning: who is told of nobody need not be asked.
            destination: match asks {
                true => destination(self.peer),
                false => self.peer,
            },
            introduced: self.introduced.clone(),
            bind: self.label().and_then(|label| {
                let mut binds = frontend.config.binds.iter();
                binds.position(|bind| bind.label.id == label.id)
            }),
            // It may be these rules that are the first to ask.
            socket: match (&self.socket, worker.shared.config.links.socket) {
                (None, true) => sockopt::duplicate(socket).ok().map(Rc::new),
                (known, _) => known.clone(),
            },
            tls: self.tls.clone(),
            identity,
            asked: Cell::new(self.asked.get()),
            authenticates: Cell::new(self.authenticates.get()),
            forwarded_for: OnceCell::new(),
            handshake: Cell::new(self.handshake.get()),
            idle_from: Cell::new(self.idle_from.get()),
            worker,
            frontend,
        })
    }
}
