//! Passwords whose hashes take long, on purpose: they are computed beside the workers, one at a time, so that guessing stops
//! nobody else's requests.

use std::{rc::Rc, sync::Arc};

use http::{HeaderMap, header::AUTHORIZATION};
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{Client, rules::Memory};
use crate::rules::{RuleSet, credentials};

/// One at a time in this process: a hash may want a lot of memory.
static TURN: Mutex<()> = Mutex::const_new(());

/// Finds out what lists of users that these rules ask for say of a request, where that takes long.
pub(super) async fn check(client: &Rc<Client>, rules: &RuleSet, headers: &HeaderMap) {
    if rules.slow_users().is_empty() {
        return;
    }
    let (Some(field), Some((name, password))) =
        (headers.get(AUTHORIZATION).cloned(), credentials(headers))
    else {
        return;
    };
    for users in rules.slow_users() {
        if users.at_once(&name, &password).is_some() {
            continue;
        }
        let (of, name, password) = (Arc::clone(users), name.clone(), password.clone());
        let allowed = aside(move || of.verify(&name, &password)).await;
        let allowed = allowed.unwrap_or(false);
        let memory = &mut Memory::of(client).remembered;
        memory
            .state
            .check(Arc::clone(users), field.clone(), allowed);
    }
}

/// Does something that takes long beside the workers, when it is its turn. `None` if the process is ending.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let _turn = TURN.lock().await;
    spawn_blocking(work).await.ok()
}
