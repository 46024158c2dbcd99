//! The in-kernel fast path as the agent sees it: loading and pinning, the maps, next hops, idle flows, counters.
//!
//! `kernel` is the one adapter to bpf(2). `image` computes what the maps should hold from the running model and the
//! network, and is pure; `sync` writes the differences; `agent` is the loop that does so at each change, in a thread
//! of its own so that nothing in userspace waits for the kernel.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use tokio::sync::{mpsc, oneshot, watch};

mod agent;
mod arena;
mod attach;
mod capacity;
mod census;
mod clock;
mod deny;
mod error;
mod family;
mod flow_log;
mod flows;
mod image;
mod kernel;
pub mod net;
pub mod object;
mod orphan;
mod others;
mod packets;
mod pins;
mod pmtu;
mod poke;
mod reaper;
mod recount;
mod registry;
mod reset;
mod slots;
mod sockets;
pub mod succession;
mod sweep;
mod sync;
mod sys;
mod tables;
mod trace;
mod traffic;
mod transition;
mod words;

pub use agent::no_kernel_path;
pub use deny::Changes as DenyChanges;
pub use error::FastPathError;
pub use others::Common;
pub use pins::Owner;

use succession::Legacy;

use crate::{
    capabilities::{self, Capability},
    config::Config,
    config::model::Attach,
    observe::{log::Sink, path::SharedPathStatus},
    topology::Topology,
};

/// A running fast path.
#[derive(Debug)]
pub struct FastPath {
    commands: mpsc::UnboundedSender<Command>,
    active: watch::Receiver<u64>,
    leaving: bool,
}

/// What the loop may be told.
#[derive(Debug)]
enum Command {
    /// Say whether another configuration asks for something that cannot be had.
    Try {
        config: Arc<Config>,
        topology: Arc<Topology>,
        done: oneshot::Sender<Result<(), FastPathError>>,
    },
    /// Follow another configuration; answered once the maps hold what it says.
    Follow {
        config: Arc<Config>,
        topology: Arc<Topology>,
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Take no new flows; answered once the kernel knows and the active flows have been counted.
    Drain { done: oneshot::Sender<()> },
    /// End, and leave everything to another process's agent.
    HandOver { done: oneshot::Sender<Legacy> },
    /// End: leave everything pinned and attached, or remove it.
    Finish {
        keep: bool,
        done: oneshot::Sender<()>,
    },
}

impl FastPath {
    /// Starts the fast path in a thread of its own and waits until the kernel forwards. With `attach: off` it takes over
    /// what an earlier agent left, and no new flows.
    ///
    /// # Errors
    /// [`FastPathError`] says why there is none, and the mend.
    pub async fn start(
        config: Arc<Config>,
        topology: Arc<Topology>,
        status: SharedPathStatus,
        log: Sink,
    ) -> Result<Self, FastPathError> {
        let (fast_path, begin, receiver) =
            Self::prepare(config, topology, (status, log), Purpose::Serve);
        let (started, result) = oneshot::channel();
        in_a_thread(async move {
            match agent::Agent::start(begin).await {
                Ok(agent) => {
                    let _ = started.send(Ok(()));
                    agent.run(receiver).await;
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
        match result.await {
            Ok(result) => result.map(|()| fast_path),
            Err(_) => Err(FastPathError::System(io::Error::other(
                "it ended without a word",
            ))),
        }
    }

    /// Goes on with what an agent of this process has left, attached as it is, whatever the file says by now. Where that
    /// cannot be had it is tried again and again; until then the status says that nobody looks after the kernel path. Waits
    /// for the first try.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub async fn go_on(
        legacy: Legacy,
        config: Arc<Config>,
        topology: Arc<Topology>,
        status: SharedPathStatus,
        log: Sink,
    ) -> io::Result<Self> {
        let (fast_path, begin, mut receiver) =
            Self::prepare(config, topology, (status, log), Purpose::GoOn);
        let (tried, first) = oneshot::channel();
        let orphan = orphan::Orphan::new(begin, legacy);
        in_a_thread(async move {
            if let Some(agent) = orphan.find_an_agent(&mut receiver, tried).await {
                agent.run(receiver).await;
            }
        })?;
        // A thread that has ended has tried.
        let _ = first.await;
        Ok(fast_path)
    }

    /// The way to an agent, what that starts with, and where it hears of what it is told.
    fn prepare(
        config: Arc<Config>,
        topology: Arc<Topology>,
        (status, log): (SharedPathStatus, Sink),
        purpose: Purpose,
    ) -> (Self, Begin, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (active_sender, active) = watch::channel(0);
        let fast_path = Self {
            commands,
            active,
            leaving: config.global.fast_path.attach == Attach::Off,
        };
        let begin = Begin {
            config,
            topology,
            status,
            log,
            active: active_sender,
            purpose,
        };
        (fast_path, begin, receiver)
    }

    /// Whether it only serves an earlier lb's flows to their end.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Resolves once no flow is active.
    pub async fn emptied(&self) {
        // A loop that is gone counts none.
        let _ = self.active.clone().wait_for(|active| *active == 0).await;
    }

    /// Whether all that another configuration asks for, and this one does not, can be had.
    ///
    /// # Errors
    /// What cannot, with the mend.
    pub async fn can_follow(
        &self,
        config: Arc<Config>,
        topology: Arc<Topology>,
    ) -> Result<(), FastPathError> {
        let (done, answer) = oneshot::channel();
        let command = Command::Try {
            config,
            topology,
            done,
        };
        // One that is gone refuses nothing: what follows says so.
        match self.commands.send(command) {
            Ok(()) => answer.await.unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }

    /// Follows another configuration. Flows that there are go on; no service that stays is missing for an instant.
    ///
    /// # Errors
    /// Why the maps do not hold all that it says yet; that is tried again.
    pub async fn follow(&self, config: Arc<Config>, topology: Arc<Topology>) -> Result<(), String> {
        let (done, followed) = oneshot::channel();
        let command = Command::Follow {
            config,
            topology,
            done,
        };
        let gone = || "its thread is gone".to_owned();
        self.commands.send(command).map_err(|_| gone())?;
        followed.await.map_err(|_| gone())?
    }

    /// Ends and leaves everything as it is, for the agent of another process. `None` if it was gone.
    pub async fn hand_over(self) -> Option<Legacy> {
        let (done, left) = oneshot::channel();
        self.commands.send(Command::HandOver { done }).ok()?;
        left.await.ok()
    }

    /// New flows go to userspace from now on, as in [`FastPath::drain`], which nobody waits for.
    pub fn quiet(&self) {
        let (done, _) = oneshot::channel();
        // A loop that is gone takes none.
        let _ = self.commands.send(Command::Drain { done });
    }

    /// First phase of a stop: new flows go to userspace, known ones go on. Waits until none is active.
    pub async fn drain(&self) {
        let (done, counted) = oneshot::channel();
        // A loop that is gone has no flows to drain.
        if self.commands.send(Command::Drain { done }).is_ok() && counted.await.is_ok() {
            let _ = self.active.clone().wait_for(|active| *active == 0).await;
        }
    }

    /// Last phase: removes the programs, maps and reserved ports, or with `keep` leaves them to work on.
    pub async fn finish(self, keep: bool) {
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::Finish { keep, done }).is_ok() {
            let _ = finished.await;
        }
    }
}

/// What an agent starts with.
#[derive(Debug, Clone)]
struct Begin {
    config: Arc<Config>,
    topology: Arc<Topology>,
    status: SharedPathStatus,
    log: Sink,
    active: watch::Sender<u64>,
    purpose: Purpose,
}

/// What an agent starts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To forward as the file says, or not at all.
    Serve,
    /// To look after what forwards already, as well as it can be had.
    GoOn,
}

/// Runs in the agent's thread, with a runtime of its own.
fn in_a_thread(work: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    // Made here: whoever waits for the thread is told why there is none.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = thread::Builder::new().name("fast-path".into());
    thread.spawn(move || runtime.block_on(work))?;
    Ok(())
}

/// What the kernel would refuse everything without, and not say why. CAP_PERFMON is the verifier's word.
const NEEDED: [Capability; 2] = [Capability::Bpf, Capability::NetAdmin];

/// Does what the kernel path needs the rights for that lb may start with: a BPF file system, its folder there, which
/// becomes `owner`'s, and memory for its maps. What else stands in its way is for [`FastPath::start`] to say.
///
/// # Errors
/// Another lb is at work there, or has a kernel path that this one's would meet.
pub fn prepare(config: &Config, owner: Option<Owner>) -> Result<(), FastPathError> {
    if !capabilities::lacking(&NEEDED).is_empty() {
        return Ok(());
    }
    let wanted = config.global.fast_path.attach != Attach::Off;
    if wanted {
        others::refuse(config)?;
    }
    let pin_path = &config.global.fast_path.pin_path;
    // Kernels before 5.11 count maps as locked memory.
    let memory = rustix::process::Resource::Memlock;
    let unlimited = rustix::process::Rlimit {
        current: None,
        maximum: None,
    };
    let _ = rustix::process::setrlimit(memory, unlimited);
    let prepared = pins::Pins::open(pin_path).and_then(|pins| {
        pins.lock()?;
        owner.map_or(Ok(()), |owner| pins.give_to(owner))
    });
    match prepared {
        // What was left over may have found another who cares for it.
        Err(error @ FastPathError::InUse { .. }) if wanted => Err(error),
        Err(error) => {
            tracing::debug!("the kernel path's folder: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Whether an earlier agent left a kernel path at the configured place, and is none of another lb's that is at work.
pub fn is_left_over(config: &Config) -> bool {
    let pins = pins::Pins::at(&config.global.fast_path.pin_path);
    pins.has_maps() && !pins.is_in_use()
}

/// Removes what an earlier agent left at the configured place, if nobody looks after it: nothing forwards by it any more.
///
/// # Errors
/// Why it stays.
pub fn remove_left_over(config: &Config) -> Result<(), FastPathError> {
    let pin_path = &config.global.fast_path.pin_path;
    let pins = pins::Pins::at(pin_path);
    let _lock = pins.lock()?;
    kernel::remove_everything(&pins)?;
    if let Err(error) = reservation(config).release() {
        tracing::warn!("source ports stay reserved: {error}");
    }
    Ok(())
}

/// What is reserved of the host's ports.
fn reservation(config: &Config) -> net::ports::Reservation {
    let name = state_name("ports", &config.global.fast_path.pin_path);
    net::ports::Reservation::new(state_folder(config).join(name))
}

/// Where the agent keeps what it reserved: beside the admin socket, since bpffs holds no ordinary files.
fn state_folder(config: &Config) -> PathBuf {
    let folder = config
        .global
        .admin_socket
        .parent()
        .unwrap_or(Path::new("/run"));
    if folder.is_dir() {
        folder.into()
    } else {
        std::env::temp_dir()
    }
}

/// Name of a file of state for a pin path, so that two instances on one host have their own.
fn state_name(what: &str, pin_path: &Path) -> String {
    let flat: String = pin_path
        .to_string_lossy()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!("fast-path{flat}.{what}")
}
