//! The new process's part: it takes what it is offered, and does nothing that only one may do until it is told to.

use std::{
    collections::HashMap,
    env, fs,
    net::TcpListener,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::{
    VALUE, VARIABLE,
    channel::{Channel, FORMAT, Heard, Hello, Message, OLDEST, Passed, Unknown},
    listen, monotonic,
};
use crate::{
    config::{
        Config,
        model::{Attach, Bind},
    },
    daemon::{amend, notify},
    fastpath::succession::{self, Legacy},
    observe::{path::SharedPathStatus, stats::Sources},
    proxy::{Lent, Shared},
    rules::CarriedMap,
    topology::{
        Clock, Topology,
        carried::{self, BackendState, FrontendState, ServerState},
    },
};

/// Why this process does not take the running one's place.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// It went away, or spoke otherwise.
    #[error("the running lb does not go on: {0}")]
    Broken(String),
    /// Another form.
    #[error(
        "the running lb {version} hands over in form {format}, and this one ({own}) knows form {FORMAT}: it takes a restart",
        own = env!("CARGO_PKG_VERSION")
    )]
    Format {
        /// The running one's version.
        version: String,
        /// Its form.
        format: u32,
    },
    /// Something that must not be lost.
    #[error(
        "what operators have set in the running lb is not understood: {0}; it takes a restart, which forgets it"
    )]
    State(String),
    /// Something that an operator has made of the file cannot be had here.
    #[error("{0}")]
    Amendment(String),
    /// The kernel path.
    #[error("the running lb has a kernel path, and this one cannot go on with it: {0}")]
    KernelPath(String),
    /// The system.
    #[error("the running lb's place cannot be taken: {0}")]
    System(#[from] std::io::Error),
}

/// The process whose place this one takes.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    hello: Hello,
    pub(in crate::daemon) listeners: Lent,
    stats: HashMap<String, OwnedFd>,
    admin: HashMap<PathBuf, OwnedFd>,
    stderr: Option<OwnedFd>,
    /// What operators have made of the file.
    pub(in crate::daemon) amendments: amend::Carried,
}

/// What was said that holds from now on.
#[derive(Debug, Default)]
struct States {
    servers: Vec<ServerState>,
    frontends: Vec<FrontendState>,
    backends: Vec<BackendState>,
    /// Of a map that is not whole yet.
    map: Option<CarriedMap>,
}

impl Predecessor {
    /// The process that has started this one to take its place, if one has.
    ///
    /// # Errors
    /// It cannot be understood.
    pub fn find() -> Result<Option<Self>, UpgradeError> {
        if env::var_os(VARIABLE).is_none_or(|value| value != VALUE) {
            return Ok(None);
        }
        let stdin = rustix::stdio::stdin();
        let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3).map_err(std::io::Error::from)?;
        let nothing = fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing).map_err(std::io::Error::from)?;
        // The service manager hears of this process once it serves.
        notify::mute();
        let channel = Channel::of(socket);
        let Some(Heard { message, .. }) = channel.receive()? else {
            return Err(UpgradeError::Broken("it has gone".to_owned()));
        };
        let hello = match message.map_err(broken)? {
            Message::Hello(hello) => hello,
            other => return Err(UpgradeError::Broken(format!("it says {other:?}"))),
        };
        if !(OLDEST..=FORMAT).contains(&hello.format) {
            let Hello {
                version, format, ..
            } = hello;
            return Err(UpgradeError::Format { version, format });
        }
        let mut predecessor = Self {
            channel,
            hello,
            listeners: Lent::default(),
            stats: HashMap::new(),
            admin: HashMap::new(),
            stderr: None,
            amendments: amend::Carried::default(),
        };
        loop {
            let Some(Heard {
                message,
                descriptors,
            }) = predecessor.channel.receive()?
            else {
                return Err(UpgradeError::Broken("it has gone".to_owned()));
            };
            match message.map_err(broken)? {
                Message::Sockets(names) => {
                    for (name, descriptor) in names.into_iter().zip(descriptors) {
                        predecessor.take(name, descriptor);
                    }
                }
                Message::Files(files) => {
                    for (path, device, inode) in files {
                        predecessor.listeners.add_file(path, (device, inode));
                    }
                }
                Message::Amendments(amendments) => predecessor.amendments = amendments,
                Message::Offered => return Ok(Some(predecessor)),
                other => return Err(UpgradeError::Broken(format!("it says {other:?}"))),
            }
        }
    }

    fn take(&mut self, name: Passed, descriptor: OwnedFd) {
        match name {
            Passed::Listener(name) => self.listeners.add(name, descriptor),
            Passed::Stats(name) => drop(self.stats.insert(name, descriptor)),
            Passed::Admin(path) => drop(self.admin.insert(path, descriptor)),
            Passed::Pins(path) => succession::find_by(&path, descriptor),
            Passed::Stderr => self.stderr = Some(descriptor),
        }
    }

    /// The clock that its states are told by.
    pub(in crate::daemon) fn clock(&self) -> Clock {
        let age = monotonic().saturating_sub(Duration::from_nanos(self.hello.clock));
        let here = Instant::now();
        Clock::new(here.checked_sub(age).unwrap_or(here))
    }

    /// Whether landlock confines already.
    pub(in crate::daemon) fn is_confined(&self) -> bool {
        self.hello.confined
    }

    /// Whether it has a kernel path.
    pub(in crate::daemon) fn has_kernel_path(&self) -> bool {
        self.hello.kernel_path
    }

    /// The admin socket that it has at `path`, if it is there.
    pub(in crate::daemon) fn admin(&mut self, path: &std::path::Path) -> Option<OwnedFd> {
        self.admin.remove(path)
    }

    /// The file that it has at `path`: device and inode.
    pub(in crate::daemon) fn file(&self, path: &std::path::Path) -> Option<(u64, u64)> {
        self.listeners.file(path)
    }

    /// Of the stats endpoint's binds, those that it listens on; and the others.
    pub(in crate::daemon) fn stats(
        &mut self,
        binds: &[Bind],
        name: impl Fn(&Bind) -> String,
    ) -> (Vec<(Bind, TcpListener)>, Vec<Bind>) {
        let (mut taken, mut others) = (Vec::new(), Vec::new());
        for bind in binds {
            match self.stats.remove(&name(bind)) {
                Some(socket) => taken.push((bind.clone(), socket.into())),
                None => others.push(bind.clone()),
            }
        }
        (taken, others)
    }

    /// All that may be refused is had: takes over what it knows. From then on it is not waited for in vain: should it go
    /// away, this process serves all the same, of what it has been told.
    ///
    /// # Errors
    /// It says what must not be left out and is not understood.
    pub(in crate::daemon) fn take_states(&self, shared: &Shared) -> Result<(), UpgradeError> {
        let mut states = States::default();
        // One that has gone is heard of below.
        let _ = self.channel.send(&Message::Prepared, &[]);
        loop {
            match self.channel.receive() {
                Ok(Some(heard)) => {
                    if let Next::End = states.hear(heard, shared)? {
                        break;
                    }
                }
                Ok(None) => {
                    self.has_gone();
                    break;
                }
                Err(error) if gone(&error) => {
                    self.has_gone();
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        states.settle(&shared.topology)
    }

    fn has_gone(&self) {
        let pid = self.hello.pid;
        tracing::warn!("the lb before (pid {pid}) has ended before it had told all that it knew");
    }

    /// Whether it can be let go: not if its kernel path would have no agent, although the file wants one.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::daemon) fn can_go(
        &self,
        agent: bool,
        config: &Config,
        status: &SharedPathStatus,
    ) -> Result<(), UpgradeError> {
        let wanted = config.global.fast_path.attach != Attach::Off;
        if !self.hello.kernel_path || agent || !wanted {
            return Ok(());
        }
        let status = status.load();
        let reasons = status.frontends.iter().map(|frontend| &*frontend.reason);
        let why = reasons.into_iter().find(|why| !why.contains("mode http"));
        let why = why.unwrap_or("it cannot be had").to_owned();
        Err(UpgradeError::KernelPath(why))
    }

    /// All that can fail has been done. Waits for its word that everything is this process's.
    ///
    /// # Errors
    /// What it has found out meanwhile is not understood.
    pub(in crate::daemon) async fn follow(
        mut self,
        shared: &Shared,
        sources: &Sources,
    ) -> Result<Followed, UpgradeError> {
        let mut heard = listen(&self.channel)?;
        let gone = match self.channel.send(&Message::Ready, &[]) {
            Ok(()) => {
                let mut states = States::default();
                let gone = loop {
                    match heard.recv().await {
                        None => break true,
                        Some(said) => {
                            if let Next::End = states.hear(said, shared)? {
                                break false;
                            }
                        }
                    }
                };
                if !gone {
                    states.settle(&shared.topology)?;
                }
                gone
            }
            Err(_) => true,
        };
        if gone {
            tracing::warn!("the lb before has ended without its last words; this one takes over");
        }
        if let Some(stderr) = self.stderr.take()
            && let Err(error) = rustix::stdio::dup2_stderr(stderr.as_fd())
        {
            tracing::warn!("standard error is not that of the lb before: {error}");
        }
        notify::unmute();
        let left = self.listeners.left().map(str::to_owned).collect();
        Ok(Followed {
            channel: self.channel,
            heard,
            left,
            sources: sources.clone(),
        })
    }
}

/// What goes before everything that only one of both may do.
#[derive(Debug)]
pub(in crate::daemon) struct Followed {
    channel: Channel,
    heard: mpsc::UnboundedReceiver<Heard>,
    left: Vec<String>,
    sources: Sources,
}

/// The process before, while it serves its last connections.
#[derive(Debug)]
pub(in crate::daemon) struct Left {
    channel: Channel,
    gone: watch::Receiver<bool>,
}

impl Followed {
    /// Says that everything is done here, and follows what is left there.
    pub(in crate::daemon) fn serving(self, shared: Arc<Shared>) -> std::io::Result<Left> {
        let Self {
            channel,
            mut heard,
            left,
            sources,
        } = self;
        // One that has gone needs no word.
        let _ = channel.send(&Message::Serving { left }, &[]);
        let (ended, gone) = watch::channel(false);
        tokio::spawn(async move {
            while let Some(said) = heard.recv().await {
                match said.message {
                    Ok(Message::Figures(figures)) => carried::add(&sources.topology(), &figures),
                    Ok(Message::Spreads(spreads)) => {
                        carried::add_spreads(&sources.topology(), &spreads);
                    }
                    Ok(Message::Accepted { accepted, errors }) => {
                        shared.accepted.add(accepted);
                        shared.accept_errors.add(errors);
                    }
                    Ok(Message::Left(left)) => {
                        let left = left.into_iter().filter(|(_, clients)| *clients > 0);
                        sources.process.set_predecessors(left.collect());
                    }
                    _ => {}
                }
            }
            sources.process.set_predecessors(Vec::new());
            let _ = ended.send(true);
        });
        Ok(Left { channel, gone })
    }
}

impl Left {
    /// Resolves once it has ended.
    pub(in crate::daemon) fn gone(&self) -> impl Future<Output = ()> + use<> {
        let mut gone = self.gone.clone();
        async move {
            let _ = gone.wait_for(|gone| *gone).await;
        }
    }

    /// Its connections are to end at once.
    pub(in crate::daemon) fn end(&self) {
        let _ = self.channel.send(&Message::Now, &[]);
    }
}

enum Next {
    More,
    End,
}

impl States {
    fn hear(&mut self, heard: Heard, shared: &Shared) -> Result<Next, UpgradeError> {
        let Heard {
            message,
            descriptors,
        } = heard;
        let message = match message {
            Ok(message) => message,
            Err(unknown) if ["Servers", "Frontends", "Kernel"].contains(&&*unknown.name) => {
                return Err(UpgradeError::State(unknown.to_string()));
            }
            Err(unknown) => {
                tracing::warn!(
                    "what the running lb says is not understood, and left out: {unknown}"
                );
                return Ok(Next::More);
            }
        };
        match message {
            Message::Servers(mut servers) => self.servers.append(&mut servers),
            Message::Frontends(mut frontends) => self.frontends.append(&mut frontends),
            Message::Backends(mut backends) => self.backends.append(&mut backends),
            Message::Figures(figures) => carried::add(&shared.topology, &figures),
            Message::Spreads(spreads) => carried::add_spreads(&shared.topology, &spreads),
            Message::Accepted { accepted, errors } => {
                shared.accepted.add(accepted);
                shared.accept_errors.add(errors);
            }
            Message::Table(part) => self.take_table(part, &shared.topology),
            Message::Map(part) => self.take_map(part, &shared.topology),
            Message::Tls(states) => shared.topology.take_tls(&states),
            Message::Rates(rates) => shared.topology.rates.set(rates),
            Message::Kernel(denied) => {
                if let Some(lock) = descriptors.into_iter().next() {
                    Legacy { lock, denied }.take_over();
                }
            }
            Message::Told | Message::Commit => return Ok(Next::End),
            other => return Err(UpgradeError::Broken(format!("it says {other:?}"))),
        }
        Ok(Next::More)
    }

    fn settle(&self, topology: &Topology) -> Result<(), UpgradeError> {
        topology
            .take_states(&self.servers, &self.backends)
            .and_then(|()| topology.take_frontends(&self.frontends))
            .map_err(UpgradeError::State)
    }

    fn take_map(&mut self, part: CarriedMap, topology: &Topology) {
        let whole = match self.map.take() {
            Some(mut begun) if begun.path == part.path => {
                begun.append(part);
                begun
            }
            _ => part,
        };
        if !whole.last {
            self.map = Some(whole);
            return;
        }
        // One that the file has no longer is nobody's.
        let Some(map) = topology.maps.iter().find(|map| whole.is_of(map)) else {
            return;
        };
        let why = match map.take(&whole) {
            Ok(true) => return,
            Ok(false) => "the file has changed".to_owned(),
            Err(problem) => problem.message,
        };
        let path = whole.path.display();
        tracing::warn!("what was changed of {path} while lb ran is left out: {why}");
    }

    fn take_table(&self, mut part: crate::rules::CarriedTable, topology: &Topology) {
        let handle = topology
            .tables
            .iter()
            .find(|handle| handle.name() == part.name);
        // One that the file has no longer is nobody's.
        let Some(handle) = handle else { return };
        if let (Some(at), Some(backend)) = (part.servers_at, topology.backend(&part.name)) {
            let states = self
                .servers
                .iter()
                .filter(|state| state.backend == part.name);
            let numbers: HashMap<u64, u64> = states
                .filter_map(|state| {
                    let server = backend.server(&state.server)?;
                    Some((state.id.into(), server.id.into()))
                })
                .collect();
            for entry in &mut part.entries {
                // One that is gone is none.
                entry.translate(at, |id| numbers.get(&id).copied().unwrap_or(0));
            }
        }
        let name = part.name.clone();
        if !handle.take(part) {
            tracing::warn!("the table {name} is made otherwise than before, and begins empty");
        }
    }
}

/// Whether an error means that nobody is there any more.
fn gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

fn broken(unknown: Unknown) -> UpgradeError {
    UpgradeError::Broken(unknown.to_string())
}
