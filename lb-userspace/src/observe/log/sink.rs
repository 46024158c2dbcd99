//! The queue between those who have something to log and the thread that sends it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;

use super::{
    custom::{self, Facts},
    held, httplog, json,
    kept::Kept,
    level::Level,
    record::{Common, HttpRecord, TcpRecord},
    target::{Target, TargetError},
    targets::{Forms, Targets, Wanted},
    tcplog,
    termination::{Cause, Phase, Termination},
};
use crate::{
    config::model::{AccessLog, LogDestination, LogFormat, LogOptions, LogTarget, LogTo, ProxyLog},
    rules::LogLevel,
};

/// Lines that may wait. At a hundred thousand a second this is what a stalled receiver may cost before lines are lost.
const QUEUE: usize = 16 * 1024;
/// So many lines at a time the thread says that it has taken: each time costs those who log a look into its cache.
const TOLD: usize = 64;
/// After a batch the thread rests this long, so that under load a sender seldom has to wake it, and its own waking, with
/// all that it takes out of the caches of whoever shares its processor, is a matter of some hundred lines.
const BATCH: Duration = Duration::from_millis(8);
/// The longest the idle thread sleeps without being woken.
const IDLE: Duration = Duration::from_millis(500);
/// While a stream has lines to take, it is tried this often.
const RETRY: Duration = Duration::from_millis(20);
/// At the end, what streams have not taken yet is waited for no longer than this.
const LAST: Duration = Duration::from_millis(500);
/// Room for a usual line.
const USUAL_LINE: usize = 256;

/// One line on its way.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) to: LogTo,
    pub(super) at: SystemTime,
    pub(super) content: Content,
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Content {
    /// It is written.
    Written {
        /// For targets that want text, if any does.
        text: Option<String>,
        /// For targets that want JSON, if any does.
        json: Option<String>,
        /// Beside the text, for targets that want it.
        structured: Option<String>,
    },
    /// It is yet to be, as text.
    Kept(Box<Kept>),
}

/// Lines that go to the thread together.
#[derive(Debug)]
enum Lines {
    One(Line),
    Many(Vec<Line>),
}

/// Where log lines go in. Cheap to clone; never blocks, takes no lock.
#[derive(Debug, Clone)]
pub struct Sink {
    shared: Arc<Shared>,
    /// It takes any number, and its memory goes with them: one of a fixed size would be gone through from its beginning to
    /// its end, and nothing of it ever be in a cache.
    queue: Sender<Lines>,
    thread: Thread,
}

#[derive(Debug)]
struct Shared {
    /// What anybody takes of whose lines: no others are made.
    wanted: ArcSwap<Wanted>,
    /// The same where nobody has targets of his own, as [`Wanted::packed`].
    alike: AtomicU32,
    /// What lines go to from now on, until the thread has taken it.
    next: Mutex<Option<Targets>>,
    stop: AtomicBool,
    /// The thread is about to park, or has.
    idle: AtomicBool,
    /// Lines in the queue, no more than [`QUEUE`].
    waiting: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// What became of the lines so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// Taken from the queue.
    pub written: u64,
    /// Lost because the queue was full.
    pub dropped: u64,
    /// Times that a target refused a line.
    pub failed: u64,
}

impl Totals {
    /// Times that somebody who was to have a line has not got it.
    pub fn lost(&self) -> u64 {
        self.dropped.saturating_add(self.failed)
    }
}

impl Sink {
    /// Opens `targets` and starts the log thread: [`Opened::open`], [`Opened::start`].
    ///
    /// # Errors
    /// A target that cannot be opened, or no thread.
    pub fn start(targets: &[LogTarget]) -> Result<(Self, Writer), StartError> {
        Opened::open(targets)?.start()
    }

    /// From now on lines go to `targets`; those that wait to be written already do so too.
    pub fn retarget(&self, targets: Opened) {
        let next = self.shared.next.lock();
        *next.unwrap_or_else(PoisonError::into_inner) = Some(targets.targets);
        let alike = targets.wanted.packed();
        self.shared.wanted.store(Arc::new(targets.wanted));
        self.shared.alike.store(alike, Ordering::Release);
    }

    /// Logs a finished request.
    pub fn http(&self, record: &HttpRecord<'_>) {
        let Some(level) = level_of(&record.common, record.status) else {
            return;
        };
        let common = &record.common;
        // Which is now.
        let at = common.accepted + common.total;
        let wanted = self.wanted(common.options.to, level);
        if wanted == Forms::TEXT
            && let Some(kept) = Kept::of(record)
        {
            return self.hold(Line {
                level,
                to: common.options.to,
                at,
                content: Content::Kept(kept),
            });
        }
        self.access(
            (level, common.options.to, at, wanted),
            |out| match record.common.format {
                AccessLog::Http => httplog::write(out, record),
                AccessLog::Tcp => tcplog::write(
                    out,
                    &TcpRecord {
                        common: record.common,
                        path: super::Path::Userspace,
                    },
                ),
                AccessLog::Custom(line) => custom::write(out, line, Facts::http(record)),
                AccessLog::Json => out.push_str(&json::http(record)),
            },
            || json::http(record),
            Facts::http(record),
        );
    }

    /// Logs a finished connection.
    pub fn tcp(&self, record: &TcpRecord<'_>) {
        let Some(level) = level_of(&record.common, None) else {
            return;
        };
        let common = &record.common;
        let to = common.options.to;
        self.access(
            (level, to, SystemTime::now(), self.wanted(to, level)),
            |out| match record.common.format {
                // A connection has no request, so that `http` on a TCP frontend means the TCP line.
                AccessLog::Http | AccessLog::Tcp => tcplog::write(out, record),
                AccessLog::Custom(line) => custom::write(out, line, Facts::tcp(&record.common)),
                AccessLog::Json => out.push_str(&json::tcp(record)),
            },
            || json::tcp(record),
            Facts::tcp(&record.common),
        );
    }

    /// Logs a message of the daemon, such as a server's change of state.
    pub fn event(&self, level: Level, message: &str) {
        self.event_of(LogTo::GLOBAL, level, message);
    }

    /// The same of a proxy, to whose targets it goes if it has its own.
    pub fn event_of(&self, to: LogTo, level: Level, message: &str) {
        let at = SystemTime::now();
        let wanted = self.wanted(to, level);
        self.push(Line {
            level,
            to,
            at,
            content: Content::Written {
                text: wanted.text.then(|| message.into()),
                json: wanted.json.then(|| json::event(level, at, message)),
                structured: None,
            },
        });
    }

    /// What became of the lines so far.
    pub fn totals(&self) -> Totals {
        Totals {
            written: self.shared.written.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }

    /// Whether the log thread has ended or is about to, so that nothing more is sent.
    pub fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Whether anybody may want the line of a request or a connection: that of an error may be more urgent than others.
    pub fn wants(&self, options: &LogOptions) -> bool {
        let level = match options.level {
            _ if options.off => return false,
            Some(LogLevel::Silent) => return false,
            Some(LogLevel::Is(level)) => Level::of(level),
            None => Level::Err,
        };
        self.wanted(options.to, level) != Forms::default()
    }

    fn wanted(&self, to: LogTo, level: Level) -> Forms {
        match Forms::of_packed(self.shared.alike.load(Ordering::Acquire), level) {
            Some(forms) => forms,
            None => self.shared.wanted.load().of(to, level),
        }
    }

    fn access(
        &self,
        (level, to, at, wanted): (Level, LogTo, SystemTime, Forms),
        text: impl FnOnce(&mut String),
        json: impl FnOnce() -> String,
        facts: Facts<'_>,
    ) {
        if wanted == Forms::default() {
            return;
        }
        self.push(Line {
            level,
            to,
            at,
            content: Content::Written {
                text: wanted.text.then(|| {
                    let mut out = String::with_capacity(USUAL_LINE);
                    text(&mut out);
                    out
                }),
                json: wanted.json.then(json),
                structured: wanted.structured.then(|| {
                    let mut out = String::new();
                    custom::structured(&mut out, facts);
                    out
                }),
            },
        });
    }

    fn push(&self, line: Line) {
        if let Content::Written {
            text: None,
            json: None,
            ..
        } = line.content
        {
            return;
        }
        // What this thread holds came before it.
        held::deliver();
        self.send(1, Lines::One(line));
    }

    /// Keeps a line back as long as this thread has more to do, if it does so at all.
    fn hold(&self, line: Line) {
        if let Some(line) = held::hold(self, line) {
            self.push(line);
        }
    }

    /// Whether it is the same, and not another with targets of its own.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(super) fn send_many(&self, lines: Vec<Line>) {
        self.send(lines.len(), Lines::Many(lines));
    }

    fn send(&self, count: usize, lines: Lines) {
        if self.shared.waiting.fetch_add(count, Ordering::Relaxed) >= QUEUE
            || self.queue.send(lines).is_err()
        {
            self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
            // As many bits.
            self.shared
                .dropped
                .fetch_add(count as u64, Ordering::Relaxed);
        }
        // Pairs with the fence in `write_until_stopped`: either this sees that the thread goes to sleep, or the thread
        // sees the line before it does.
        fence(Ordering::SeqCst);
        if self.shared.idle.load(Ordering::Relaxed)
            && self.shared.idle.swap(false, Ordering::Relaxed)
        {
            self.thread.unpark();
        }
    }
}

/// Targets that are open, and nothing yet that writes to them.
#[derive(Debug)]
pub struct Opened {
    targets: Targets,
    wanted: Wanted,
}

impl Opened {
    /// Opens `targets`. Without one, messages from `notice` up go to standard error.
    ///
    /// # Errors
    /// A target that cannot be opened.
    pub fn open(targets: &[LogTarget]) -> Result<Self, StartError> {
        Self::open_all(targets, &[])
    }

    /// The same with the targets of proxies.
    ///
    /// # Errors
    /// A target that cannot be opened.
    pub fn open_all(targets: &[LogTarget], proxies: &[ProxyLog]) -> Result<Self, StartError> {
        let fallback = [LogTarget::new(
            LogDestination::Stderr,
            16,
            Level::Notice as u8,
            LogFormat::Text,
        )];
        let targets = if targets.is_empty() {
            &fallback
        } else {
            targets
        };
        Ok(Self {
            targets: Targets::open(targets, proxies)?,
            wanted: Wanted::new(targets, proxies),
        })
    }

    /// Starts the log thread, which has the rights that its maker has now.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(self) -> Result<(Sink, Writer), StartError> {
        let shared = Arc::new(Shared {
            alike: AtomicU32::new(self.wanted.packed()),
            wanted: ArcSwap::from_pointee(self.wanted),
            next: Mutex::new(None),
            stop: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let (queue, lines) = mpsc::channel();
        let targets = self.targets;
        let thread = thread::Builder::new()
            .name("lb-log".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || write_until_stopped(&lines, &shared, targets)
            })
            .map_err(StartError::Thread)?;
        let sink = Sink {
            shared: Arc::clone(&shared),
            queue,
            thread: thread.thread().clone(),
        };
        Ok((
            sink,
            Writer {
                shared,
                thread: Some(thread),
            },
        ))
    }
}

/// The level that a session is logged with, by HAProxy's rules; `None` if its frontend does not want it logged.
fn level_of(common: &Common<'_>, status: Option<u16>) -> Option<Level> {
    let options = common.options;
    if options.off {
        return None;
    }
    if options.no_null && common.bytes_in == 0 {
        // What could not be read was something all the same, though its bytes are nobody's request.
        let refused = common.termination == Termination::new(Cause::Proxy, Phase::Request);
        if status.is_none() || !refused {
            return None;
        }
    }
    let failed = common.redispatched
        || common.retries > 0
        || !matches!(common.termination.cause, Cause::Normal | Cause::Local)
        || status.is_some_and(|status| status >= 500);
    match (options.level, failed) {
        (_, false) if options.no_normal => None,
        (Some(LogLevel::Silent), _) => None,
        (Some(LogLevel::Is(level)), _) => Some(Level::of(level)),
        (None, true) if options.separate_errors => Some(Level::Err),
        _ => Some(Level::Info),
    }
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A target could not be opened.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The system gave no thread.
    #[error("cannot start the log thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// The log thread. Dropping it writes what is queued and ends the thread.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the thread has been printed; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn write_until_stopped(lines: &Receiver<Lines>, shared: &Shared, mut targets: Targets) {
    let pid = std::process::id();
    loop {
        let stopping = shared.stop.load(Ordering::SeqCst);
        let next = shared.next.lock();
        if let Some(next) = next.unwrap_or_else(PoisonError::into_inner).take() {
            for target in targets.open_mut() {
                // What a stream does not take at once is lost with it.
                target.flush();
            }
            targets = next;
        }
        let (mut wrote, mut ended) = (false, false);
        let (mut written, mut failed) = (0_usize, 0);
        loop {
            match lines.try_recv() {
                Ok(lines) => {
                    wrote = true;
                    let lines = match &lines {
                        Lines::One(line) => std::slice::from_ref(line),
                        Lines::Many(lines) => lines,
                    };
                    for line in lines {
                        failed += targets.add(line, pid);
                        written += 1;
                        if written % TOLD == 0 {
                            shared.waiting.fetch_sub(TOLD, Ordering::Relaxed);
                        }
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    ended = true;
                    break;
                }
            }
        }
        for target in targets.open_mut() {
            failed += target.send();
        }
        shared.failed.fetch_add(failed, Ordering::Relaxed);
        let untold = written % TOLD;
        shared.waiting.fetch_sub(untold, Ordering::Relaxed);
        // As many bits.
        shared.written.fetch_add(written as u64, Ordering::Relaxed);
        if ended {
            return;
        }
        // What a stream did not take at once.
        let waiting = targets
            .open_mut()
            .iter_mut()
            .filter_map(|target| target.flush().then_some(()))
            .count();
        if stopping {
            let deadline = Instant::now() + LAST;
            while targets.open_mut().iter_mut().any(Target::flush) && Instant::now() < deadline {
                thread::sleep(BATCH);
            }
            return;
        }
        if waiting > 0 && !wrote {
            thread::sleep(RETRY);
            continue;
        }
        if wrote {
            thread::sleep(BATCH);
            continue;
        }
        if shared.idle.swap(true, Ordering::Relaxed) {
            thread::park_timeout(IDLE);
            shared.idle.store(false, Ordering::Relaxed);
        }
        // The first pass only announced the sleep; the second looks at the queue again before it sleeps.
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
