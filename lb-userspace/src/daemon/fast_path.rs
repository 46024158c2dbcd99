//! Where the kernel path joins in: after the workers accept, and without them waiting for it.

use std::sync::Arc;

use crate::{
    config::{Config, model::Attach},
    fastpath::{FastPath, FastPathError, is_left_over, no_kernel_path},
    observe::{log::Sink, path::SharedPathStatus},
    topology::Topology,
};

/// Attaches the kernel path as the file wants it, and publishes which way each frontend takes. `None` where userspace
/// serves alone.
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
    if attach == Attach::Off {
        if is_left_over(config) {
            tokio::spawn(leave(
                Arc::clone(config),
                Arc::clone(topology),
                status.clone(),
                log.clone(),
            ));
        }
        status.store(no_kernel_path(topology, "fast_path.attach is off"));
        return Ok(None);
    }
    status.store(no_kernel_path(topology, "the kernel path is being loaded"));
    let started = FastPath::start(
        Arc::clone(config),
        Arc::clone(topology),
        status.clone(),
        log.clone(),
    )
    .await;
    match started {
        Ok(fast_path) => Ok(Some(fast_path)),
        Err(error) if attach == Attach::Auto => {
            tracing::warn!("no kernel path, userspace serves all: {error}");
            status.store(no_kernel_path(topology, &error.to_string()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An earlier lb had a kernel path that the file no longer wants: its flows run to their end there, then it is removed.
async fn leave(config: Arc<Config>, topology: Arc<Topology>, status: SharedPathStatus, log: Sink) {
    match FastPath::start(config, Arc::clone(&topology), status.clone(), log).await {
        Ok(fast_path) => {
            tracing::info!(
                "fast_path.attach is off: the kernel path of an earlier lb takes no new flows"
            );
            fast_path.drain().await;
            fast_path.finish(false).await;
            status.store(no_kernel_path(&topology, "fast_path.attach is off"));
            tracing::info!("the kernel path of an earlier lb has no more flows and is removed");
        }
        Err(error) => tracing::error!("the kernel path of an earlier lb cannot be ended: {error}"),
    }
}
