//! The old process's part: it starts the new one, tells it everything, and goes on as if nothing had happened if that comes to
//! nothing.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    VALUE, VARIABLE,
    channel::{Channel, FORMAT, Heard, Hello, MANY, MOST_SOCKETS, Message, Passed},
    listen, monotonic,
    process::Process,
    trust::Rights,
};
use crate::{
    admin::upgrade::Asked,
    config::haproxy,
    daemon::{notify, pidfile::Pidfile, running::Running, signals::Request, stop::STOPPING},
    fastpath::{
        FastPath,
        succession::{self, Legacy},
    },
    proxy::Shared,
    tls::CarriedTls,
    topology::carried::Sent,
};

/// So much of what the new process says is kept, for whoever asked for it.
const MOST_SAID: usize = 64 * 1024;
/// How long one that was killed may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// Why there was no upgrade; the process goes on as before.
#[derive(Debug, thiserror::Error)]
enum GiveError {
    #[error("{path} cannot be started: {source}; `--binary` names another file")]
    Start { path: String, source: io::Error },
    #[error(
        "{0} would run with lb's rights, and not root asks for it: `--binary` is for root (and, where lb has no capabilities, \
         for its own user), and without it the file must belong to root, and nobody else may be able to write it"
    )]
    NotTrusted(String),
    #[error(
        "lb is process 1 here, the first of a container: with its end all others end too; start another container instead, or \
         start lb by an init (`docker run --init`)"
    )]
    First,
    #[error("the new lb ended before it served ({0})")]
    Ended(String),
    #[error(
        "the new lb does not serve after {0:?}, and has been ended; `--timeout` gives it longer"
    )]
    Late(Duration),
    #[error("the new lb said what this one does not understand: {0}")]
    Unknown(String),
    #[error("the new lb cannot be told: {0}")]
    Tell(io::Error),
    #[error("{STOPPING}")]
    Stopping,
}

/// The process that has taken this one's place.
#[derive(Debug)]
pub(in crate::daemon) struct Successor {
    pub(super) pid: u32,
    pub(super) channel: Channel,
    pub(super) heard: mpsc::UnboundedReceiver<Heard>,
    pub(super) told: Arc<Mutex<Told>>,
}

impl Successor {
    /// What has become of the upgrade.
    pub(in crate::daemon) fn tell(&self) -> String {
        let (pid, old) = (self.pid, std::process::id());
        format!("process {pid} serves; {old} serves its last connections to their end")
    }
}

/// What it has been told of what is counted.
#[derive(Debug, Default)]
pub(super) struct Told {
    sent: Sent,
    accepted: (u64, u64),
    /// Maps, in their order, as far as they were changed then.
    maps: Vec<u64>,
    tls: Vec<(String, CarriedTls)>,
    /// How many connections, sessions and those with TLS are accepted in a second.
    rates: [u32; 3],
}

impl Told {
    /// Tells what has been added.
    pub(super) fn tell(&mut self, channel: &Channel, shared: &Shared) -> io::Result<()> {
        let figures = self.sent.next(&shared.topology);
        for part in figures.chunks(MANY) {
            channel.send(&Message::Figures(part.to_vec()), &[])?;
        }
        let spreads = self.sent.next_spreads(&shared.topology);
        for part in spreads.chunks(MANY) {
            channel.send(&Message::Spreads(part.to_vec()), &[])?;
        }
        let now = (shared.accepted.value(), shared.accept_errors.value());
        let before = std::mem::replace(&mut self.accepted, now);
        if now != before {
            let message = Message::Accepted {
                accepted: now.0.saturating_sub(before.0),
                errors: now.1.saturating_sub(before.1),
            };
            channel.send(&message, &[])?;
        }
        Ok(())
    }

    /// Tells what was changed of what files say.
    fn tell_changes(&mut self, channel: &Channel, shared: &Shared) -> io::Result<()> {
        let mut result = Ok(());
        self.maps.resize(shared.topology.maps.len(), 0);
        for (map, seen) in shared.topology.maps.iter().zip(&mut self.maps) {
            *seen = map.carry(*seen, MANY, |part| {
                if result.is_ok() {
                    result = channel.send(&Message::Map(part), &[]);
                }
            });
        }
        result?;
        let tls = shared.topology.tls_states();
        // One at a time: each may have thousands of certificates.
        for state in tls.iter().filter(|state| !self.tls.contains(state)) {
            channel.send(&Message::Tls(vec![state.clone()]), &[])?;
        }
        self.tls = tls;
        let rates = shared.topology.rates.now();
        if rates != self.rates {
            self.rates = rates;
            channel.send(&Message::Rates(rates), &[])?;
        }
        Ok(())
    }
}

/// A path, with the device and inode that are there.
type File = (PathBuf, u64, u64);

/// A process that may take this one's place.
struct New {
    process: Process,
    channel: Channel,
    heard: mpsc::UnboundedReceiver<Heard>,
    said: Arc<Mutex<String>>,
    told: Arc<Mutex<Told>>,
    /// The kernel path's agent, that ends.
    agent: Option<JoinHandle<Option<Legacy>>>,
    legacy: Option<Legacy>,
    /// What only one of both may do has been left to it.
    paused: bool,
}

impl Running {
    /// Has another process take this one's place. Or says why that came to nothing. `stop` resolves with what it is given
    /// up for.
    pub(in crate::daemon) async fn upgrade(
        &mut self,
        asked: &Asked,
        stop: impl Future<Output = Request>,
    ) -> (Result<Successor, String>, Option<Request>) {
        let path = asked.binary.clone().unwrap_or_else(|| self.binary.clone());
        tracing::info!("upgrading to {}", path.display());
        notify::reloading();
        let mut new = match self.begin_upgrade(&path, asked) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!("no upgrade: {error}");
                notify::ready("serving");
                return (Err(error.to_string()), None);
            }
        };
        let done = tokio::select! {
            biased;
            done = tokio::time::timeout(asked.timeout, self.hand_over(&mut new)) => match done {
                Ok(done) => done.map_err(|error| (error, None)),
                // Its word may have come at the same moment, and then it accepts.
                Err(_) => new.serves().ok_or((GiveError::Late(asked.timeout), None)),
            },
            request = stop => Err((GiveError::Stopping, Some(request))),
        };
        let done = match done {
            // Its last word.
            Ok(_) if new.process.status().is_some() => Err((new.ended().await, None)),
            done => done,
        };
        match done {
            Ok(left) => (Ok(self.leave_to(new, left).await), None),
            Err((error, request)) => {
                let said = self.go_on(new).await;
                tracing::error!("no upgrade, this process goes on: {error}");
                notify::ready("serving");
                let said = said.trim_end();
                let between = if said.is_empty() { "" } else { ":\n" };
                let text = format!("{error}{between}{said}\nThe running lb goes on.");
                (Err(text), request)
            }
        }
    }

    fn begin_upgrade(&self, path: &Path, asked: &Asked) -> Result<New, GiveError> {
        let failed = |source| GiveError::Start {
            path: path.display().to_string(),
            source,
        };
        if std::process::id() == 1 {
            return Err(GiveError::First);
        }
        // Opened, so that what was looked at is what is started.
        let file = fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mut program = path.as_os_str().to_owned();
        let rights = Rights::own();
        if !rights.trust(asked, metadata.uid(), metadata.mode()) {
            return Err(GiveError::NotTrusted(path.display().to_string()));
        }
        if !rights.may_name(asked.peer) {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            program = format!("/proc/self/fd/{fd}").into();
        }
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let (reader, writer) = io::pipe().map_err(failed)?;
        let mut command = Command::new(program);
        let haproxy::Options { fast_path } = &self.origin.options;
        command
            .arg0(path)
            .arg("run")
            .arg("--config")
            .arg(&self.origin.path)
            .args(fast_path.iter().flat_map(|attach| ["--fast-path", attach]))
            .env(VARIABLE, VALUE)
            // Of this process alone; what they brought is passed on otherwise.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::from(OwnedFd::from(writer)));
        let process = Process::start(&mut command).map_err(failed)?;
        // Our copies of its ends.
        drop(command);
        let said = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&said);
        let reading = thread::Builder::new().name("upgrade".into());
        // Ends with the other end.
        let _ = reading.spawn(move || keep(reader, &into));
        let heard = listen(&channel).map_err(failed)?;
        Ok(New {
            process,
            channel,
            heard,
            said,
            told: Arc::default(),
            agent: None,
            legacy: None,
            paused: false,
        })
    }

    /// Up to the new process's word that it does everything. Says what it does not listen on.
    async fn hand_over(&mut self, new: &mut New) -> Result<HashSet<String>, GiveError> {
        let (offer, files) = self.offer().await.map_err(GiveError::Tell)?;
        let hello = Hello {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            clock: self.clock_began(),
            confined: self.confined,
            kernel_path: self.fast_path.is_some(),
        };
        let rates = self.shared.topology.rates.now();
        let amendments = self.amendments.carried(rates);
        new.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rates = rates;
        new.tell(move |channel| {
            channel.send(&Message::Hello(hello), &[])?;
            if let Some(amendments) = amendments {
                channel.send(&Message::Amendments(amendments), &[])?;
            }
            for part in offer.chunks(MOST_SOCKETS) {
                let names = part.iter().map(|(name, _)| name.clone()).collect();
                let descriptors: Vec<_> = part.iter().map(|(_, fd)| fd.as_fd()).collect();
                channel.send(&Message::Sockets(names), &descriptors)?;
            }
            channel.send(&Message::Files(files), &[])?;
            channel.send(&Message::Offered, &[])
        })
        .await?;
        new.expect(|message| matches!(message, Message::Prepared).then_some(()))
            .await?;

        // From here on the kernel path has no agent: flows go on, and are taken.
        if let Some(fast_path) = self.fast_path.take() {
            let ending = new.agent.insert(tokio::spawn(fast_path.hand_over()));
            new.legacy = ending.await.ok().flatten();
            new.agent = None;
        }
        let lock = new.legacy.as_ref().map(|legacy| {
            let lock = legacy.lock()?;
            Ok::<_, io::Error>((legacy.denied.clone(), lock))
        });
        let lock = lock.transpose().map_err(GiveError::Tell)?;
        let (shared, told) = (Arc::clone(&self.shared), Arc::clone(&new.told));
        new.tell(move |channel| {
            if let Some((denied, lock)) = lock {
                channel.send(&Message::Kernel(denied), &[lock.as_fd()])?;
            }
            tell_states(channel, &shared)?;
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.tell(channel, &shared)?;
            told.tell_changes(channel, &shared)?;
            tell_tables(channel, &shared)?;
            channel.send(&Message::Told, &[])
        })
        .await?;
        new.expect(|message| matches!(message, Message::Ready).then_some(()))
            .await?;

        new.paused = true;
        self.pause();
        let (shared, told) = (Arc::clone(&self.shared), Arc::clone(&new.told));
        new.tell(move |channel| {
            // What has been found out meanwhile.
            tell_states(channel, &shared)?;
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.tell(channel, &shared)?;
            told.tell_changes(channel, &shared)?;
            channel.send(&Message::Commit, &[])
        })
        .await?;
        new.expect(serving).await
    }

    /// All descriptors that the new process needs, and the files of those that have some.
    async fn offer(&self) -> io::Result<(Vec<(Passed, OwnedFd)>, Vec<File>)> {
        let (mut offer, mut files) = (Vec::new(), HashSet::new());
        for (name, socket, file) in self.proxy.lend().await {
            offer.push((Passed::Listener(name), socket));
            // One for all workers.
            files.extend(file);
        }
        let stats = self.stats.lend();
        offer.extend(stats.map(|(name, socket)| (Passed::Stats(name), socket)));
        for admin in &self.admin {
            offer.push((Passed::Admin(admin.name()), admin.lend()?));
            files.extend(admin.file());
        }
        if let Some(pins) = succession::way() {
            let path = self.config().global.fast_path.pin_path.clone();
            offer.push((Passed::Pins(path), pins));
        }
        let stderr = rustix::stdio::stderr().try_clone_to_owned()?;
        offer.push((Passed::Stderr, stderr));
        let files = files.into_iter();
        let files = files.map(|(path, (device, inode))| (path, device, inode));
        Ok((offer, files.collect()))
    }

    /// When the clock of states began, in nanoseconds of CLOCK_MONOTONIC.
    fn clock_began(&self) -> u64 {
        let since = self.sources.topology().clock.start().elapsed();
        u64::try_from(monotonic().saturating_sub(since).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The new process does everything: this one listens on nothing any more.
    async fn leave_to(&mut self, new: New, left: HashSet<String>) -> Successor {
        // Before it is called the main process: that is to be a child of whoever hears it.
        let pid = new.process.release();
        notify::hand_over(pid);
        self.proxy.hand_over(left).await;
        if let Err(error) = self.stats.follow(None, Vec::new()) {
            tracing::debug!("the stats endpoint: {error}");
        }
        for admin in self.admin.drain(..) {
            admin.hand_over();
        }
        Successor {
            pid,
            channel: new.channel,
            heard: new.heard,
            told: new.told,
        }
    }

    /// The new process has come to nothing: it ends, and what was left to it goes on here. What it has said.
    async fn go_on(&mut self, mut new: New) -> String {
        new.process.kill();
        let _ = tokio::time::timeout(GONE, new.process.ended()).await;
        let _ = new.process.status();
        // Only now: one that lives yet would take it for this one's end, and take over.
        new.channel.shut();
        if let Some(agent) = new.agent.take() {
            new.legacy = agent.await.ok().flatten();
        }
        if let Some(legacy) = new.legacy.take() {
            let sources = &self.sources;
            let (config, topology) = (Arc::clone(self.config()), sources.topology());
            let (path, log) = (sources.path.clone(), sources.log.clone());
            match FastPath::go_on(legacy, config, topology, path, log).await {
                Ok(fast_path) => self.fast_path = Some(fast_path),
                Err(error) => tracing::error!("nobody looks after the kernel path: {error}"),
            }
        }
        if new.paused {
            self.resume();
        }
        if let Some(path) = &self.config().global.pidfile {
            match Pidfile::write(path) {
                // It goes with the one of the start.
                Ok(file) => std::mem::forget(file),
                Err(error) => tracing::warn!("{error}"),
            }
        }
        let said = new.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}

impl New {
    /// Tells it something, without anybody else waiting for it to listen.
    async fn tell(
        &self,
        say: impl FnOnce(&Channel) -> io::Result<()> + Send + 'static,
    ) -> Result<(), GiveError> {
        let channel = self.channel.try_clone().map_err(GiveError::Tell)?;
        let telling = tokio::task::spawn_blocking(move || say(&channel));
        match telling.await {
            Ok(Ok(())) => Ok(()),
            // Why it does not listen any more is the better answer.
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Ok(Err(error)) => Err(GiveError::Tell(error)),
            Err(error) => Err(GiveError::Tell(io::Error::other(error))),
        }
    }

    /// Waits for it to say what is wanted.
    async fn expect<T>(
        &mut self,
        wanted: impl FnOnce(Message) -> Option<T>,
    ) -> Result<T, GiveError> {
        let heard = tokio::select! {
            biased;
            heard = self.heard.recv() => heard,
            () = self.process.ended() => None,
        };
        let Some(heard) = heard else {
            return Err(self.ended().await);
        };
        let message = heard
            .message
            .map_err(|unknown| GiveError::Unknown(unknown.to_string()))?;
        let text = format!("{message:?}");
        wanted(message).ok_or(GiveError::Unknown(text))
    }

    /// Whether it has said by now that it serves, and then what it does not listen on.
    fn serves(&mut self) -> Option<HashSet<String>> {
        let heard = self.heard.try_recv().ok().filter(|_| self.paused)?;
        serving(heard.message.ok()?)
    }

    /// It says nothing more: how it has ended, if it has.
    async fn ended(&mut self) -> GiveError {
        // One that has only closed its end is none either.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.process.ended()).await;
        // Its last words may be on their way yet.
        tokio::time::sleep(Duration::from_millis(50)).await;
        GiveError::Ended(match self.process.status() {
            Some(status) => status.to_string(),
            _ => "it has closed its end".to_owned(),
        })
    }
}

/// The last word: what the new process does not listen on.
fn serving(message: Message) -> Option<HashSet<String>> {
    match message {
        Message::Serving { left } => Some(left.into_iter().collect()),
        _ => None,
    }
}

fn tell_states(channel: &Channel, shared: &Shared) -> io::Result<()> {
    let servers: Vec<_> = shared.topology.server_states().collect();
    for part in servers.chunks(MANY) {
        channel.send(&Message::Servers(part.to_vec()), &[])?;
    }
    let frontends: Vec<_> = shared.topology.frontend_states().collect();
    for part in frontends.chunks(MANY) {
        channel.send(&Message::Frontends(part.to_vec()), &[])?;
    }
    let backends: Vec<_> = shared.topology.backend_states().collect();
    for part in backends.chunks(MANY) {
        channel.send(&Message::Backends(part.to_vec()), &[])?;
    }
    Ok(())
}

fn tell_tables(channel: &Channel, shared: &Shared) -> io::Result<()> {
    let now = shared.topology.clock.now_ms();
    let mut result = Ok(());
    for handle in &shared.topology.tables {
        handle.carry(now, MANY, |part| {
            if result.is_ok() {
                result = channel.send(&Message::Table(part), &[]);
            }
        });
    }
    result
}

/// Keeps what the new process says, and says it as well.
fn keep(mut reader: io::PipeReader, into: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        let said = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        for line in said.lines() {
            tracing::info!("the new lb: {line}");
        }
        let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
        if into.len() < MOST_SAID {
            into.push_str(&said);
        }
    }
}
