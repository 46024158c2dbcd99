//! The daemon: what starts in which order, and how it ends.
//!
//! Everything that may be refused (file limit, binds, admin socket, pidfile, user) is had before the first connection is
//! accepted, so that a start that fails changes nothing. Then the workers accept, and only then come health checks and
//! the kernel path, which nobody waits for. Where this process takes another's place, they accept last of all.

use std::{
    io,
    net::TcpListener,
    num::NonZeroUsize,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    sync::broadcast::{self, error::RecvError},
    task::JoinSet,
};

mod amend;
pub mod background;
mod confine;
mod fast_path;
mod files;
mod follow;
mod health_file;
mod notify;
mod pages;
mod pidfile;
mod privileges;
mod reload;
mod running;
mod sandbox;
mod second;
mod signals;
mod stats_file;
mod stop;
mod upgrade;
mod watch;
mod written;

use amend::Amendments;
use pidfile::Pidfile;
use running::Running;
use sandbox::Sandbox;
use signals::Signals;
pub use upgrade::{Predecessor, UpgradeError, be_keeper};

use crate::{
    admin::{
        self,
        client::DEFAULT_SOCKET,
        desk::Desk,
        socket::{AdminSocket, SocketError},
    },
    config::{
        Config, haproxy,
        model::{Bind, LogTo},
    },
    health::message,
    observe::{
        log::{Sink, Writer, bridge, sink::Opened},
        path::SharedPathStatus,
        stats::{Process, Sources, endpoint, history},
    },
    proxy::{Files, ListenError, Listeners, Proxy, Shared, tcp::MAX_PIPES},
    topology::{Clock, Event, Topology},
};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It runs already.
    #[error(transparent)]
    Second(#[from] second::SecondError),
    /// Too few file descriptors.
    #[error(transparent)]
    Files(#[from] files::FileLimitError),
    /// A frontend's bind.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The stats endpoint's bind.
    #[error(transparent)]
    Stats(#[from] endpoint::ListenError),
    /// A log target.
    #[error(transparent)]
    Log(#[from] crate::observe::log::sink::StartError),
    /// The admin socket.
    #[error(transparent)]
    Admin(#[from] SocketError),
    /// The kernel path, where the file insists on it.
    #[error(transparent)]
    FastPath(#[from] crate::fastpath::FastPathError),
    /// The pidfile.
    #[error(transparent)]
    Pidfile(#[from] pidfile::PidfileError),
    /// `global.user`.
    #[error(transparent)]
    Privileges(#[from] privileges::PrivilegesError),
    /// The process whose place this one takes.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// A certificate or key.
    #[error("{0}: {1}; {mend}", mend = .1.mend())]
    Tls(String, crate::tls::TlsError),
    /// A thread, a runtime or a signal handler.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// How long those may take whose questions have come before an upgrade.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// The same at a stop.
const A_MOMENT: Duration = Duration::from_millis(200);

/// Where the configuration comes from, to be read again.
#[derive(Debug, Clone)]
pub struct Origin {
    path: PathBuf,
    options: haproxy::Options,
    /// The files as they were when they were last read: from just before that.
    seen: watch::Seen,
}

impl Origin {
    /// A file, read as `options` say, after this.
    pub fn new(path: &Path, options: haproxy::Options) -> Self {
        // The process may change its folder.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            seen: watch::look(&path),
            path,
            options,
        }
    }
}

/// Runs `config`, which was read from `origin`, until a signal ends it. Errors are logged; the exit code tells whether it
/// served. `before` is the process whose place this one takes, if there is one.
pub fn run(config: Config, origin: Origin, before: Option<Predecessor>) -> ExitCode {
    pages::keep_small();
    match Daemon::start(config, origin, before).and_then(Daemon::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What the daemon holds while it runs. Fields are dropped in this order: the log goes last.
struct Daemon {
    /// The process whose place this one takes.
    before: Option<Predecessor>,
    /// The files of frontends' unix sockets, as long as they are those of `before`.
    files: Option<Files>,
    /// What is listened on once `before` accepts no more: whoever came to a process that ends after all would be reset.
    listeners: Vec<Listeners>,
    /// Of the control plane; the workers have their own.
    runtime: Runtime,
    signals: Signals,
    running: Running,
    stats: Vec<(Bind, TcpListener)>,
    admin: Vec<AdminSocket>,
    pidfile: Option<Pidfile>,
    _sandbox: Sandbox,
    _log: Writer,
}

impl Daemon {
    /// Does everything up to accepting.
    fn start(
        mut config: Config,
        origin: Origin,
        mut before: Option<Predecessor>,
    ) -> Result<Self, StartError> {
        let mut amendments = match &before {
            Some(before) => {
                let of = Amendments::of(&before.amendments, &config);
                let (mut amendments, mut lost) = of.map_err(UpgradeError::Amendment)?;
                lost.extend(amendments.apply(&mut config));
                for lost in lost {
                    tracing::warn!("{lost}");
                }
                amendments
            }
            None => Amendments::default(),
        };
        let config = Arc::new(config);
        let global = &config.global;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // From here on no signal ends the process without its leave.
        let signals = {
            let _runtime = runtime.enter();
            Signals::new()?
        };
        let lent = before.as_mut().and_then(|b| b.admin(&global.admin_socket));
        if lent.is_none() {
            second::refuse(&global.admin_socket)?;
        }
        let identity = privileges::plan(global)?;
        let workers = global.threads.map_or_else(cores, NonZeroUsize::get);
        let hard = files::raise(global.maxconn, fixed_descriptors(&config, workers))?;
        let maxconn = amendments.maxconn(global.maxconn, hard);

        let clock = before.as_ref().map(Predecessor::clock);
        let clock = clock.unwrap_or_else(|| Clock::new(Instant::now()));
        let topology = Arc::new(Topology::begun(&config, clock));
        // While whoever starts lb may still read keys that `user` may not.
        topology
            .load_tls()
            .map_err(|(whose, error)| StartError::Tls(whose, error))?;
        if let Some(rates) = before.as_ref().and_then(|before| before.amendments.rates()) {
            topology.rates.set(rates);
        }
        let kept = global.stats_file.as_ref().filter(|_| before.is_none());
        let curves = kept.and_then(|path| stats_file::read(path, &topology));
        let listeners = match &mut before {
            Some(before) => Listeners::open_with(&topology, workers, &mut before.listeners)?,
            None => Listeners::open(&topology, workers)?,
        };
        let binds = config.stats.as_ref().map_or(&[][..], |stats| &stats.binds);
        let (mut stats, missing) = match &mut before {
            Some(before) => before.stats(binds, endpoint::name),
            None => (Vec::new(), binds.to_vec()),
        };
        stats.extend(endpoint::listen(&missing)?);
        let log = Opened::open_all(&bridge::targets(&global.log), &config.logs)?;
        let admin = admin_sockets(&config, before.as_mut(), lent)?;
        let pidfile = match &before {
            // Until it has taken over, the service is the other process.
            Some(_) => None,
            None => global.pidfile.as_deref().map(Pidfile::write).transpose()?,
        };
        let files = before.is_some().then(|| Listeners::files(&listeners));
        let opened = confine::Opened {
            listeners: &listeners,
            stats: &stats,
            admin: &admin,
        };
        let sandbox = confine::confine(&config, identity.as_ref(), opened, before.as_ref())?;
        // Threads from here on.
        let (log, writer) = log.start()?;
        bridge::attach(log.clone());
        if let Some(identity) = &identity {
            identity.complain_of_files(&topology.tls_files());
        }

        let process = Arc::new(Process::new(workers, Some(hard)));
        process.set_maxconn(Some(maxconn));
        let sources = Sources::new(
            Arc::clone(&topology),
            process,
            SharedPathStatus::default(),
            log.clone(),
        );
        if let Some(curves) = curves {
            curves.restore(&sources.history);
        }
        let shared = Arc::new(Shared::new(topology, Arc::clone(&config), log, maxconn));
        shared.show(&sources);
        if let Some(before) = &before {
            before.take_states(&shared)?;
        }
        let (now, listeners) = match &before {
            Some(_) => (
                (0..workers).map(|_| Listeners::default()).collect(),
                listeners,
            ),
            None => (listeners, Vec::new()),
        };
        let proxy = Proxy::start(&shared, now)?;
        let mut running = Running::new(config, origin, shared, proxy, sources);
        running.confined = sandbox.is_confined();
        running.amendments = amendments;
        Ok(Self {
            before,
            files,
            listeners,
            running,
            runtime,
            signals,
            stats,
            admin,
            pidfile,
            _sandbox: sandbox,
            _log: writer,
        })
    }

    /// Checks, answers and listens for signals, until a stop is complete.
    fn serve(mut self) -> Result<(), StartError> {
        let Self {
            before,
            files,
            listeners,
            runtime,
            signals,
            running,
            stats,
            admin,
            pidfile,
            ..
        } = &mut self;
        let served = runtime.block_on(async {
            let sources = running.sources.clone();
            let mut tasks = JoinSet::new();
            let mut answering = JoinSet::new();
            let events = sources.topology().events();
            tasks.spawn(log_events(events, sources.log.clone()));
            tasks.spawn(history::keep(sources.clone()));
            let topology = sources.topology();
            if before.is_none() {
                running.begin(std::mem::take(stats));
                running.admin = serve_admin(std::mem::take(admin), &mut answering, running)?;
                tasks.spawn(notify::watch(running.proxy.pulses()));
            }
            notify::status("serving; the kernel path is being loaded");
            running.fast_path =
                fast_path::start(running.config(), &topology, &sources.path, &sources.log).await?;
            if let Some(before) = before.take() {
                before.can_go(running.fast_path.is_some(), running.config(), &sources.path)?;
                let followed = tokio::select! {
                    followed = before.follow(&running.shared, &sources) => followed.map(Some),
                    // Whoever ends this process now means the service, which is still the other.
                    _ = signals.stop() => Ok(None),
                };
                let Some(followed) = followed.transpose() else {
                    running.leave_kernel_path().await;
                    return Ok(());
                };
                let followed = match followed {
                    Ok(followed) => followed,
                    Err(error) => {
                        running.leave_kernel_path().await;
                        return Err(error.into());
                    }
                };
                running.begin(std::mem::take(stats));
                running.admin = serve_admin(std::mem::take(admin), &mut answering, running)?;
                // Nothing fails any more that would take them along. Not kept: a name goes with its listener.
                if let Some(files) = files.take() {
                    files.own();
                }
                running.admin.iter().for_each(admin::socket::Handle::own);
                tasks.spawn(notify::watch(running.proxy.pulses()));
                match running
                    .config()
                    .global
                    .pidfile
                    .as_deref()
                    .map(Pidfile::write)
                {
                    Some(Ok(written)) => *pidfile = Some(written),
                    Some(Err(error)) => tracing::warn!("{error}"),
                    None => {}
                }
                // What waits in the sockets meanwhile, whoever of both has them, waits for this.
                running.before = Some(followed.serving(Arc::clone(&running.shared))?);
                running.proxy.listen(std::mem::take(listeners)).await;
            }
            let stats_file = running.config().global.stats_file.clone();
            let kept = stats_file
                .clone()
                .map(|path| tasks.spawn(stats_file::keep(path, sources.clone())));
            tracing::info!("lb {} is running", env!("CARGO_PKG_VERSION"));
            notify::ready("serving");
            background::ready();
            if let Some(successor) = stop::wait(signals, running).await {
                // From now on the file is the other's.
                if let Some(kept) = kept {
                    kept.abort();
                }
                let elsewhere = upgrade::serve_last(successor, signals, running).await;
                // Whoever has asked for the upgrade, above all.
                let last = tokio::time::timeout(LAST_ANSWERS, all(&mut answering));
                running.refusing(&elsewhere, last).await;
                tracing::info!("the last connection from before the upgrade has ended");
                return Ok(());
            }
            let config = Arc::clone(running.config());
            health_file::fail(config.global.health_file.as_ref());
            fast_path::finish(running.fast_path.take(), &config).await;
            if let Some(path) = &stats_file {
                stats_file::write(path, &sources.topology(), &sources.history);
            }
            for admin in running.admin.drain(..) {
                admin.close();
            }
            // Whoever was told that there is a stop, as a rule. One that says nothing is not waited for.
            let last = tokio::time::timeout(A_MOMENT, all(&mut answering));
            running.refusing(stop::STOPPING, last).await;
            tracing::info!("lb has stopped");
            Ok(())
        });
        // A file that was being read when the stop was asked for may ask for names yet, which takes minutes.
        self.runtime.shutdown_background();
        served
    }
}

/// Resolves once all tasks have ended.
async fn all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// Answers on the admin sockets.
fn serve_admin(
    admin: Vec<AdminSocket>,
    answering: &mut JoinSet<()>,
    running: &Running,
) -> io::Result<Vec<admin::socket::Handle>> {
    let shown = admin.iter().map(AdminSocket::shown).collect();
    let sessions = running.proxy.sessions();
    let desk = Desk::new(running.sources.clone(), running.wishes(), sessions, shown);
    let mut handles = Vec::new();
    for admin in admin {
        let handle = admin.handle()?;
        let served = admin.serve_by(&handle, desk.clone());
        answering.spawn(async move {
            if let Err(error) = served.await {
                tracing::error!("an admin socket cannot be served: {error}");
            }
        });
        handles.push(handle);
    }
    Ok(handles)
}

/// Cores that this process may use.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Descriptors besides those of connections: listeners, each worker's runtime and pipes, a check of each
/// server.
fn fixed_descriptors(config: &Config, workers: usize) -> u64 {
    const PER_WORKER: usize = 8 + 2 * MAX_PIPES;
    let binds: usize = config
        .frontends
        .iter()
        .map(|frontend| frontend.binds.len())
        .sum();
    let servers: usize = config
        .backends
        .iter()
        .map(|backend| backend.servers.len())
        .sum();
    u64::try_from(workers * (binds + PER_WORKER) + servers).unwrap_or(u64::MAX)
}

/// Opens the admin sockets, but for those that another process lends. The one that nobody asked for may fail: an unprivileged
/// user cannot make it, and serving matters more.
fn admin_sockets(
    config: &Config,
    mut before: Option<&mut Predecessor>,
    own: Option<OwnedFd>,
) -> Result<Vec<AdminSocket>, SocketError> {
    let (mut opened, mut own) = (Vec::new(), own);
    for socket in &config.global.admin_sockets {
        let name = admin::socket::name(&socket.address);
        let lent = match name == config.global.admin_socket {
            true => own.take(),
            false => before.as_mut().and_then(|before| before.admin(&name)),
        };
        if let Some(lent) = lent {
            let file = before.as_ref().and_then(|before| before.file(&name));
            opened.push(AdminSocket::lent(socket, lent, file));
            continue;
        }
        match AdminSocket::bind(socket) {
            Ok(socket) => opened.push(socket),
            Err(error) if name.as_os_str() == DEFAULT_SOCKET => {
                tracing::warn!("{error}; running without it (global.admin_socket names another)");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(opened)
}

/// Writes the changes of servers' states to the log, as they come.
async fn log_events(mut events: broadcast::Receiver<Event>, log: Sink) {
    loop {
        match events.recv().await {
            Ok(event) => {
                let (level, text) = message::message(&event);
                log.event_of(LogTo::backend(&event.backend), level, &text);
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!("{missed} changes of servers' states came too fast to be logged");
            }
            Err(RecvError::Closed) => return,
        }
    }
}
