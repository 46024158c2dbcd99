//! `global.watch_config`: the file is read again when it changes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{sync::oneshot, time::MissedTickBehavior};

use crate::{
    admin::reload::{Wish, Wishes},
    config::haproxy,
    watched::Stamp,
};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Wishes for a reload each time that the file has changed and is the same at the next look: it may be half written.
pub(super) async fn keep(path: PathBuf, wishes: Wishes) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut taken = stamps(&path);
    let mut last = taken.clone();
    loop {
        looks.tick().await;
        let now = stamps(&path);
        let settled = now == last;
        last.clone_from(&now);
        if now == taken || !settled {
            continue;
        }
        taken = now;
        tracing::info!("{} has changed and is read again", path.display());
        let (reply, answer) = oneshot::channel();
        if wishes.send(Wish { reply }).is_err() {
            return;
        }
        // What becomes of it is in the log.
        let _ = answer.await;
    }
}

/// The file, or those of the folder that are read.
fn stamps(path: &Path) -> Vec<(PathBuf, Stamp)> {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|file| haproxy::is_haproxy(file))
            .collect(),
        Err(_) => vec![path.to_owned()],
    };
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let stamp = Stamp::of(&file);
            (file, stamp)
        })
        .collect()
}
