//! Maps whose files change are read again.
//!
//! Files are looked at every second instead of being watched: that works where a file is replaced, where its folder is a
//! link that is moved, and on network file systems.

use std::{sync::Arc, time::Duration};

use crate::rules::Map;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reads changed files, for ever.
pub(super) async fn follow(maps: Vec<Arc<Map>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !maps.is_empty() {
        ticks.tick().await;
        for map in &maps {
            let map = Arc::clone(map);
            // A large file takes a while, and this thread has health checks to run.
            let read = tokio::task::spawn_blocking(move || {
                let path = map.path().display();
                match map.refresh() {
                    Ok(None) => {}
                    Ok(Some(keys)) => tracing::info!("the map {path} has changed: {keys} keys"),
                    Err(problem) => tracing::warn!("{problem}; the keys of before stay"),
                }
            });
            if read.await.is_err() {
                return;
            }
        }
    }
}
