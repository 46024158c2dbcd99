//! Files that change while the daemon runs: maps, certificates and keys. They are looked at every second
//! ([`crate::watched`]), and one that has changed is taken when it is the same the next time.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::{
    rules::{Map, Output},
    topology::Topology,
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Takes what changes, for ever, and says of what is bad that the old one stays.
pub(super) async fn follow(maps: Vec<Arc<Map>>, topology: Arc<Topology>) {
    if maps.is_empty() && !topology.has_tls() {
        return;
    }
    let maps: Arc<[Arc<Map>]> = maps.into();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let (maps, topology) = (Arc::clone(&maps), Arc::clone(&topology));
        let once = move || {
            follow_maps(&maps);
            follow_tls(&topology);
        };
        // Disks may be slow, and others wait on this thread.
        if let Err(error) = tokio::task::spawn_blocking(once).await {
            tracing::error!("files that have changed could not be read: {error}");
        }
    }
}

fn follow_maps(maps: &[Arc<Map>]) {
    for map in maps {
        let path = map.path().display();
        let what = match map.output() {
            Output::Nothing => "file",
            _ => "map",
        };
        match map.refresh() {
            Ok(None) => {}
            Ok(Some(keys)) => tracing::info!("the {what} {path} has changed: {keys} keys"),
            Err(problem) => tracing::warn!("{problem}; the keys of before stay"),
        }
    }
}

fn follow_tls(topology: &Topology) {
    for (whose, result) in topology.follow_tls() {
        match result {
            Ok(()) => tracing::info!("{whose}: the changed certificates are in use"),
            Err(error) => tracing::error!(
                "{whose}: the changed certificates are not used, the old ones stay: {error}; {}",
                error.mend()
            ),
        }
    }
}
