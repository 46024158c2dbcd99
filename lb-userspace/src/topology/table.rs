//! The balancing table: which servers take new flows, and in which turn.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::{hash, slots};

use super::Server;
use crate::config::model::{self, Address, Balance};

/// What balancing needs of a backend at one moment; replaced whole at each change of state or weight.
#[derive(Debug, Default)]
pub struct Table {
    /// Indexes of the servers that take new flows.
    servers: Vec<u16>,
    /// Slot → place in `servers`: interleaved by weight, or a Maglev table.
    slots: Vec<u16>,
    /// Of all servers together.
    weight: u64,
}

impl Table {
    /// Builds the table of the servers that are eligible now: the ordinary ones, or, if there is none, the first
    /// eligible backup, or all of them (HAProxy's `allbackups`).
    pub(super) fn build(config: &model::Backend, all: &[Arc<Server>]) -> Self {
        let eligible = |backup| {
            all.iter()
                .filter(move |s| s.config.backup == backup && s.is_eligible())
        };
        let mut chosen: Vec<&Arc<Server>> = eligible(false).collect();
        if chosen.is_empty() {
            let most = match config.connections.all_backups {
                true => usize::MAX,
                false => 1,
            };
            chosen.extend(eligible(true).take(most));
        }
        let weights: Vec<u16> = chosen
            .iter()
            .map(|s| match config.balance {
                // An operator's weight only takes it out.
                Balance::StaticRr if s.config.weight > 0 => s.config.weight,
                _ => s.balance_weight(),
            })
            .collect();
        let weight = weights.iter().copied().map(u64::from).sum();
        let servers = chosen
            .iter()
            .filter_map(|s| u16::try_from(s.index).ok())
            .collect();
        let slots = if config.is_consistent() {
            let keys: Vec<u64> = chosen.iter().map(|s| key(&s.address())).collect();
            slots::maglev(&keys, &weights, config.table_size)
        } else if config.has_map_of_haproxy() {
            slots::in_order(&weights)
        } else {
            slots::interleave(&weights)
        };
        Self {
            servers,
            slots,
            weight,
        }
    }

    /// Indexes of the servers that take new flows, in the order of the file.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = usize> + Clone + '_ {
        self.servers.iter().map(|&index| usize::from(index))
    }

    /// The weights of its servers together.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Servers from slot `start` on, for whoever takes the first that will do: as many slots as there are servers, and then
    /// each server once. Some server may have one slot in ten thousand; it is not looked for that long.
    pub fn from(&self, start: usize) -> impl Iterator<Item = usize> + '_ {
        let count = self.servers.len();
        let each = self.servers().cycle();
        let each = each.skip(start.checked_rem(count).unwrap_or_default());
        (start..start + count)
            .filter_map(|slot| self.at(slot))
            .chain(each.take(count))
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

    /// The slot of a client under `balance: source`.
    pub fn source_slot(&self, client: IpAddr) -> usize {
        self.slot(match client.to_canonical() {
            IpAddr::V4(v4) => hash::source_v4(v4.into()),
            IpAddr::V6(v6) => {
                let (high, low) = words(v6.into());
                hash::source_v6(high, low)
            }
        })
    }

    /// The slot of a client's address and port under `balance: maglev`.
    pub fn endpoint_slot(&self, client: SocketAddr) -> usize {
        let port = client.port();
        self.slot(match client.ip().to_canonical() {
            IpAddr::V4(v4) => hash::endpoint_v4(v4.into(), port),
            IpAddr::V6(v6) => {
                let (high, low) = words(v6.into());
                hash::endpoint_v6(high, low, port)
            }
        })
    }

    /// The slot that a hash falls on as in HAProxy: the remainder.
    pub fn remainder_slot(&self, hash: u32) -> usize {
        (hash as usize).checked_rem(self.len()).unwrap_or_default()
    }

    /// The slot that a hash falls on.
    pub fn slot(&self, hash: u32) -> usize {
        hash::reduce(hash, u32::try_from(self.len()).unwrap_or(u32::MAX)) as usize
    }
}

/// A server's identity, the same on every node.
fn key(address: &Address) -> u64 {
    let address = match address {
        Address::Inet(address) => address,
        Address::Unix(path) => {
            let bytes = path.as_os_str().as_encoded_bytes().iter();
            return bytes.fold(0, |sum, &byte| hash::mix(sum ^ u64::from(byte)));
        }
        // Nothing is sent there.
        Address::Name(..) => return 0,
        Address::Asked(asked) => {
            let text = asked.to_string();
            return text
                .bytes()
                .fold(0, |sum, byte| hash::mix(sum ^ u64::from(byte)));
        }
    };
    let bits = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let (high, low) = words(bits.into());
    hash::server(high, low, address.port())
}

/// The two halves of an IPv6 address.
fn words(bits: u128) -> (u64, u64) {
    ((bits >> 64) as u64, bits as u64)
}
