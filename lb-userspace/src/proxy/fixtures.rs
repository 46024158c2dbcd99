//! A proxy over loopback for tests: real listeners and workers in this process, and what they log.

use std::{
    net::{SocketAddr, TcpStream},
    os::fd::BorrowedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::net::{getpeername, sockopt};

use super::{Listeners, Proxy, Shared};
use crate::{
    config::{
        Config,
        model::{LogDestination, LogFormat, LogTarget},
    },
    observe::log::{Sink, Writer},
    topology::{Backend, Frontend, Topology},
};

/// How long anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of a test's own, which goes with it, also when the test fails.
pub(super) struct Folder(pub(super) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A proxy, gone with the test.
pub(super) struct Harness {
    /// Of its first bind.
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) proxy: Option<Proxy>,
    writer: Option<Writer>,
    log: PathBuf,
}

impl Harness {
    /// One with this configuration.
    pub(super) fn start(config: Config, workers: usize) -> Self {
        let config = Arc::new(config);
        let topology = Arc::new(Topology::new(&config));
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let log =
            std::env::temp_dir().join(format!("lb-proxy-test-{}-{number}.log", std::process::id()));
        let target = LogTarget::new(LogDestination::File(log.clone()), 16, 7, LogFormat::Text);
        let (sink, writer) = Sink::start(&[target]).unwrap();
        let listeners = Listeners::open(&topology, workers).unwrap();
        let first = &listeners[0];
        let address = match first.sockets.first() {
            Some((_, socket, _)) => socket.local_addr().unwrap(),
            None => first.datagrams[0].1.local_addr().unwrap(),
        };
        let shared = Arc::new(Shared::new(topology, config, sink, 1000));
        let proxy = Proxy::start(&shared, listeners).unwrap();
        Self {
            address,
            shared,
            proxy: Some(proxy),
            writer: Some(writer),
            log,
        }
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(super) fn frontend(&self) -> &Frontend {
        &self.shared.topology.frontends[0]
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.shared.topology.backends[0]
    }

    /// Waits for connections and flows to end, and reads what was logged: the part after the date.
    pub(super) fn logged(mut self) -> Vec<String> {
        wait_until("all connections and flows have ended", || {
            self.frontend().current() == 0
        });
        self.proxy.take();
        drop(self.writer.take());
        let text = std::fs::read_to_string(&self.log).unwrap();
        text.lines()
            .filter_map(|line| Some(line.split_once("] ")?.1.to_owned()))
            .collect()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.proxy.take();
        drop(self.writer.take());
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Waits for what is to come; fails if it takes too long.
pub(super) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The mark and the type of service of this process's end of `client`'s connection.
pub(super) fn packets_to(client: &TcpStream) -> (u32, u8) {
    let wanted = client.local_addr().unwrap();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Some(fd) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // SAFETY: what is no socket, or is closed meanwhile, answers with an error, and nothing is done to what is one.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let peer = getpeername(fd).ok().flatten();
        if peer.and_then(|peer| SocketAddr::try_from(peer).ok()) == Some(wanted) {
            let socket = socket2::SockRef::from(&fd);
            return (socket.mark().unwrap(), sockopt::ip_tos(fd).unwrap());
        }
    }
    panic!("there is no other end of {wanted}");
}

/// Whether this test may do what takes root; says so if not.
pub(super) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: not root");
    }
    is_root
}
