//! The source NAT ports, which are the kernel path's alone as long as a flow may have them.

use super::Agent;
use crate::fastpath::{
    census::Seen,
    net::ports::{self, PortSet},
};

impl Agent {
    /// Finds the ports that flows of an earlier agent may have, where the file has given it others.
    pub(super) fn find_earlier_ports(&mut self) {
        if !self.kernel.taken_over {
            return;
        }
        let fixed = &self.kernel.fixed;
        let before =
            u32::from(fixed.snat_first)..u32::from(fixed.snat_first) + u32::from(fixed.snat_count);
        let before: PortSet = before.filter_map(|port| u16::try_from(port).ok()).collect();
        // That one may have found some as well.
        let ours = self.reservation.ours().unwrap_or_default();
        self.earlier_ports = before.union(&ours).difference(&self.wanted_ports());
        if !self.earlier_ports.is_empty() {
            tracing::info!(
                "fast_path.snat_ports has changed: {} stay reserved until no flow has them",
                self.earlier_ports
            );
        }
    }

    /// Takes the source NAT ports out of the host's hands, but for those that something listens on.
    pub(super) fn reserve_ports(&mut self) {
        match ports::listening() {
            Ok(listening) => {
                let listening = listening.tcp.union(&listening.udp);
                let taken = self.wanted_ports().intersection(&listening);
                self.listening = taken.ranges().iter().cloned().flatten().collect();
            }
            Err(error) => tracing::warn!("cannot tell which ports are listened on: {error}"),
        }
        self.reserve();
    }

    /// Frees what an earlier file's ports no flow has any more.
    pub(super) fn free_earlier_ports(&mut self, seen: &Seen) {
        let free = self.census.free_ports(seen);
        if free.is_empty() {
            return;
        }
        self.earlier_ports = self.earlier_ports.difference(&free);
        self.reserve();
    }

    /// Has reserved what is wanted, and what flows may have.
    pub(super) fn reserve(&self) {
        let wanted = self.wanted_ports();
        let free: PortSet = self.listening.iter().copied().collect();
        let all = wanted.difference(&free).union(&self.earlier_ports);
        match self.reservation.reserve(&all) {
            Ok(others) if others.intersection(&wanted).is_empty() => {}
            // The program would drop what comes for the other's flows as answers that nobody waits for.
            Ok(others) => tracing::warn!(
                "source ports {} of the kernel path were reserved already: if by another lb on this host, give each its own \
                 fast_path.snat_ports, or each drops the other's answers",
                others.intersection(&wanted)
            ),
            Err(error) => tracing::warn!(
                "source ports of the kernel path are not reserved, a connection of this host may collide: {error}"
            ),
        }
    }

    /// The file's.
    fn wanted_ports(&self) -> PortSet {
        [self.config.global.fast_path.snat_ports.clone()]
            .into_iter()
            .collect()
    }
}
