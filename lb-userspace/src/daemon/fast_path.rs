//! Where the kernel path joins in: after the workers accept, and without them waiting for it.

use std::sync::Arc;

use crate::{
    config::{
        Config,
        model::{Attach, OnStop},
        path::unlike_kernel,
    },
    fastpath::{FastPath, FastPathError, is_left_over, no_kernel_path, remove_left_over},
    observe::{
        log::Sink,
        path::{PathStatus, SharedPathStatus},
    },
    topology::Topology,
};

/// Why userspace serves alone, where the file says so.
const OFF: &str = "fast_path.attach is off";

/// Whether the kernel is to forward, or does still and is to end it: the process before has it, or one that is gone.
pub(super) fn is_wanted(config: &Config, before: bool) -> bool {
    config.global.fast_path.attach != Attach::Off || before || is_left_over(config)
}

/// Attaches the kernel path as the file wants it, or takes over what an earlier lb has left and the file no longer wants, and
/// publishes which way each frontend takes. `None` where userspace serves alone.
///
/// # Errors
/// The kernel path cannot be had although the file insists on it.
pub(super) async fn start(
    config: &Arc<Config>,
    topology: &Arc<Topology>,
    status: &SharedPathStatus,
    log: &Sink,
) -> Result<Option<FastPath>, FastPathError> {
    let attach = config.global.fast_path.attach;
    let reason = match attach {
        Attach::Off => OFF,
        _ => "the kernel path is being loaded",
    };
    status.store(userspace_alone(topology, reason));
    if attach == Attach::Off && !is_left_over(config) {
        return Ok(None);
    }
    let started = FastPath::start(
        Arc::clone(config),
        Arc::clone(topology),
        status.clone(),
        log.clone(),
    )
    .await;
    match (started, attach) {
        (Ok(fast_path), _) => {
            if fast_path.is_leaving() {
                // Its flows run to their end there, then it is removed, by `end_left`.
                tracing::info!("{OFF}: the kernel path of an earlier lb takes no new flows");
            }
            Ok(Some(fast_path))
        }
        (Err(error), Attach::Off) => {
            tracing::error!("the kernel path of an earlier lb cannot be ended: {error}");
            Ok(None)
        }
        (Err(error), Attach::Auto) => {
            tracing::warn!("no kernel path, userspace serves all: {error}");
            status.store(userspace_alone(topology, &error.to_string()));
            Ok(None)
        }
        (Err(error), _) => Err(error),
    }
}

/// Publishes which way each frontend takes under another configuration, while there is no kernel path.
pub(super) fn follow_without(config: &Config, topology: &Topology, status: &SharedPathStatus) {
    let before = status.load();
    let reasons = before.frontends.iter().map(|frontend| &*frontend.reason);
    let why = reasons.into_iter().find(|why| !why.contains("mode http"));
    let why = match (config.global.fast_path.attach, why) {
        (Attach::Off, _) => OFF,
        // What follows is about the frontend alone.
        (_, Some(why)) => why.split("; ").next().unwrap_or(why),
        (_, None) => "there is no kernel path",
    };
    status.store(userspace_alone(topology, why));
}

/// The status while there is no kernel path, for `reason`: also what that means to servers that expect the client's
/// address.
fn userspace_alone(topology: &Topology, reason: &str) -> PathStatus {
    let mut status = no_kernel_path(topology, reason);
    for frontend in &mut status.frontends {
        let found = topology.frontend(&frontend.frontend);
        let backend = found.and_then(|found| found.default_backend());
        if let Some(how) = backend.and_then(|backend| unlike_kernel(backend.config.forward)) {
            frontend.reason = format!("{}; connections come to the servers {how}", frontend.reason);
        }
    }
    status
}

/// Resolves once a kernel path that is being left has no more flows; never for another.
pub(super) async fn left(fast_path: Option<&FastPath>) {
    match fast_path.filter(|fast_path| fast_path.is_leaving()) {
        Some(fast_path) => fast_path.emptied().await,
        None => std::future::pending().await,
    }
}

/// Removes one that is being left and has no more flows.
pub(super) async fn end_left(
    fast_path: &mut Option<FastPath>,
    topology: &Topology,
    status: &SharedPathStatus,
) {
    if let Some(fast_path) = fast_path.take() {
        fast_path.finish(false).await;
        status.store(userspace_alone(topology, OFF));
        tracing::info!("the kernel path of an earlier lb has no more flows and is removed");
    }
}

/// Ends the kernel path with the daemon. Without an agent nothing is to forward for an lb that is gone either, unless it is to
/// be kept.
pub(super) async fn finish(fast_path: Option<FastPath>, config: &Config) {
    let keep = config.global.fast_path.on_stop == OnStop::Keep;
    match fast_path {
        Some(fast_path) => fast_path.finish(keep).await,
        None if keep || !is_left_over(config) => {}
        None => match remove_left_over(config) {
            Ok(()) => tracing::warn!("what an earlier lb left of its kernel path is removed"),
            Err(error) => tracing::error!("what an earlier lb left stays: {error}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::model::{Balance, Forward},
        topology::fixtures,
    };

    #[test]
    fn servers_that_expect_the_clients_address_are_told_of() {
        for (forward, told) in [
            (Forward::FullNat, false),
            (Forward::Nat, true),
            (Forward::Ipip, true),
        ] {
            let mut backend = fixtures::backend("b", Balance::RoundRobin, Vec::new());
            backend.forward = forward;
            let frontend = fixtures::frontend("f", ([127, 0, 0, 1], 0).into(), "b");
            let config = fixtures::config(vec![frontend], vec![backend]);
            let status = userspace_alone(&Topology::new(&config), "it is off");
            let reason = &status.frontends[0].reason;
            assert!(reason.starts_with("it is off"), "{reason}");
            assert_eq!(
                reason.contains("from this host's address"),
                told,
                "{reason}"
            );
        }
    }
}
