//! Certificates and keys that change while the daemon runs.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::topology::Topology;

/// How often files are looked at. One that has changed is taken when it is the same the next time.
const LOOK: Duration = Duration::from_secs(1);

/// Takes what changes, and says of what is bad that the old one stays.
pub(super) async fn follow(topology: Arc<Topology>) {
    if !topology.has_tls() {
        return;
    }
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let topology = Arc::clone(&topology);
        // Disks may be slow, and others wait on this thread.
        let Ok(changed) = tokio::task::spawn_blocking(move || topology.follow_tls()).await else {
            continue;
        };
        for (whose, result) in changed {
            match result {
                Ok(()) => tracing::info!("{whose}: the changed certificates are in use"),
                Err(error) => tracing::error!(
                    "{whose}: the changed certificates are not used, the old ones stay: {error}; {}",
                    error.mend()
                ),
            }
        }
    }
}
