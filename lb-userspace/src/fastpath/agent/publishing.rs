//! What the agent tells: counters, and the status of the kernel path.

use std::collections::BTreeMap;

use super::Agent;
use crate::{
    capabilities::{self, Capability},
    config::path::Remark,
    fastpath::{error::FastPathError, image::Image, kernel::Kernel, object, traffic},
    observe::path::{FrontendPath, PathKind, PathStatus},
    topology::{Topology, counters::KernelTraffic},
};

impl Agent {
    pub(super) fn publish(&mut self) -> Result<(), FastPathError> {
        if let Err(error) = self.clear_if_told() {
            tracing::error!("what the kernel has counted still counts: {error}");
        }
        let Kernel {
            maps,
            registry,
            capacity,
            ..
        } = &mut self.kernel;
        let active = traffic::publish(maps, registry, &capacity.room, &self.sweep, &self.topology)?;
        self.active.send_replace(active);
        let Kernel { maps, capacity, .. } = &self.kernel;
        let frontends = self.synced.image().frontends.iter();
        let frontends = frontends.map(|(name, result)| self.frontend(name, result));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        self.status.store(PathStatus {
            program: object::build().map(str::to_owned),
            frontends: frontends.collect(),
            interfaces: self.interfaces.values().cloned().collect(),
            idle: self.idle,
            flows: maps.flows()?,
            max_flows: u64::from(capacity.flows()),
            memory: capacity.bytes(cpus),
            lost: None,
            drift: self.sweep.drift(),
            limits: limits(),
            counters: traffic::reasons(maps)?,
        });
        Ok(())
    }

    /// Where an operator has said so, what the kernel has counted until now counts no more, for the next agent neither. Its counters go on.
    pub(super) fn clear_if_told(&mut self) -> Result<(), FastPathError> {
        if !self.status.take_clear() {
            return Ok(());
        }
        let before = self.kernel.registry.clone();
        let mut counted = BTreeMap::new();
        for (lane, ..) in before.all_lanes() {
            counted.insert(lane, traffic::counted(&self.kernel.maps, lane)?);
        }
        self.kernel.registry.clear_counts(counted);
        if let Err(error) = self.kernel.write_registry() {
            self.kernel.registry = before;
            return Err(error);
        }
        self.topology
            .kernel_traffic()
            .for_each(KernelTraffic::clear);
        Ok(())
    }

    /// Says whose new flows go another way from now on.
    pub(super) fn tell_paths(&self, image: &Image) {
        let before = &self.synced.image().frontends;
        for (frontend, now) in &image.frontends {
            match (before.get(frontend), now) {
                (Some(Ok(_)), Err(why)) => {
                    tracing::warn!("frontend {frontend}: userspace serves new flows: {why}");
                }
                (Some(Err(_)), Ok(_)) => {
                    tracing::info!("frontend {frontend}: the kernel forwards new flows");
                }
                _ => {}
            }
        }
    }

    fn frontend(&self, name: &str, result: &Result<Option<Remark>, String>) -> FrontendPath {
        let (path, reason) = match result {
            Err(why) => (PathKind::Userspace, why.clone()),
            Ok(_) if self.leaving => (
                PathKind::Userspace,
                "fast_path.attach is off; an earlier lb's flows are served to their end".into(),
            ),
            Ok(_) if self.draining => (
                PathKind::Kernel,
                "stopping: new flows go to userspace".into(),
            ),
            Ok(None) => (PathKind::Kernel, "forwarded in the kernel".into()),
            Ok(Some(remark)) => {
                let path = if remark.leaves_clients {
                    PathKind::Both
                } else {
                    PathKind::Kernel
                };
                (path, format!("forwarded in the kernel; {}", remark.text))
            }
        };
        let path = match path {
            PathKind::Kernel if self.has_left_interfaces() => PathKind::Both,
            path => path,
        };
        FrontendPath {
            frontend: name.to_owned(),
            path,
            reason,
        }
    }
}

/// What the kernel path cannot do for want of a capability.
fn limits() -> Vec<String> {
    let lacking = capabilities::lacking(&[Capability::NetRaw]);
    let clause = |lacking: &Capability| format!("lacks {}", capabilities::explain(&[*lacking]));
    lacking.iter().map(clause).collect()
}

/// What the status says of every frontend when there is no kernel path, for `reason`.
pub fn no_kernel_path(topology: &Topology, reason: &str) -> PathStatus {
    let frontends = topology.frontends.iter().map(|frontend| FrontendPath {
        frontend: frontend.name.to_string(),
        path: PathKind::Userspace,
        reason: match frontend.config.mode {
            crate::config::model::Mode::Http => "mode http needs userspace".into(),
            crate::config::model::Mode::Tcp => reason.to_owned(),
        },
    });
    PathStatus {
        frontends: frontends.collect(),
        ..PathStatus::default()
    }
}
