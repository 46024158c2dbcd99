//! Captures: every frame that an interface receives or sends, kept in memory until looked at.
//!
//! A packet socket instead of tcpdump: what was sent before [`Capture::stop`] is in it for certain, losses are known, and
//! no tool is needed. `LB_TEST_CAPTURES=DIR` also writes each as a pcap file for a person to read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::raw::{Frame, RawSocket};
use crate::{Context, Netns, Result};

/// A capture that is running; ended on drop.
#[derive(Debug)]
pub struct Capture {
    what: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Vec<Captured>>>>,
}

/// A frame and when it was read.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The frame.
    pub frame: Frame,
    /// Since the epoch.
    pub at: Duration,
}

impl Capture {
    /// Captures on an interface of the namespace from now on.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when there is no such interface.
    pub fn start(netns: &Netns, interface: &str) -> Result<Capture> {
        let what = format!("{}-{interface}", netns.name());
        let socket = RawSocket::open(netns, interface)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new()
            .name("capture".to_owned())
            .spawn({
                let stop = stop.clone();
                move || collect(&socket, &stop)
            })
            .context(|| "start a capture")?;
        Ok(Capture {
            what,
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it and gives all frames that had reached or left the interface until now, in order.
    ///
    /// # Errors
    /// When frames were lost, or the interface has gone.
    pub fn stop(mut self) -> Result<Vec<Captured>> {
        let captured = self
            .join()
            .context(|| format!("capture on {}", self.what))?;
        if let Some(directory) = std::env::var_os("LB_TEST_CAPTURES") {
            let path = Path::new(&directory).join(format!("{}.pcap", self.what));
            write_pcap(&path, &captured).context(|| format!("write {}", path.display()))?;
        }
        Ok(captured)
    }

    fn join(&mut self) -> io::Result<Vec<Captured>> {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(io::Error::other("its thread has panicked")),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.join();
        }
    }
}

/// Reads until told to stop and nothing is left in the socket.
fn collect(socket: &RawSocket, stop: &AtomicBool) -> io::Result<Vec<Captured>> {
    const TICK: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    let mut captured = Vec::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        // Asked before the socket is emptied: what was there then is read for certain.
        let last = stop.load(Ordering::SeqCst);
        while let Some((length, outgoing)) = socket.take(&mut buffer)? {
            let at = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let frame = Frame {
                bytes: buffer[..length].to_vec(),
                outgoing,
            };
            captured.push(Captured { frame, at });
        }
        if last {
            break;
        }
        let mut fds = [PollFd::new(socket.descriptor(), PollFlags::IN)];
        if let Err(error) = poll(&mut fds, Some(&TICK))
            && error != rustix::io::Errno::INTR
        {
            return Err(error.into());
        }
    }
    match socket.lost() {
        0 => Ok(captured),
        lost => Err(io::Error::other(format!("{lost} frames were lost"))),
    }
}

/// The classic format, microseconds, Ethernet (draft-ietf-opsawg-pcap).
fn write_pcap(path: &Path, captured: &[Captured]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 1 << 16, 1_u32] {
        file.write_all(&word.to_le_bytes())?;
    }
    for Captured { frame, at } in captured {
        let length = frame.bytes.len() as u32;
        for word in [at.as_secs() as u32, at.subsec_micros(), length, length] {
            file.write_all(&word.to_le_bytes())?;
        }
        file.write_all(&frame.bytes)?;
    }
    file.flush()
}
