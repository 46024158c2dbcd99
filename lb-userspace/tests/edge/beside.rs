//! HAProxy and other programs beside the daemon, and waiting for them.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::daemon::PATIENCE;

/// A program that ends with the test.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy with the file at `path`. It accepts at each of `ready`; its admin socket may have its name a little later.
pub(crate) fn haproxy(path: &str, environment: &[(&str, &str)], ready: &[SocketAddr]) -> Killed {
    let child = Command::new("haproxy")
        .args(["-db", "-f", path])
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let haproxy = Killed(child.unwrap());
    until("haproxy", || {
        ready.iter().all(|place| TcpStream::connect(place).is_ok())
    });
    haproxy
}

/// Waits until `what` holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come");
        thread::sleep(Duration::from_millis(5));
    }
}
