//! `global.watch_config`: the file is read again when it changes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{sync::oneshot, time::MissedTickBehavior};

use super::Origin;
use crate::{
    admin::wish::{Again, What, Wish, Wishes},
    config::haproxy,
    watched::{Stamp, Watched},
};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How often files of servers are looked at: a change is acted on at the second look.
const LOOK_AT_SERVERS: Duration = Duration::from_millis(400);

/// Files, each as it was at some time.
pub(super) type Seen = Vec<(PathBuf, Stamp)>;

/// Wishes for a reload each time that the file is not as it was when `origin` was last read, and is the same at the next
/// look: it may be half written.
pub(super) async fn keep(origin: Origin, wishes: Wishes) {
    let Origin {
        path,
        seen: mut taken,
        ..
    } = origin;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = taken.clone();
    loop {
        looks.tick().await;
        let now = look(&path);
        let settled = now == last;
        last.clone_from(&now);
        if now == taken || !settled {
            continue;
        }
        taken = now;
        tracing::info!("{} has changed and is read again", path.display());
        let (reply, answer) = oneshot::channel();
        if wishes.send(wish(Again::All, reply)).is_err() {
            return;
        }
        // What becomes of it is in the log.
        let _ = answer.await;
    }
}

/// Wishes for the files of servers to be read again each time that one of them has changed and is the same at the next
/// look. Whoever takes them begins to watch anew.
pub(super) async fn keep_servers(files: Seen, wishes: Wishes) {
    let mut looks = tokio::time::interval(LOOK_AT_SERVERS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let paths: Vec<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
    let mut watched = Watched::new(files);
    loop {
        looks.tick().await;
        let changed = watched.changed();
        if changed.is_empty() {
            continue;
        }
        for path in &changed {
            tracing::info!("{} has changed and is read again", path.display());
        }
        // What changes while they are being read is seen the next time.
        let now = paths.iter().map(|path| (path.clone(), Stamp::of(path)));
        watched = Watched::new(now.collect());
        let (reply, answer) = oneshot::channel();
        if wishes.send(wish(Again::Servers, reply)).is_err() {
            return;
        }
        // What becomes of it is in the log.
        let _ = answer.await;
    }
}

fn wish(again: Again, reply: oneshot::Sender<Result<String, String>>) -> Wish {
    let what = What::Reload(again);
    Wish { what, reply }
}

/// The file, or those of the folder that are read, as they are now.
pub(super) fn look(path: &Path) -> Seen {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_changed_while_it_was_read_is_read_again() {
        let path = std::env::temp_dir().join(format!("lb-watch-{}.yaml", std::process::id()));
        std::fs::write(&path, "one").unwrap();
        let origin = Origin::new(&path, haproxy::Options::default());
        // Whoever reads it now has read something else than what is there when the watch begins.
        std::fs::write(&path, "other").unwrap();
        let (wishes, mut wished) = tokio::sync::mpsc::unbounded_channel();
        let watch = tokio::spawn(keep(origin, wishes));
        let wish = tokio::time::timeout(Duration::from_secs(30), wished.recv()).await;
        std::fs::remove_file(&path).unwrap();
        watch.abort();
        assert!(wish.is_ok_and(|wish| wish.is_some()));
    }
}
