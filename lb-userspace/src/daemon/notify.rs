//! What the service manager is told (`Type=notify`, sd_notify(3)), if one has asked by `NOTIFY_SOCKET`.
//!
//! A datagram of lines `NAME=value` is the whole protocol. Nothing here ever fails: who cannot be told does not listen.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use crate::proxy::Pulses;

/// Whether another process is the one to speak.
static MUTED: AtomicBool = AtomicBool::new(false);

/// Nothing is told until [`unmute`]: the process whose place this one is to take speaks.
pub(super) fn mute() {
    MUTED.store(true, Relaxed);
}

/// This process speaks from now on.
pub(super) fn unmute() {
    MUTED.store(false, Relaxed);
}

/// The service's main process is `pid` from now on, and speaks for itself. Told by this one, to which the service manager
/// still listens (`NotifyAccess=main`).
pub(super) fn hand_over(pid: u32) {
    tell(&format!("MAINPID={pid}\nREADY=1\nSTATUS=serving"));
    mute();
}

/// It serves; `status` is what `systemctl status` shows.
pub(super) fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}"));
}

/// It reads its configuration again, until it is [`ready`] once more; `Type=notify-reload` waits for that.
pub(super) fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// It is about to end.
pub(super) fn stopping(status: &str) {
    tell(&format!("STOPPING=1\nSTATUS={status}"));
}

/// What it is at.
pub(super) fn status(status: &str) {
    tell(&format!("STATUS={status}"));
}

/// Tells lines of `NAME=value` to the service manager, if there is one.
pub(super) fn tell(lines: &str) {
    let name = env::var_os("NOTIFY_SOCKET").filter(|_| !MUTED.load(Relaxed));
    let Some(name) = name else {
        return;
    };
    if let Err(error) = send(name.as_encoded_bytes(), lines) {
        tracing::debug!("the service manager cannot be told `{lines}`: {error}");
    }
}

fn send(name: &[u8], lines: &str) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        name => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(lines.as_bytes(), &address)
        .map(drop)
}

/// Within what time the service manager wants to hear of this process again (`WatchdogSec=`).
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let within = number("WATCHDOG_USEC").filter(|&micros| micros > 0 && ours)?;
    Some(Duration::from_micros(within))
}

/// Tells the service manager's watchdog at each quarter of its time that all is well, for as long as all workers turn: one
/// that hangs or has died is for the service manager to end, with all of the process. Returns at once where no watchdog
/// looks.
pub(super) async fn watch(pulses: Pulses) {
    let Some(within) = watchdog() else {
        return;
    };
    // A pulse says of the quarter before it, so that one late turn is no reason to end what serves.
    let mut ticks = tokio::time::interval(within / 4);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        ticks.tick().await;
        match pulses.take() {
            Ok(()) => {
                told = false;
                tell("WATCHDOG=1");
            }
            Err(worker) if !told => {
                told = true;
                tracing::error!(
                    "worker {worker} does not answer; the watchdog is not told that all is well"
                );
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_names_are_told() {
        let path = env::temp_dir().join(format!("lb-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("lb-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        send(path.as_os_str().as_encoded_bytes(), "READY=1").unwrap();
        send(format!("@{name}").as_bytes(), "STOPPING=1").unwrap();
        let mut buffer = [0; 64];
        let length = by_path.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        let length = by_name.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STOPPING=1");
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str().as_encoded_bytes(), "READY=1").is_err());
    }
}
