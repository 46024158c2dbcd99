//! Orders to the reaper program, which alone removes flows and settles their counts: the packets that it is run with.

use aya::Pod;
use lb_common::{
    abi::{REAP_BATCH, ReapHeader, reap},
    flow::FlowKey,
};

use super::{error::FastPathError, family::Address, kernel::Kernel};

/// What is to be done with flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Remove those that are idle or closed.
    Idle,
    /// Mark as being reset.
    Reset,
    /// Remove.
    Remove,
}

impl Order {
    fn number(self) -> u32 {
        match self {
            Self::Idle => reap::IDLE,
            Self::Reset => reap::RESET,
            Self::Remove => reap::REMOVE,
        }
    }
}

/// Gives an order for flows, by the keys of their forward entries.
pub(super) fn give<A: Address>(
    kernel: &Kernel,
    order: Order,
    keys: &[FlowKey<A>],
) -> Result<(), FastPathError>
where
    FlowKey<A>: Pod,
{
    for batch in keys.chunks(A::REAP_BATCH) {
        kernel.reap(&packet(order, batch))?;
    }
    Ok(())
}

/// Empties `count` sets of half-open flows from `first` on of what is too old.
pub(super) fn expire_half<A: Address>(
    kernel: &Kernel,
    first: u32,
    count: u32,
) -> Result<(), FastPathError> {
    let header = ReapHeader {
        order: reap::HALF | A::REAP_BIT,
        count: count.min(REAP_BATCH as u32),
        first,
        spare: 0,
    };
    kernel.reap(&bytes(&header))?;
    Ok(())
}

/// The reaper's packet: a header, then keys.
fn packet<A: Address>(order: Order, keys: &[FlowKey<A>]) -> Vec<u8> {
    let header = ReapHeader {
        order: order.number() | A::REAP_BIT,
        count: keys.len() as u32,
        ..ReapHeader::default()
    };
    let mut bytes = bytes(&header);
    for key in keys {
        bytes.extend(key.src.bytes());
        bytes.extend(key.dst.bytes());
        bytes.extend(key.sport.to_ne_bytes());
        bytes.extend(key.dport.to_ne_bytes());
        bytes.extend(key.proto.to_ne_bytes());
    }
    bytes
}

fn bytes(header: &ReapHeader) -> Vec<u8> {
    [header.order, header.count, header.first, header.spare]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use lb_common::{
        abi::REAP_HEADER,
        flow::{V4, V6},
    };

    use super::*;

    #[test]
    fn keys_are_laid_out_as_the_program_reads_them() {
        let key = FlowKey::<V4> {
            src: 1,
            dst: 2,
            sport: 3,
            dport: 4,
            proto: 6,
        };
        let bytes = packet(Order::Reset, &[key; 2]);
        assert_eq!(bytes.len(), REAP_HEADER + 2 * size_of::<FlowKey<V4>>());
        assert_eq!(bytes[..8], [2, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[REAP_HEADER + 16], 1);
        assert_eq!(bytes[REAP_HEADER + 12], 6);
        let six = FlowKey::<V6> {
            proto: 17,
            ..FlowKey::default()
        };
        let bytes = packet(Order::Idle, &[six]);
        assert_eq!(bytes.len(), REAP_HEADER + size_of::<FlowKey<V6>>());
        assert_eq!((bytes[0], bytes[REAP_HEADER + 36]), (1, 17));
    }
}
