//! What a worker thread listens on, and the thread itself: from one configuration to the next, listeners that stay are
//! never closed, they only serve another frontend's view.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    net::TcpListener,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::LocalRuntime,
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    Listeners, Shared, Stop,
    generation::{Thread, Worker},
    listener::{Seat, seats},
    udp, worker,
};
use crate::{
    observe::sessions::{Question, Session},
    socket_file::{Identity, SocketFile},
    topology::Frontend,
};

/// So long those may take whom a stop ends.
const LAST: Duration = Duration::from_millis(200);

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
    /// Listeners of the present configuration that had to wait.
    Listen {
        listeners: Listeners,
        done: oneshot::Sender<()>,
    },
    /// As [`Change::Close`], for listeners of these names ([`Seat::text`]).
    CloseNamed {
        names: Arc<HashSet<String>>,
        done: oneshot::Sender<()>,
    },
    /// Another process listens on the same sockets: ours are closed, whatever waits in them.
    HandOver { done: oneshot::Sender<()> },
    /// Duplicates of all listening sockets, by their seats' names, with the files that unix sockets have.
    Lend { reply: oneshot::Sender<Vec<Loan>> },
    /// Listeners that the configuration has no longer are closed, after what waits in them was taken; then that is told.
    Close { done: oneshot::Sender<()> },
    /// Whom it serves is asked for.
    Sessions {
        question: Question,
        reply: oneshot::Sender<Vec<Session>>,
    },
}

/// A duplicate of a listening socket, what it is called, and its file.
pub type Loan = (String, OwnedFd, Option<(PathBuf, Identity)>);

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
    socket: Lending,
}

/// What a listener's socket can be lent by.
enum Lending {
    /// As long as it is listened on.
    Stream(Weak<TcpListener>),
    /// A duplicate of our own, which goes with the post.
    Datagrams(Option<OwnedFd>),
}

impl Lending {
    fn duplicate(&self) -> Option<OwnedFd> {
        match self {
            Self::Stream(listener) => listener.upgrade()?.as_fd().try_clone_to_owned().ok(),
            Self::Datagrams(socket) => socket.as_ref()?.try_clone().ok(),
        }
    }
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
        // A socket whose path is another's by now is reached by nobody new.
        for seat in files.iter().filter_map(|(f, b, _)| spots.get(&(*f, *b))) {
            for nameless in self.held.remove(seat).into_iter().flatten() {
                nameless.post.close();
            }
        }
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
            let listener = Rc::new(listener);
            let lending = Lending::Stream(Rc::downgrade(&listener));
            let accepting = worker::accept(Rc::clone(&post), listener);
            let held = Held {
                post,
                accepting: tokio::task::spawn_local(accepting),
                datagrams: false,
                socket: lending,
            };
            if let Some(seat) = spots.get(&at) {
                self.held.entry(seat.clone()).or_default().push(held);
            }
        }
        for (frontend, socket, bind) in datagrams {
            let (at, post) = post(frontend, bind);
            let duplicate = socket.as_fd().try_clone_to_owned().ok();
            // Ends with the set, or with its last flow once it is closed.
            let serving = udp::serve(Rc::clone(&post), socket);
            let held = Held {
                post,
                accepting: tokio::task::spawn_local(serving),
                datagrams: true,
                socket: Lending::Datagrams(duplicate),
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
        self.close_those(|seat| !wanted.contains(seat), done);
    }

    fn close_those(&mut self, which: impl Fn(&Seat) -> bool, done: oneshot::Sender<()>) {
        let removed: Vec<Held> = self
            .held
            .extract_if(|seat, _| which(seat))
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

    /// Listens on nothing any more. The sockets are another process's as well, which takes what waits in them.
    async fn let_go(&mut self) {
        for held in self.held.drain().flat_map(|(_, held)| held) {
            if let Some(file) = &held.post.file {
                file.leave();
            }
            held.post.close();
            // Between two connections, or two datagrams: a flow keeps the socket by which it answers.
            held.accepting.abort();
            let _ = held.accepting.await;
        }
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
            Change::Listen { listeners, done } => {
                self.install(listeners);
                // Whoever has asked may be gone.
                let _ = done.send(());
            }
            Change::Close { done } => self.close(done),
            Change::Sessions { question, reply } => {
                // Whoever has asked may be gone.
                let _ = reply.send(self.thread.sessions(&question));
            }
            Change::CloseNamed { names, done } => {
                self.close_those(|seat| names.contains(&seat.text()), done);
            }
            // The loop does it: it is the last change there is.
            Change::HandOver { done } => drop(done),
            Change::Lend { reply } => {
                let all = self.held.iter().flat_map(|(seat, held)| {
                    let name = seat.text();
                    held.iter().filter_map(move |held| {
                        let file = held.post.file.as_ref().and_then(|file| file.known());
                        Some((name.clone(), held.socket.duplicate()?, file))
                    })
                });
                // Whoever has asked may be gone.
                let _ = reply.send(all.collect());
            }
        }
    }
}

/// Serves `listeners`, and what is told later, until the stop is complete.
pub(super) fn run(
    runtime: &LocalRuntime,
    thread: Rc<Thread>,
    shared: Arc<Shared>,
    listeners: Listeners,
    mut changes: mpsc::UnboundedReceiver<Change>,
    mut stop: watch::Receiver<Stop>,
) {
    runtime.block_on(async {
        let mut posts = Posts {
            newest: thread.begin(shared),
            thread: Rc::clone(&thread),
            held: HashMap::new(),
        };
        posts.install(listeners);
        let mut quiet = false;
        let mut handed_over = false;
        loop {
            tokio::select! {
                biased;
                () = thread.stopping() => break,
                () = thread.quiet(), if !quiet => {
                    quiet = true;
                    thread.quieten();
                }
                Some(change) = changes.recv() => match change {
                    Change::HandOver { done } => {
                        handed_over = true;
                        posts.let_go().await;
                        thread.linger();
                        // Whoever has asked may be gone.
                        let _ = done.send(());
                        break;
                    }
                    change => posts.change(change),
                },
                // Nobody is there who could tell anything.
                else => thread.stopping().await,
            }
        }
        if !handed_over {
            thread.leave();
        }
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
            () = thread.empty() => return,
            _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
        }
        // Each is told, so that the log says what became of it.
        thread.end_all();
        let _ = tokio::time::timeout(LAST, thread.empty()).await;
    });
    // Dropping the runtime ends what still runs.
}

#[cfg(test)]
mod tests;
