//! A worker thread through the configurations that it serves, one after the other.
//!
//! A [`Worker`] is a thread's view of one configuration. What is begun under it keeps it to its end; connections of mode
//! http go on under the newest one between two requests. What does not belong to a configuration is the [`Thread`]'s.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::{Notify, watch};

use super::{
    Client, Shared, Stop, http,
    sessions::{Entered, Ledger},
    tcp, udp,
};
use crate::{
    observe::sessions::{Question, Session},
    topology::Frontend,
};

/// What belongs to one worker thread and one configuration.
#[derive(Debug)]
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Its number, from 0.
    pub index: usize,
    /// What the TCP path keeps between connections.
    pub tcp: Rc<tcp::Local>,
    /// What the HTTP path keeps between connections.
    pub http: http::Local,
    /// What the UDP path keeps between flows.
    pub udp: Rc<udp::Local>,
    thread: Rc<Thread>,
    next: RefCell<Weak<Worker>>,
}

/// What a thread keeps from one configuration to the next.
#[derive(Debug)]
pub(super) struct Thread {
    index: usize,
    tcp: Rc<tcp::Local>,
    udp: Rc<udp::Local>,
    stop: watch::Receiver<Stop>,
    clients: Cell<usize>,
    /// Of all threads.
    all_clients: Arc<AtomicUsize>,
    empty: Notify,
    /// Those that are still in use, the newest last.
    generations: RefCell<Vec<Weak<Worker>>>,
    ledger: Rc<Ledger>,
}

impl Thread {
    pub(super) fn new(
        index: usize,
        stop: watch::Receiver<Stop>,
        all_clients: Arc<AtomicUsize>,
    ) -> Rc<Self> {
        Rc::new(Self {
            index,
            tcp: Rc::default(),
            udp: Rc::default(),
            stop,
            clients: Cell::new(0),
            all_clients,
            empty: Notify::new(),
            generations: RefCell::default(),
            ledger: Rc::default(),
        })
    }

    /// The view of another configuration, which is the newest from now on. Connections to servers that it has as well are
    /// its own from now on, and clients' connections learn of it.
    pub(super) fn begin(self: &Rc<Self>, shared: Arc<Shared>) -> Rc<Worker> {
        let worker = Rc::new(Worker {
            shared,
            index: self.index,
            tcp: Rc::clone(&self.tcp),
            http: http::Local::default(),
            udp: Rc::clone(&self.udp),
            thread: Rc::clone(self),
            next: RefCell::default(),
        });
        let before = self.newest();
        {
            let mut generations = self.generations.borrow_mut();
            generations.retain(|one| one.strong_count() > 0);
            generations.push(Rc::downgrade(&worker));
        }
        if let Some(before) = before {
            before.next.replace(Rc::downgrade(&worker));
            before.http.supersede(&worker);
        }
        worker
    }

    /// Does what is asked of the connections that it serves.
    pub(super) fn sessions(&self, question: &Question) -> Vec<Session> {
        self.ledger.answer(self.index, question)
    }

    fn newest(&self) -> Option<Rc<Worker>> {
        self.generations.borrow().last()?.upgrade()
    }

    /// Tells all connections that they are to end with their next answer, and idle ones that they may wait for it.
    pub(super) fn linger(&self) {
        self.all().for_each(|worker| worker.http.linger());
    }

    /// Tells all connections that they are to end once they have carried a request.
    pub(super) fn quieten(&self) {
        self.all().for_each(|worker| worker.http.quieten());
    }

    /// Tells all connections that the stop has begun.
    pub(super) fn leave(&self) {
        self.all().for_each(|worker| worker.http.leave());
    }

    fn all(&self) -> impl Iterator<Item = Rc<Worker>> {
        let generations = self.generations.borrow().clone();
        generations.into_iter().filter_map(|one| one.upgrade())
    }

    /// Resolves once nobody new is to be let in.
    pub(super) async fn quiet(&self) {
        self.reached(Stop::Quiet).await;
    }

    /// Resolves once listeners are to close.
    pub(super) async fn stopping(&self) {
        self.reached(Stop::Graceful).await;
    }

    async fn reached(&self, wanted: Stop) {
        // An error means that the proxy is gone altogether, which is a stop too.
        let _ = self.stop.clone().wait_for(|stop| *stop >= wanted).await;
    }

    /// Ends all connections, as operators end one.
    pub(super) fn end_all(&self) {
        self.ledger.end_all();
    }

    /// Resolves once it serves nobody.
    pub(super) async fn empty(&self) {
        while self.clients.get() > 0 {
            self.empty.notified().await;
        }
    }
}

impl Worker {
    /// Writes a connection down, for operators to see.
    pub(super) fn enter(&self, client: &Client) -> Entered {
        self.thread.ledger.enter(client)
    }

    /// Whether no new work should be begun: idle connections close, others after what they are at.
    pub fn is_stopping(&self) -> bool {
        *self.thread.stop.borrow() > Stop::Running
    }

    /// Whether nobody new is to be let in, and listeners do not close yet.
    pub(super) fn is_quiet(&self) -> bool {
        *self.thread.stop.borrow() == Stop::Quiet
    }

    /// Resolves once nobody new is to be let in. Who waits does not keep this view.
    pub(super) fn quiet(&self) -> impl Future<Output = ()> + use<> {
        let thread = Rc::clone(&self.thread);
        async move { thread.quiet().await }
    }

    /// Resolves once listeners are to close. Who waits does not keep this view.
    pub fn stopping(&self) -> impl Future<Output = ()> + use<> {
        let thread = Rc::clone(&self.thread);
        async move { thread.stopping().await }
    }

    /// Connections that this thread serves now.
    pub fn clients(&self) -> usize {
        self.thread.clients.get()
    }

    /// The view of the configuration that followed on this one's, if that is in use.
    pub(super) fn next(&self) -> Option<Rc<Worker>> {
        self.next.borrow().upgrade()
    }

    /// Where connections of `frontend` go on: the newest view, and the frontend there; `None` if it is there no longer.
    pub(super) fn successor(&self, frontend: &Frontend) -> Option<(Rc<Worker>, Arc<Frontend>)> {
        let newest = self.thread.newest()?;
        let there = newest.shared.frontend(&frontend.name)?;
        let same = there.config.mode == frontend.config.mode;
        same.then(|| (Rc::clone(&newest), Arc::clone(there)))
    }
}

/// Counts a connection of this thread while it is served, also if serving it panics.
#[derive(Debug)]
pub(super) struct Served(pub(super) Rc<Worker>);

impl Served {
    pub(super) fn begin(worker: &Rc<Worker>) -> Self {
        let clients = &worker.thread.clients;
        clients.set(clients.get() + 1);
        worker.thread.all_clients.fetch_add(1, Relaxed);
        Self(Rc::clone(worker))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let thread = &self.0.thread;
        let left = thread.clients.get() - 1;
        thread.clients.set(left);
        thread.all_clients.fetch_sub(1, Relaxed);
        if left == 0 {
            thread.empty.notify_one();
        }
    }
}
