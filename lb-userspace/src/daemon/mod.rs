//! The daemon: what starts in which order, and how it ends.
//!
//! Everything that may be refused (file limit, binds, admin socket, pidfile, user) is had before the first connection is
//! accepted, so that a start that fails changes nothing. Then the workers accept, and only then come health checks and
//! the kernel path, which nobody waits for.

use std::{
    io,
    net::TcpListener,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
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
mod stop;
mod watch;

use pidfile::Pidfile;
use running::Running;
use sandbox::Sandbox;
use signals::Signals;

use crate::{
    admin::{
        client::DEFAULT_SOCKET,
        desk::Desk,
        socket::{AdminSocket, SocketError},
    },
    config::{
        Config, haproxy,
        model::{Bind, OnStop},
    },
    health::message,
    observe::{
        log::{Sink, Writer, bridge, sink::Opened},
        path::SharedPathStatus,
        stats::{Process, Sources, endpoint},
    },
    proxy::{ListenError, Listeners, Proxy, Shared, tcp::MAX_PIPES},
    topology::{Event, Topology},
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
    /// A certificate or key.
    #[error("{0}: {1}; {mend}", mend = .1.mend())]
    Tls(String, crate::tls::TlsError),
    /// A thread, a runtime or a signal handler.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

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
/// served.
pub fn run(config: Config, origin: Origin) -> ExitCode {
    pages::keep_small();
    match Daemon::start(config, origin).and_then(Daemon::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What the daemon holds while it runs. Fields are dropped in this order: the log goes last.
struct Daemon {
    /// Of the control plane; the workers have their own.
    runtime: Runtime,
    signals: Signals,
    running: Running,
    stats: Vec<(Bind, TcpListener)>,
    admin: Vec<AdminSocket>,
    _pidfile: Option<Pidfile>,
    _sandbox: Sandbox,
    _log: Writer,
}

impl Daemon {
    /// Does everything up to accepting.
    fn start(config: Config, origin: Origin) -> Result<Self, StartError> {
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
        second::refuse(&global.admin_socket)?;
        let identity = privileges::plan(global)?;
        let workers = global.threads.map_or_else(cores, NonZeroUsize::get);
        let maxconn = files::raise(global.maxconn, fixed_descriptors(&config, workers))?;

        let topology = Arc::new(Topology::new(&config));
        // While whoever starts lb may still read keys that `user` may not.
        topology
            .load_tls()
            .map_err(|(whose, error)| StartError::Tls(whose, error))?;
        let listeners = Listeners::open(&topology, workers)?;
        let stats = match &config.stats {
            Some(stats) => endpoint::listen(&stats.binds)?,
            None => Vec::new(),
        };
        let log = Opened::open(&bridge::targets(&global.log))?;
        let admin = admin_sockets(&config)?;
        let pidfile = global.pidfile.as_deref().map(Pidfile::write).transpose()?;
        let opened = confine::Opened {
            listeners: &listeners,
            stats: &stats,
            admin: &admin,
        };
        let sandbox = confine::confine(&config, identity.as_ref(), opened)?;
        // Threads from here on.
        let (log, writer) = log.start()?;
        bridge::attach(log.clone());

        let process = Arc::new(Process::new(workers, Some(maxconn)));
        let sources = Sources::new(
            Arc::clone(&topology),
            process,
            SharedPathStatus::default(),
            log.clone(),
        );
        let shared = Arc::new(Shared::new(topology, Arc::clone(&config), log, maxconn));
        shared.show(&sources);
        let proxy = Proxy::start(&shared, listeners)?;
        Ok(Self {
            running: Running::new(config, origin, shared, proxy, sources),
            runtime,
            signals,
            stats,
            admin,
            _pidfile: pidfile,
            _sandbox: sandbox,
            _log: writer,
        })
    }

    /// Checks, answers and listens for signals, until a stop is complete.
    fn serve(mut self) -> Result<(), StartError> {
        let Self {
            runtime,
            signals,
            running,
            stats,
            admin,
            ..
        } = &mut self;
        let served = runtime.block_on(async {
            let sources = running.sources.clone();
            let mut tasks = JoinSet::new();
            let events = sources.topology().events();
            tasks.spawn(log_events(events, sources.log.clone()));
            tasks.spawn(notify::watch(running.proxy.pulses()));
            running.begin(std::mem::take(stats));
            let shown = admin.iter().map(AdminSocket::shown).collect();
            let sessions = running.proxy.sessions();
            let desk = Desk::new(sources.clone(), running.wishes(), sessions, shown);
            for admin in admin.drain(..) {
                let desk = desk.clone();
                tasks.spawn(async move {
                    if let Err(error) = admin.serve(desk).await {
                        tracing::error!("the admin socket cannot be served: {error}");
                    }
                });
            }
            let topology = sources.topology();
            notify::status("serving; the kernel path is being loaded");
            running.fast_path =
                fast_path::start(running.config(), &topology, &sources.path, &sources.log).await?;
            tracing::info!("lb {} is running", env!("CARGO_PKG_VERSION"));
            notify::ready("serving");
            background::ready();
            stop::wait(signals, running).await;
            let config = Arc::clone(running.config());
            health_file::fail(config.global.health_file.as_ref());
            if let Some(fast_path) = running.fast_path.take() {
                let keep = config.global.fast_path.on_stop == OnStop::Keep;
                fast_path.finish(keep).await;
            }
            tracing::info!("lb has stopped");
            Ok(())
        });
        // A file that was being read when the stop was asked for may ask for names yet, which takes minutes.
        self.runtime.shutdown_background();
        served
    }
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

/// Opens the admin sockets. The one that nobody asked for may fail: an unprivileged user cannot make it, and serving
/// matters more.
fn admin_sockets(config: &Config) -> Result<Vec<AdminSocket>, SocketError> {
    let mut opened = Vec::new();
    for socket in &config.global.admin_sockets {
        let is_default = socket.address.path() == Some(Path::new(DEFAULT_SOCKET));
        match AdminSocket::bind(socket) {
            Ok(socket) => opened.push(socket),
            Err(error) if is_default => {
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
                log.event(level, &text);
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!("{missed} changes of servers' states came too fast to be logged");
            }
            Err(RecvError::Closed) => return,
        }
    }
}
