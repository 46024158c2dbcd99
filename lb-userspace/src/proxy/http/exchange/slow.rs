//! Passwords whose hashes take long, on purpose: they are computed beside the workers, one at a time, so that guessing stops
//! nobody else's requests.

use std::{rc::Rc, sync::Arc};

use http::{HeaderMap, header::AUTHORIZATION};
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{Client, rules::Memory};
use crate::rules::Unknown;

/// One at a time in this process: a hash may want a lot of memory.
static TURN: Mutex<()> = Mutex::const_new(());

/// Finds out for the rule that asks whether a list of users allows a request.
pub(super) async fn verify(client: &Rc<Client>, unknown: Unknown) {
    let users = Arc::clone(&unknown.users);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, unknown.field.clone())]);
    let allowed = aside(move || users.allow(&headers)).await;
    let memory = &mut Memory::of(client).remembered;
    memory.state.check(unknown, allowed.unwrap_or(false));
}

/// Does something that takes long beside the workers, when it is its turn. `None` if the process is ending.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let turn = TURN.lock().await;
    // Whoever leaves meanwhile leaves the work running, and its turn with it.
    let work = move || {
        let _turn = turn;
        work()
    };
    spawn_blocking(work).await.ok()
}
