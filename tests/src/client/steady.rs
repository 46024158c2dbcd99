//! Connections that talk all the time, and the longest that any of them had to wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const THREADS: usize = 2;

/// Connections to an echo server in the background, each sending a few bytes in every round and expecting them back.
/// Ended on drop.
#[derive(Debug)]
pub struct Steady {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Part>>,
}

/// What [`Steady`] connections went through.
#[derive(Debug, Default)]
pub struct Experience {
    /// Exchanges completed, of all connections.
    pub exchanges: u64,
    /// The longest that bytes took to come back.
    pub longest: Duration,
    /// One sentence for each connection that failed.
    pub failures: Vec<String>,
    /// Those that live.
    pub streams: Vec<TcpStream>,
}

type Part = Experience;

impl Steady {
    /// Starts them, a round in every `pause`. Greetings have been read.
    pub fn start(streams: Vec<TcpStream>, pause: Duration) -> Steady {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut shares: Vec<Vec<TcpStream>> = (0..THREADS).map(|_| Vec::new()).collect();
        for (i, stream) in streams.into_iter().enumerate() {
            shares[i % THREADS].push(stream);
        }
        let threads = shares.into_iter().map(|share| {
            let (stop, rounds) = (stop.clone(), rounds.clone());
            thread::spawn(move || work(share, pause, &stop, &rounds))
        });
        Steady {
            threads: threads.collect(),
            stop,
            rounds,
        }
    }

    /// Rounds so far that a thread has completed, of all threads.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }

    /// Ends it after the round that is under way.
    pub fn stop(mut self) -> Experience {
        self.stop.store(true, Ordering::SeqCst);
        let mut sum = Experience::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(part) => {
                    sum.exchanges += part.exchanges;
                    sum.longest = sum.longest.max(part.longest);
                    sum.failures.extend(part.failures);
                    sum.streams.extend(part.streams);
                }
                Err(_) => sum.failures.push("a thread has panicked".to_owned()),
            }
        }
        sum
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(streams: Vec<TcpStream>, pause: Duration, stop: &AtomicBool, rounds: &AtomicU64) -> Part {
    let mut part = Part {
        streams,
        ..Part::default()
    };
    let mut number = 0u64;
    while !stop.load(Ordering::SeqCst) {
        let begin = Instant::now();
        number += 1;
        let streams = std::mem::take(&mut part.streams);
        // All ask before any is listened to: who waits holds no other up.
        let asked: Vec<(Instant, io::Result<()>)> = streams
            .iter()
            .map(|stream| {
                let mut stream = stream;
                (Instant::now(), stream.write_all(&number.to_be_bytes()))
            })
            .collect();
        for (stream, (since, sent)) in streams.into_iter().zip(asked) {
            match sent.and_then(|()| answer(&stream, number)) {
                Ok(()) => {
                    part.exchanges += 1;
                    part.longest = part.longest.max(since.elapsed());
                    part.streams.push(stream);
                }
                Err(error) => part.failures.push(match stream.local_addr() {
                    Ok(from) => format!("{from} after {:?}: {error}", since.elapsed()),
                    Err(_) => format!("after {:?}: {error}", since.elapsed()),
                }),
            }
        }
        rounds.fetch_add(1, Ordering::SeqCst);
        thread::sleep(pause.saturating_sub(begin.elapsed()));
    }
    part
}

fn answer(mut stream: &TcpStream, number: u64) -> io::Result<()> {
    let mut back = [0; 8];
    match stream.read_exact(&mut back) {
        Ok(()) if back == number.to_be_bytes() => Ok(()),
        Ok(()) => Err(io::Error::other("other bytes came back")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
        Err(error) => Err(error),
    }
}
