//! What clients see: some that are impatient, to measure by, and some with the patience of ordinary ones, to count losses.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lb_tests::client::{self, Steady};
use lb_tests::netns::NetnsHandle;
use lb_tests::{Lab, wait};

use super::pair::{ADDRESS, L4, L7};

/// An impatient client gives up after so long, and tries again.
const IMPATIENT: Duration = Duration::from_millis(50);
/// A patient one.
const PATIENT: Duration = Duration::from_secs(5);
/// Between attempts of one client.
const PAUSE: Duration = Duration::from_millis(5);
/// What [`client::exchange`] says of a connection that was closed instead of an answer.
const CLOSED: &str = "closed without a response";
/// What the system says of one.
const HUNG_UP: [ErrorKind; 2] = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
/// Clients that are patient, of each kind.
const CLIENTS: usize = 4;
/// Connections that last, of each kind.
const LASTING: usize = 16;
/// Successes of each kind before and after the other balancer takes over.
const SUCCESSES: u64 = 50;

/// What one kind of client saw.
#[derive(Debug, Default)]
pub(super) struct Kind {
    /// The longest time without a success, as an impatient client sees it or, of what lasts, a connection.
    pub(super) outage: Duration,
    pub(super) done: u64,
    /// A sentence for each loss.
    pub(super) lost: Vec<String>,
}

/// What all saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) l4_new: Kind,
    pub(super) l4_established: Kind,
    pub(super) l7_new: Kind,
    pub(super) l7_established: Kind,
}

/// Clients at work.
pub(super) struct View {
    stop: Arc<AtomicBool>,
    probes: [Worker; 2],
    patient: [Vec<Worker>; 2],
    kept: Vec<Worker>,
    established: Steady,
}

/// A client of its own thread.
struct Worker {
    done: Arc<AtomicU64>,
    thread: JoinHandle<Kind>,
}

/// One attempt, with a patience.
type Attempt = fn(Duration) -> io::Result<()>;

impl View {
    pub(super) fn open(lab: &Lab) -> View {
        let stop = Arc::<AtomicBool>::default();
        let netns = lab.client().handle();
        let established = (0..LASTING).map(|_| {
            let mut stream = client::connect(lab.client(), (ADDRESS, L4).into(), None).unwrap();
            client::greeting(&mut stream).unwrap();
            stream
        });
        let established = Steady::start(established.collect(), Duration::from_millis(10));
        let work = |attempt: Attempt, patience| {
            let attempt = move || attempt(patience);
            Worker::start(&stop, &netns, attempt)
        };
        let patient = |attempt: Attempt| (0..CLIENTS).map(|_| work(attempt, PATIENT)).collect();
        View {
            probes: [work(l4, IMPATIENT), work(l7, IMPATIENT)],
            patient: [patient(l4), patient(l7)],
            kept: (0..LASTING)
                .map(|_| {
                    let mut kept = None;
                    Worker::start(&stop, &netns, move || keep(&mut kept))
                })
                .collect(),
            established,
            stop,
        }
    }

    /// Waits until every client has succeeded some more times.
    pub(super) fn settle(&self, logs: impl Fn() -> String) {
        let all = || {
            let workers = self.probes.iter().chain(self.patient.iter().flatten());
            workers.chain(&self.kept)
        };
        let count = |worker: &Worker| worker.done.load(Ordering::SeqCst);
        let before: Vec<u64> = all().map(count).collect();
        let rounds = self.established.rounds();
        let more = || {
            let grown = all()
                .zip(&before)
                .all(|(w, before)| count(w) >= before + SUCCESSES);
            grown && self.established.rounds() >= rounds + SUCCESSES
        };
        wait::until_true("all clients to be served", more)
            .unwrap_or_else(|error| panic!("{error}; {}", logs()));
    }

    pub(super) fn close(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        let established = self.established.stop();
        let join = |worker: Worker| worker.thread.join().unwrap();
        let sum = |workers: Vec<Worker>| {
            let kinds: Vec<Kind> = workers.into_iter().map(join).collect();
            Kind {
                outage: kinds
                    .iter()
                    .map(|kind| kind.outage)
                    .max()
                    .unwrap_or_default(),
                done: kinds.iter().map(|kind| kind.done).sum(),
                lost: kinds.into_iter().flat_map(|kind| kind.lost).collect(),
            }
        };
        let [l4_probe, l7_probe] = self.probes.map(join);
        let [l4_new, l7_new] = self.patient.map(sum);
        Seen {
            l4_new: Kind {
                outage: l4_probe.outage,
                ..l4_new
            },
            l4_established: Kind {
                outage: established.longest,
                done: established.exchanges,
                lost: established.failures,
            },
            l7_new: Kind {
                outage: l7_probe.outage,
                ..l7_new
            },
            l7_established: sum(self.kept),
        }
    }
}

impl Worker {
    fn start(
        stop: &Arc<AtomicBool>,
        netns: &NetnsHandle,
        mut attempt: impl FnMut() -> io::Result<()> + Send + 'static,
    ) -> Worker {
        let (stop, netns) = (Arc::clone(stop), netns.clone());
        let done = Arc::<AtomicU64>::default();
        let count = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let _inside = netns.enter().unwrap();
            let mut kind = Kind::default();
            let mut last = Instant::now();
            while !stop.load(Ordering::SeqCst) {
                match attempt() {
                    Ok(()) => {
                        let now = Instant::now();
                        kind.outage = kind.outage.max(now - last);
                        last = now;
                        kind.done += 1;
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => kind.lost.push(error.to_string()),
                }
                thread::sleep(PAUSE);
            }
            kind
        });
        Worker { done, thread }
    }
}

fn open(port: u16, patience: Duration) -> io::Result<TcpStream> {
    let target = SocketAddr::from((ADDRESS, port));
    let stream = TcpStream::connect_timeout(&target, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// A connection in the kernel, from its first packet to an answer. The client speaks first, as most do: what a server says
/// to one that has gone silent finds nobody at the other balancer until the client speaks again.
fn l4(patience: Duration) -> io::Result<()> {
    let mut stream = open(L4, patience)?;
    stream.write_all(b"new")?;
    client::greeting(&mut stream)?;
    let mut back = [0; 3];
    stream.read_exact(&mut back)
}

/// A request of a connection of its own.
fn l7(patience: Duration) -> io::Result<()> {
    let mut stream = open(L7, patience)?;
    get(&mut stream, "Connection: close\r\n").map(drop)
}

/// A request on a connection that is kept, or on another if that has said that it closes, or has closed before any answer to
/// one that was used before: what every client does (RFC 9112 §9.3.1).
fn keep(kept: &mut Option<TcpStream>) -> io::Result<()> {
    if let Some(mut stream) = kept.take() {
        match get(&mut stream, "") {
            Ok(goes_on) => {
                *kept = goes_on.then_some(stream);
                return Ok(());
            }
            Err(error) if error.to_string().contains(CLOSED) || HUNG_UP.contains(&error.kind()) => {
            }
            Err(error) => return Err(error),
        }
    }
    let mut stream = open(L7, PATIENT)?;
    *kept = get(&mut stream, "")?.then_some(stream);
    Ok(())
}

/// Asks; whether the connection goes on.
fn get(stream: &mut TcpStream, more: &str) -> io::Result<bool> {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    let response = client::exchange(stream, request.as_bytes())?;
    if response.status != 200 {
        return Err(io::Error::other(response.status.to_string()));
    }
    Ok(!response.header("connection").contains(&"close"))
}

impl fmt::Display for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, kind) in [
            ("L4, new", &self.l4_new),
            ("L4, established", &self.l4_established),
            ("L7, new", &self.l7_new),
            ("L7, established", &self.l7_established),
        ] {
            let (outage, lost) = (kind.outage.as_millis(), kind.lost.len());
            let done = kind.done;
            writeln!(
                out,
                "  {name:16} {outage:6} ms without, {lost:4} lost, {done} served"
            )?;
            if let Some(first) = kind.lost.first() {
                writeln!(out, "  {:16} the first: {first}", "")?;
            }
        }
        Ok(())
    }
}
