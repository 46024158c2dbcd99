//! Changes to the world that rows ask for.

use aya::maps::xdp::DevMapHash;
use lb_common::flow::{Hop, SideKey, tag_word};
use lb_common::load::{ActiveBlock, Weight, WeightBlock, reciprocal};
use lb_common::service::{Service, forward};

use crate::fixture::Fixture;
use crate::frame::proto;
use crate::world::{Family, HOPS_A_FAMILY, S_TAG, S_TAGS, World, hop, port};

impl Fixture {
    /// Lets each server have this many connections.
    pub(crate) fn limit(&mut self, max: u32) {
        let mut weights = WeightBlock::default();
        for (i, weight) in weights.0[..8].iter_mut().enumerate() {
            *weight = Weight {
                recip: reciprocal(if i == 1 { 2 } else { 1 }),
                max,
                ..Weight::default()
            };
        }
        self.set("WEIGHTS", 0, weights);
        self.set("WEIGHTS", 1, weights);
    }

    /// Sets what this family's servers have active, as if others had opened it.
    pub(crate) fn set_active(&mut self, active: &[u32]) {
        let block = u32::from(self.world.family == Family::V6);
        let mut value = ActiveBlock::default();
        value.active[..active.len()].copy_from_slice(active);
        self.set("ACTIVE", block, value);
    }

    /// A second service of the only server that sees clients' own addresses.
    pub(crate) fn put_nat_twin(&mut self, w: &World) {
        let second = u32::from(w.family == Family::V6);
        let service = Service {
            id: 31,
            slots_base: 2,
            slots_len: 1,
            block: second,
            members_base: second,
            forward: forward::NAT,
            ..Service::default()
        };
        for proto in [proto::TCP, proto::UDP] {
            self.put_by_end("SERVICES", w.at(port::NONE), proto, service);
        }
    }

    /// Has a server of both families refuse new flows, as one in drain or maintenance does, or have so many connections
    /// of userspace.
    pub(crate) fn external(&mut self, ordinal: usize, external: u32) {
        for block in 0..2 {
            let mut weights = self.get::<WeightBlock>("WEIGHTS", block);
            weights.0[ordinal].external = external;
            self.set("WEIGHTS", block, weights);
        }
    }

    /// Describes the clients' side that these tags stand for.
    pub(crate) fn side(&mut self, tags: &[(u16, u16)], hop: u32) {
        let mut words = [0; 2];
        for (word, (kind, id)) in words.iter_mut().zip(tags) {
            *word = tag_word(*kind, *id);
        }
        // TC's test run has no interface.
        for ifindex in 0..2 {
            let key = SideKey {
                ifindex,
                tags: words,
                spare: 0,
            };
            self.put("SIDES", key, hop);
        }
    }

    /// Describes what the servers of this service are behind as a side of clients, too.
    pub(crate) fn describe_server_side(&mut self, port: u16) {
        match port {
            port::TAG => self.side(&[S_TAG], hop::CLIENTS_TAG),
            port::TAGS | port::IPIP_TAGS => self.side(&S_TAGS, hop::CLIENTS_TAGS),
            _ => {}
        }
    }

    /// Forgets what is known of the clients' side.
    pub(crate) fn forget_side(&mut self) {
        for ifindex in 0..2 {
            let key = SideKey {
                ifindex,
                ..SideKey::default()
            };
            self.delete::<SideKey, u32>("SIDES", key);
        }
    }

    /// Has no packets redirected to the servers' interface.
    pub(crate) fn forget_interface(&mut self) {
        let mut tx: DevMapHash<_> = self.ebpf.map_mut("TX").unwrap().try_into().unwrap();
        tx.remove(self.out).unwrap();
    }

    /// Changes a hop of this family.
    pub(crate) fn hop(&mut self, hop: u32, change: impl FnOnce(&mut Hop)) {
        let clients = [hop::CLIENTS, hop::CLIENTS_TAG, hop::CLIENTS_TAGS];
        let second = u32::from(self.world.family == Family::V6 && !clients.contains(&hop));
        let index = hop + second * HOPS_A_FAMILY;
        let mut value = self.get::<Hop>("HOPS", index);
        change(&mut value);
        self.set("HOPS", index, value);
    }
}
