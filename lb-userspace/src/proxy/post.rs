//! What a worker thread listens on, and the thread itself: from one configuration to the next, listeners that stay are
//! never closed, they only serve another frontend's view.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use tokio::{
    runtime::Runtime,
    sync::{Notify, mpsc, oneshot, watch},
    task::{JoinHandle, LocalSet},
};

use super::{
    Listeners, Shared, Stop,
    generation::{Thread, Worker},
    listener::{Seat, seats},
    sessions::{Question, Session},
    udp, worker,
};
use crate::{socket_file::SocketFile, topology::Frontend};

/// What a thread may be told.
#[derive(Debug)]
pub(super) enum Change {
    /// Another configuration, and the listeners that it has and the one before had not. Those that it has no longer are
    /// still listened on.
    Install {
        shared: Arc<Shared>,
        listeners: Listeners,
        done: oneshot::Sender<()>,
    },
    /// Listeners that the configuration has no longer are closed, after what waits in them was taken; then that is told.
    Close { done: oneshot::Sender<()> },
    /// Whom it serves is asked for.
    Sessions {
        question: Question,
        reply: oneshot::Sender<Vec<Session>>,
    },
}

/// What a listener serves.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) worker: Rc<Worker>,
    pub(super) frontend: Arc<Frontend>,
    /// Which of its binds.
    pub(super) bind: usize,
}

/// One listener's place.
#[derive(Debug)]
pub(super) struct Post {
    spot: RefCell<Spot>,
    /// How often it has moved to another configuration.
    moves: Cell<u64>,
    closed: Cell<bool>,
    changed: Notify,
    /// The name of a unix socket.
    file: Option<Arc<SocketFile>>,
}

impl Post {
    /// What it serves now.
    pub(super) fn spot(&self) -> Spot {
        self.spot.borrow().clone()
    }

    /// How often that has changed.
    pub(super) fn moves(&self) -> u64 {
        self.moves.get()
    }

    /// Whether nobody new is to be served any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Resolves once it serves something else, or has an end. For one at a time.
    pub(super) async fn moved(&self) {
        self.changed.notified().await;
    }

    /// Resolves once nobody new is to be served: the configuration has it no longer, or all stops.
    pub(super) async fn ended(&self) {
        while !self.is_closed() {
            let stopping = self.spot.borrow().worker.stopping();
            tokio::select! {
                () = stopping => return,
                () = self.changed.notified() => {}
            }
        }
    }

    /// Resolves once nobody new is to be let in, though what is on its way is.
    pub(super) async fn quiet(&self) {
        // Not the view: an idle listener waits here through many configurations.
        let quiet = self.spot.borrow().worker.quiet();
        quiet.await;
    }

    fn move_to(&self, spot: Spot) {
        self.spot.replace(spot);
        self.moves.set(self.moves.get() + 1);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.closed.set(true);
        self.changed.notify_one();
    }
}

/// The listeners of a thread.
struct Posts {
    thread: Rc<Thread>,
    newest: Rc<Worker>,
    /// More than one of a seat where a service manager has passed on more sockets than there are threads.
    held: HashMap<Seat, Vec<Held>>,
}

struct Held {
    post: Rc<Post>,
    /// Accepts; one for datagrams goes on with the flows that there are.
    accepting: JoinHandle<()>,
    datagrams: bool,
}

impl Posts {
    fn install(&mut self, listeners: Listeners) {
        let newest = Rc::clone(&self.newest);
        let spots: HashMap<(usize, usize), Seat> = seats(&newest.shared.topology)
            .map(|(seat, frontend, bind)| ((frontend.index, bind), seat))
            .collect();
        for (seat, frontend, bind) in seats(&newest.shared.topology) {
            for held in self.held.get(&seat).into_iter().flatten() {
                held.post.move_to(Spot {
                    worker: Rc::clone(&newest),
                    frontend: Arc::clone(frontend),
                    bind,
                });
            }
        }
        let Listeners {
            sockets,
            datagrams,
            mut files,
        } = listeners;
        let mut post = |frontend: Arc<Frontend>, bind| {
            let at = (frontend.index, bind);
            let file = files.iter().position(|(f, b, _)| (*f, *b) == at);
            let post = Rc::new(Post {
                spot: RefCell::new(Spot {
                    worker: Rc::clone(&newest),
                    frontend,
                    bind,
                }),
                moves: Cell::new(0),
                closed: Cell::new(false),
                changed: Notify::new(),
                file: file.map(|file| files.swap_remove(file).2),
            });
            (at, post)
        };
        for (frontend, listener, bind) in sockets {
            let (at, post) = post(frontend, bind);
            let accepting = worker::accept(Rc::clone(&post), listener);
            let held = Held {
                post,
                accepting: tokio::task::spawn_local(accepting),
                datagrams: false,
            };
            if let Some(seat) = spots.get(&at) {
                self.held.entry(seat.clone()).or_default().push(held);
            }
        }
        for (frontend, socket, bind) in datagrams {
            let (at, post) = post(frontend, bind);
            // Ends with the set, or with its last flow once it is closed.
            let serving = udp::serve(Rc::clone(&post), socket);
            let held = Held {
                post,
                accepting: tokio::task::spawn_local(serving),
                datagrams: true,
            };
            if let Some(seat) = spots.get(&at) {
                self.held.entry(seat.clone()).or_default().push(held);
            }
        }
    }

    /// Closes what the newest configuration has no longer, and says once all of that is closed.
    fn close(&mut self, done: oneshot::Sender<()>) {
        let wanted: HashSet<Seat> = seats(&self.newest.shared.topology)
            .map(|(seat, ..)| seat)
            .collect();
        let removed: Vec<Held> = self
            .held
            .extract_if(|seat, _| !wanted.contains(seat))
            .flat_map(|(_, held)| held)
            .collect();
        for held in &removed {
            held.post.close();
        }
        tokio::task::spawn_local(async move {
            for held in removed {
                let _ = held.accepting.await;
            }
            // Whoever has asked may be gone.
            let _ = done.send(());
        });
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Install {
                shared,
                listeners,
                done,
            } => {
                let before = std::mem::replace(&mut self.newest, self.thread.begin(shared));
                self.install(listeners);
                drop(before);
                // Whoever has asked may be gone.
                let _ = done.send(());
            }
            Change::Close { done } => self.close(done),
            Change::Sessions { question, reply } => {
                // Whoever has asked may be gone.
                let _ = reply.send(self.thread.sessions(&question));
            }
        }
    }
}

/// Serves `listeners`, and what is told later, until the stop is complete.
pub(super) fn run(
    runtime: &Runtime,
    index: usize,
    shared: Arc<Shared>,
    listeners: Listeners,
    mut changes: mpsc::UnboundedReceiver<Change>,
    mut stop: watch::Receiver<Stop>,
) {
    let thread = Thread::new(index, stop.clone());
    let local = LocalSet::new();
    local.block_on(runtime, async {
        let mut posts = Posts {
            newest: thread.begin(shared),
            thread: Rc::clone(&thread),
            held: HashMap::new(),
        };
        posts.install(listeners);
        let mut quiet = false;
        loop {
            tokio::select! {
                biased;
                () = thread.stopping() => break,
                () = thread.quiet(), if !quiet => {
                    quiet = true;
                    thread.quieten();
                }
                Some(change) = changes.recv() => posts.change(change),
                // Nobody is there who could tell anything.
                else => thread.stopping().await,
            }
        }
        thread.leave();
        let held = std::mem::take(&mut posts.held);
        let mut files = Vec::new();
        for held in held.into_values().flatten() {
            // What the kernel has accepted for us already is still served; then the listener closes. One for datagrams goes
            // on with its flows.
            if !held.datagrams {
                let _ = held.accepting.await;
            }
            files.extend(held.post.file.clone());
        }
        // Nobody is to find the name of a socket that is not listened on.
        drop(files);
        tokio::select! {
            () = thread.empty() => {}
            _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
        }
    });
    // Dropping the set ends what still runs.
}

#[cfg(test)]
mod tests;
