//! `lb upgrade`: another process of lb, of another version as a rule, takes this one's place, and nobody notices.
//!
//! The running process starts the new one and tells it all that it needs by a pair of sockets ([`channel`]): first what is
//! listened on, then, once the new one has all that may be refused, its state. Once the kernel path is the new one's own,
//! the old one stops doing what only one may do, lets the new one begin with that, and leaves the sockets to it: only then,
//! when nothing can come between any more, does the new one accept. What the old one has accepted it serves to the end.
//!
//! Whatever goes wrong before that, the new process is ended and the old one goes on: [`give`] is the old one's part,
//! [`take`] the new one's, [`last`] what is left of the old one.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::mpsc;

mod channel;
mod give;
mod last;
mod process;
mod take;
mod trust;

use channel::{Channel, Heard};
pub(super) use give::Successor;
pub(super) use last::serve_last;
pub use process::be_keeper;
pub(super) use take::Left;
pub use take::{Predecessor, UpgradeError};

/// Says to the new process that its standard input is its end of the channel.
const VARIABLE: &str = "LB_UPGRADE";
/// What it says.
const VALUE: &str = "stdin";

/// The file that this process was started from, as it was called then. What is under that name by now is what an upgrade
/// starts.
pub(super) fn own_binary() -> PathBuf {
    let running = env::current_exe().ok();
    let named = env::args_os().next().map(PathBuf::from);
    let named = named
        .filter(|named| named.components().count() > 1)
        .and_then(|named| std::path::absolute(named).ok());
    // The name by which it was called leads to the next version where that is a link; a name that was made up does not.
    let real = |path: &Path| path.canonicalize().ok();
    match (named, running) {
        (Some(named), Some(running)) if real(&named) == real(&running) => named,
        (_, Some(running)) => running,
        (named, None) => named.unwrap_or_else(|| "lb".into()),
    }
}

/// What the clock says that both processes have.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// Reads what the other process says in a thread of its own. `None` at the end.
fn listen(channel: &Channel) -> std::io::Result<mpsc::UnboundedReceiver<Heard>> {
    let channel = channel.try_clone()?;
    let (sender, heard) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("upgrade".into())
        .spawn(move || {
            while let Ok(Some(said)) = channel.receive() {
                if sender.send(said).is_err() {
                    break;
                }
            }
        })?;
    Ok(heard)
}
