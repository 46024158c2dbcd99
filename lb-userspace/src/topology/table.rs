//! The balancing table: which servers take new flows, and in which turn.

use std::{net::IpAddr, sync::Arc};

use lb_common::{hash, slots};

use super::Server;

/// What balancing needs of a backend at one moment; replaced whole at each change of state or weight.
#[derive(Debug, Default)]
pub struct Table {
    /// Indexes of the servers that take new flows.
    servers: Vec<u16>,
    /// Slot → place in `servers`, interleaved by weight.
    slots: Vec<u16>,
}

impl Table {
    /// Builds the table of the servers that are eligible now: the ordinary ones, or, if there is none, the first
    /// eligible backup (as HAProxy without `allbackups`).
    pub(super) fn build(all: &[Arc<Server>]) -> Self {
        let eligible = |backup| {
            all.iter()
                .filter(move |s| s.config.backup == backup && s.is_eligible())
        };
        let mut chosen: Vec<&Arc<Server>> = eligible(false).collect();
        if chosen.is_empty() {
            chosen.extend(eligible(true).next());
        }
        let weights: Vec<u16> = chosen.iter().map(|s| s.effective_weight()).collect();
        let servers = chosen
            .iter()
            .filter_map(|s| u16::try_from(s.index).ok())
            .collect();
        Self {
            servers,
            slots: slots::interleave(&weights),
        }
    }

    /// Indexes of the servers that take new flows, in the order of the file.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = usize> + Clone + '_ {
        self.servers.iter().map(|&index| usize::from(index))
    }

    /// Slots in a whole cycle; 0 if no server takes new flows.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no server takes new flows.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The server of slot `n`, counted round and round.
    pub fn at(&self, n: usize) -> Option<usize> {
        let slot = self.slots.get(n.checked_rem(self.slots.len())?)?;
        self.servers
            .get(usize::from(*slot))
            .map(|&index| usize::from(index))
    }

    /// The slot of a client under `balance source`.
    pub fn source_slot(&self, client: IpAddr) -> usize {
        let hash = match client.to_canonical() {
            IpAddr::V4(v4) => hash::source_v4(v4.into()),
            IpAddr::V6(v6) => {
                let bits = u128::from(v6);
                hash::source_v6((bits >> 64) as u64, bits as u64)
            }
        };
        hash::reduce(hash, u32::try_from(self.len()).unwrap_or(u32::MAX)) as usize
    }
}
