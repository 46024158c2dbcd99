//! `global.health_file`: what `lb health` says, kept in a file for keepalived's `track_file`.
//!
//! The file holds a number, as `track_file` wants it: 0 while the data path forwards, 1 when it does not. It is replaced
//! whole, so nobody reads half of one, and written over if the disk is full. A process that is killed leaves it as it was:
//! `track_process` watches for that.

use std::{io, path::Path, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::written::{mend, replace, write_over};
use crate::{
    admin::health::{Stands, View, verdict},
    config::model::HealthFile,
    observe::stats::Sources,
};

/// How often it is looked whether something has changed.
const LOOK: Duration = Duration::from_millis(100);

/// Writes the file whenever what it says changes.
pub(super) async fn keep(file: HealthFile, sources: Sources) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Result<String, String>> = None;
    let mut unwritten = false;
    loop {
        ticks.tick().await;
        let topology = sources.topology();
        let now = verdict(
            &View {
                stopping: sources.process.is_stopping(),
                path: &sources.path.load(),
                stands: &|name| Some(Stands::of(topology.backend(name)?)),
            },
            &file.backends,
        );
        let same = last
            .as_ref()
            .is_some_and(|last| last.is_ok() == now.is_ok());
        if same && !unwritten {
            last = Some(now);
            continue;
        }
        let text = if now.is_ok() { "0\n" } else { "1\n" };
        match write(&file.path, text) {
            Ok(()) => {
                match &now {
                    Ok(why) => tracing::info!("health file: forwarding ({why})"),
                    Err(why) => tracing::warn!("health file: failed ({why})"),
                }
                unwritten = false;
            }
            // Once is enough to say.
            Err(error) if !unwritten => {
                let path = file.path.display();
                tracing::error!(
                    "health file {path}: cannot be written: {error}: {}",
                    mend(&error)
                );
                unwritten = true;
            }
            Err(_) => {}
        }
        last = Some(now);
    }
}

/// Leaves behind that nothing forwards.
pub(super) fn fail(file: Option<&HealthFile>) {
    if let Some(file) = file {
        // There is nobody left to tell.
        let _ = write(&file.path, "1\n");
    }
}

/// Two bytes for two others need no room: a full disk is no reason for an address to stay.
fn write(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text).or_else(|_| write_over(path, text))
}
