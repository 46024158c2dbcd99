//! Who is being served: each worker thread keeps a list of its clients' connections, and shows it, or ends some of them,
//! when operators ask. Nobody else looks at it, so it takes no lock.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    hash::{BuildHasherDefault, Hasher},
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::Poll,
    time::{Instant, SystemTime},
};

use tokio::sync::Notify;

use super::Client;
use crate::{
    config::model::Mode,
    observe::sessions::{Question, Session},
    topology::{Frontend, Peer, Server},
};

/// What goes on on a connection of mode http.
pub(super) trait Served {
    /// The server that a request of it is at; where there are several, the one of the last that has come.
    fn server(&self) -> Option<Arc<Server>>;

    /// Has all requests look whether the sessions of their server are to end. The connection's own task looks anyway.
    fn rouse(&self);
}

/// A client's connection, while it is served.
#[derive(Debug)]
pub(super) struct Entry {
    number: u64,
    peer: Peer,
    accepted: Instant,
    accepted_at: SystemTime,
    frontend: Arc<Frontend>,
    /// Where it is in mode tcp.
    server: RefCell<Option<Arc<Server>>>,
    /// What tells it in mode http, so that nothing need be written down for each request.
    served: RefCell<Option<Weak<dyn Served>>>,
    killed: Cell<bool>,
    /// How often whoever waits for the end was woken without there being one.
    rouses: Cell<u64>,
    end: Notify,
}

impl Entry {
    /// Whether an operator has ended it.
    pub(super) fn is_killed(&self) -> bool {
        self.killed.get()
    }

    /// Resolves once an operator ends it.
    pub(super) async fn killed(&self) {
        while !self.is_killed() {
            self.end.notified().await;
        }
    }

    fn served(&self) -> Option<Rc<dyn Served>> {
        self.served.borrow().as_ref()?.upgrade()
    }

    /// The server that it is at.
    fn server(&self) -> Option<Arc<Server>> {
        let noted = self.server.borrow().clone();
        noted.or_else(|| self.served()?.server())
    }

    /// Has what it carries look whether it is to end.
    fn rouse(&self) {
        if let Some(served) = self.served() {
            served.rouse();
            self.rouses.set(self.rouses.get() + 1);
            self.end.notify_waiters();
        }
    }

    fn kill(&self) {
        self.killed.set(true);
        self.end.notify_waiters();
        // For whoever has not begun to wait.
        self.end.notify_one();
    }
}

/// The connections of a thread.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    last: Cell<u64>,
    entries: RefCell<HashMap<u64, Rc<Entry>, Spread>>,
}

/// Numbers are counted up by ourselves, so that nobody can choose them to fall together.
type Spread = BuildHasherDefault<Counted>;

/// The hash of one that is counted up.
#[derive(Debug, Default)]
struct Counted(u64);

impl Hasher for Counted {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The map goes by the highest bits and by the lowest. The factor is 2^64 over the golden ratio, which keeps
        // neighbours apart.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Its entry goes with it.
#[derive(Debug)]
pub(super) struct Entered {
    entry: Rc<Entry>,
    ledger: Rc<Ledger>,
}

impl Entered {
    pub(super) fn entry(&self) -> &Rc<Entry> {
        &self.entry
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.ledger.entries.borrow_mut().remove(&self.entry.number);
    }
}

impl Ledger {
    /// Writes down a connection until the guard is dropped.
    pub(super) fn enter(self: &Rc<Self>, client: &Client) -> Entered {
        let number = self.last.get() + 1;
        self.last.set(number);
        let entry = Rc::new(Entry {
            number,
            peer: client.address,
            accepted: client.accepted,
            accepted_at: client.accepted_at,
            frontend: Arc::clone(client.frontend()),
            server: RefCell::new(None),
            served: RefCell::new(None),
            killed: Cell::new(false),
            rouses: Cell::new(0),
            end: Notify::new(),
        });
        self.entries.borrow_mut().insert(number, Rc::clone(&entry));
        Entered {
            entry,
            ledger: Rc::clone(self),
        }
    }

    /// Does what is asked, and says whom it concerned.
    pub(super) fn answer(&self, thread: usize, question: &Question) -> Vec<Session> {
        let wanted = |entry: &Entry, at: Option<&Server>| match question {
            Question::All => true,
            Question::Kill(id) => id_of(thread, entry.number) == *id,
            Question::KillAt { backend, server } => {
                at.is_some_and(|at| *at.backend == **backend && *at.name == **server)
            }
        };
        let entries = self.entries.borrow();
        let mut found: Vec<Session> = Vec::new();
        for entry in entries.values() {
            let server = entry.server();
            let is_wanted = wanted(entry, server.as_deref());
            if is_wanted {
                found.push(Session {
                    id: id_of(thread, entry.number),
                    thread,
                    peer: entry.peer,
                    frontend: Arc::clone(&entry.frontend.name),
                    mode: entry.frontend.config.mode,
                    server: server
                        .map(|server| (Arc::clone(&server.backend), Arc::clone(&server.name))),
                    age: entry.accepted.elapsed(),
                    accepted_at: entry.accepted_at,
                });
            }
            match question {
                Question::All => {}
                // A request is not all that its connection is for.
                Question::KillAt { .. } if entry.frontend.config.mode == Mode::Http => {
                    entry.rouse();
                }
                Question::Kill(_) | Question::KillAt { .. } if is_wanted => entry.kill(),
                Question::Kill(_) | Question::KillAt { .. } => {}
            }
        }
        found
    }
}

impl Ledger {
    /// Ends all, as operators end one.
    pub(super) fn end_all(&self) {
        self.entries
            .borrow()
            .values()
            .for_each(|entry| entry.kill());
    }
}

/// A number that no connection of another thread has. It stands where HAProxy shows an address in memory.
fn id_of(thread: usize, number: u64) -> u64 {
    const THREADS: u64 = 1 << 10;
    const SHIFT: u64 = 0x1000;
    SHIFT + number * THREADS + u64::try_from(thread).unwrap_or(0) % THREADS
}

tokio::task_local! {
    static PRESENT: Rc<Entry>;
}

/// Serves until it is over, or until an operator ends it.
pub(super) async fn serve(entered: &Entered, serving: impl Future<Output = ()>) {
    let entry = entered.entry();
    let mut killed = pin!(entry.killed());
    let mut serving = pin!(PRESENT.scope(Rc::clone(entry), serving));
    let mut waits = None;
    poll_fn(|cx| {
        // What is served is told first, so that it can end as it should.
        if serving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // To wait takes a lock; a task's waker stays the same, so that once is enough until it is woken for nothing, and the
        // flag says the rest.
        let rouses = Some(entry.rouses.get());
        if waits == rouses && !entry.is_killed() {
            return Poll::Pending;
        }
        waits = rouses;
        killed.as_mut().poll(cx)
    })
    .await;
}

/// Has what is spawned belong to the present connection.
pub(super) async fn along(entry: Option<Rc<Entry>>, serving: impl Future<Output = ()>) {
    match entry {
        Some(entry) => PRESENT.scope(entry, serving).await,
        None => serving.await,
    }
}

/// The connection that is served here.
pub(super) fn present() -> Option<Rc<Entry>> {
    PRESENT.try_with(Rc::clone).ok()
}

/// Resolves once an operator ends the connection that is served here, or the process does.
pub(super) async fn killed() {
    match present() {
        Some(present) => present.killed().await,
        None => std::future::pending().await,
    }
}

/// Whether an operator has ended the connection that is served here.
pub(super) fn is_killed() -> bool {
    PRESENT.try_with(|entry| entry.is_killed()).unwrap_or(false)
}

/// The connection that is served here, of mode http, is this from now on.
pub(super) fn show(served: Weak<dyn Served>) {
    // Without one there is nobody who could ask.
    let _ = PRESENT.try_with(|entry| entry.served.replace(Some(served)));
}

/// The connection that is served here, of mode tcp, has come to `server`, or has left it.
pub(super) fn note(server: Option<&Arc<Server>>) {
    let _ = PRESENT.try_with(|entry| entry.server.replace(server.cloned()));
}
