//! Where the kernel path joins in: after the workers accept, and without them waiting for it.

use crate::{
    config::{
        Config,
        model::{Attach, Mode},
    },
    observe::path::{FrontendPath, PathKind, PathStatus, SharedPathStatus},
    topology::Topology,
};

/// The file insists on a kernel path that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "global.fast_path.attach is {0}, but this build of lb has no kernel path: set it to auto or off"
)]
pub struct FastPathError(&'static str);

/// The attached kernel path; dropping it detaches.
#[derive(Debug)]
pub(super) struct FastPath;

/// Attaches the kernel path as the file wants it, and publishes which way each frontend takes.
pub(super) fn start(
    config: &Config,
    topology: &Topology,
    status: &SharedPathStatus,
) -> Result<FastPath, FastPathError> {
    let reason = match config.global.fast_path.attach {
        Attach::Off => "fast_path.attach is off",
        Attach::Auto => "this build has no kernel path",
        Attach::Xdp => return Err(FastPathError("xdp")),
        Attach::XdpGeneric => return Err(FastPathError("xdp-generic")),
        Attach::Tc => return Err(FastPathError("tc")),
    };
    let path = |frontend: &crate::topology::Frontend| FrontendPath {
        frontend: frontend.name.to_string(),
        path: PathKind::Userspace,
        reason: match frontend.config.mode {
            Mode::Http => "mode http needs userspace".to_owned(),
            Mode::Tcp => reason.to_owned(),
        },
    };
    status.store(PathStatus {
        frontends: topology
            .frontends
            .iter()
            .map(|frontend| path(frontend))
            .collect(),
        ..PathStatus::default()
    });
    Ok(FastPath)
}
