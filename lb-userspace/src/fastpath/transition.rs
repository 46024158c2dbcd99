//! Weights while services' records are being replaced: for some moments the program balances by old records with new
//! weights. So until the records are there, a server that goes keeps its weight, as old tables still lead to it, and one
//! that comes has none as long as an old record knows no lane of it.

use std::collections::BTreeMap;

use lb_common::{
    load::{Weight, WeightBlock},
    service::algorithm,
};

use super::image::Balanced;

/// What the blocks hold meanwhile; `records` are the services as they are before.
pub(super) fn between<'a>(
    old: &BTreeMap<u32, WeightBlock>,
    new: &BTreeMap<u32, WeightBlock>,
    records: impl Iterator<Item = &'a Balanced> + Clone,
) -> BTreeMap<u32, WeightBlock> {
    let mut blocks = new.clone();
    for (index, block) in &mut blocks {
        let Some(old) = old.get(index) else { continue };
        let least = records.clone().filter(|record| {
            record.service.block == *index && record.service.algorithm == algorithm::LEAST_CONN
        });
        for (ordinal, (weight, before)) in block.0.iter_mut().zip(&old.0).enumerate() {
            let refuses = |weight: &Weight| weight.external & Weight::REFUSES != 0;
            let stays = match (refuses(before), refuses(weight)) {
                (false, true) => true,
                (true, false) => least
                    .clone()
                    .any(|record| record.members.get(ordinal) == Some(&0)),
                _ => false,
            };
            if stays {
                *weight = *before;
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use lb_common::{load::BLOCK, service::Service};

    use super::*;

    const REFUSES: Weight = Weight {
        recip: 0,
        max: 0,
        external: Weight::REFUSES,
        spare: 0,
    };

    fn block(taking: &[usize], recip: u32) -> BTreeMap<u32, WeightBlock> {
        let mut weights = [REFUSES; BLOCK];
        for ordinal in taking {
            weights[*ordinal] = Weight {
                recip,
                max: Weight::UNBOUNDED,
                external: 0,
                spare: 0,
            };
        }
        BTreeMap::from([(7, WeightBlock(weights))])
    }

    fn record(algorithm: u8, members: &[u32]) -> Balanced {
        Balanced {
            service: Service {
                block: 7,
                algorithm,
                ..Service::default()
            },
            slots: [].into(),
            members: members.into(),
        }
    }

    fn taking(blocks: &BTreeMap<u32, WeightBlock>) -> Vec<usize> {
        let weights = blocks[&7].0.iter().enumerate();
        let taking = weights.filter(|(_, weight)| weight.external == 0);
        taking.map(|(ordinal, _)| ordinal).collect()
    }

    #[test]
    fn who_goes_stays_until_the_records_are_replaced_and_who_comes_is_known_first() {
        let (old, new) = (block(&[1, 2], 5), block(&[0, 2, 3], 6));
        let table = [record(algorithm::MAGLEV, &[0, 11, 12])];
        let meanwhile = between(&old, &new, table.iter());
        assert_eq!(taking(&meanwhile), [0, 1, 2, 3]);
        assert_eq!((meanwhile[&7].0[1].recip, meanwhile[&7].0[2].recip), (5, 6));
        // The old record would send flows of the first to lane 0; the last is beyond it.
        let least = [record(algorithm::LEAST_CONN, &[0, 11, 12])];
        assert_eq!(taking(&between(&old, &new, least.iter())), [1, 2, 3]);
        let known = [record(algorithm::LEAST_CONN, &[10, 11, 12])];
        assert_eq!(taking(&between(&old, &new, known.iter())), [0, 1, 2, 3]);
        assert_eq!(between(&BTreeMap::new(), &new, least.iter()), new);
    }
}
