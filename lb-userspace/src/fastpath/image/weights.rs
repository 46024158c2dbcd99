//! Weights and limits of servers, as the kernel program knows them.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::load::{Weight, WeightBlock, reciprocal};

use super::Image;
use crate::{
    fastpath::registry::{Registry, Room},
    topology::{Backend, Server, Topology},
};

impl Image {
    /// The weights with what userspace serves of each server at this moment.
    pub(in crate::fastpath) fn weights_now(
        &self,
        topology: &Topology,
        registry: &mut Registry,
        room: &Room,
    ) -> BTreeMap<u32, WeightBlock> {
        let mut weights = self.weights.clone();
        for server in topology
            .backends
            .iter()
            .flat_map(|backend| &backend.servers)
        {
            // Only blocks of backends that the kernel serves are there.
            let Ok(index) = registry.server(&server.backend, &server.name, room) else {
                continue;
            };
            if let Some(block) = weights.get_mut(&(index >> 8)) {
                let weight = &mut block.0[(index & 0xff) as usize];
                let refuses = weight.external & Weight::REFUSES;
                weight.external = server.userspace_active().min(Weight::REFUSES - 1) | refuses;
                weight.max = kernel_max(server, weight.external);
            }
        }
        weights
    }

    pub(super) fn add_weights(
        &mut self,
        block: u32,
        backend: &Backend,
        ordinals: &[u16],
        eligible: &BTreeSet<usize>,
    ) {
        let weights = self.weights.entry(block).or_insert_with(|| {
            let refuses = Weight {
                external: Weight::REFUSES,
                ..Weight::default()
            };
            WeightBlock([refuses; lb_common::load::BLOCK])
        });
        for (server, ordinal) in backend.servers.iter().zip(ordinals) {
            let refuses = if eligible.contains(&server.index) {
                0
            } else {
                Weight::REFUSES
            };
            let external = server.userspace_active().min(Weight::REFUSES - 1) | refuses;
            weights.0[usize::from(*ordinal)] = Weight {
                recip: reciprocal(server.balance_weight().max(1)),
                max: kernel_max(server, external),
                external,
                spare: 0,
            };
        }
    }
}

/// [`Weight::max`] for the kernel's part of a server's `maxconn`: the program adds `external` to its own count.
fn kernel_max(server: &Server, external: u32) -> u32 {
    match server.maxconn() {
        Some(_) => server.slots().kernel + (external & !Weight::REFUSES),
        None => Weight::UNBOUNDED,
    }
}
