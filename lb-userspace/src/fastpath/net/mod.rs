//! What the fast path knows of the host's network, by netlink: never by `/sys`, which shows another namespace's links to
//! whoever entered this one by `setns`.
//!
//! [`model`] has the nouns, `decode` reads them from netlink messages, [`view`] is the state that they add up to and
//! [`resolve`] what follows from it for a destination; these are pure. `socket` and `watch` keep the view up to date,
//! [`probe`] keeps next hops fresh. [`ports`] keeps source translation's ports apart from the host's, [`features`] asks
//! drivers what they can do.

use std::sync::Arc;

use tokio::sync::watch as channel;

mod decode;
pub mod features;
pub mod model;
pub mod ports;
pub mod probe;
pub mod resolve;
pub mod routes;
mod socket;
pub mod view;
mod watch;

#[cfg(test)]
mod namespace;
#[cfg(test)]
mod tests;

pub use model::{Family, Mac, VlanTag};
pub use probe::Prober;
pub use resolve::{Resolution, Unresolved};
pub use socket::NetError;
pub use view::View;

/// Follows the network of the calling thread's namespace: the receiver holds a complete view at once, and a new one
/// within milliseconds of each change, until the last receiver and the prober are dropped.
///
/// # Errors
///
/// [`NetError`] if the sockets cannot be opened or the first dump fails.
pub async fn start() -> Result<(channel::Receiver<Arc<View>>, Prober), NetError> {
    let (watcher, view) = watch::Watcher::start().await?;
    let prober = Prober::start(view.clone())?;
    tokio::spawn(watcher.run());
    Ok((view, prober))
}
