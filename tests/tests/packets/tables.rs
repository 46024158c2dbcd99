//! What the flow tables hold, and changes to it that time or another program would make.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, Queue};
use aya::{Ebpf, Pod};
use lb_common::flow::{Closed, Flow, FlowKey, Half, HalfSet, V4, V6, flags};

use crate::fixture::{Fixture, HALF_SETS};
use crate::tuple::{Address, Entry, Tuple, by_family, entry, flow_key, tuple};
use crate::world::Family;

impl Fixture {
    /// All legs of established flows of this family.
    pub(crate) fn flows(&self) -> BTreeMap<Tuple, Entry> {
        fn all<A: Address>(ebpf: &Ebpf, name: &str) -> BTreeMap<Tuple, Entry>
        where
            FlowKey<A>: Pod,
            Flow<A>: Pod,
        {
            let map: HashMap<_, FlowKey<A>, Flow<A>> = ebpf.map(name).unwrap().try_into().unwrap();
            // What is removed meanwhile may end the walk; the next one finds the rest.
            map.iter()
                .filter_map(Result::ok)
                .map(|(key, flow)| {
                    let entry = entry(&key, &flow.leg, flow.packets, flow.bytes, flow.last);
                    (entry.key, entry)
                })
                .collect()
        }
        let name = self.world.family.map("FLOWS");
        by_family!(self.world.family, A => all::<A>(&self.ebpf, &name))
    }

    /// The leg that a packet with this tuple would find, established or half-open.
    pub(crate) fn leg(&self, key: Tuple) -> Option<Entry> {
        fn one<A: Address>(ebpf: &Ebpf, family: Family, tuple: Tuple) -> Option<Entry>
        where
            FlowKey<A>: Pod,
            Flow<A>: Pod,
        {
            let map = ebpf.map(&family.map("FLOWS")).unwrap();
            let map: HashMap<_, FlowKey<A>, Flow<A>> = map.try_into().unwrap();
            let key = flow_key::<A>(tuple);
            let flow = map.get(&key, 0).ok()?;
            Some(entry(&key, &flow.leg, flow.packets, flow.bytes, flow.last))
        }
        let family = self.world.family;
        by_family!(family, A => one::<A>(&self.ebpf, family, key))
            .or_else(|| self.half_open().into_iter().find(|half| half.key == key))
    }

    /// All legs of half-open flows of this family.
    pub(crate) fn half_open(&self) -> Vec<Entry> {
        fn all<A: Address>(ebpf: &Ebpf, name: &str, sets: u32) -> Vec<Entry>
        where
            HalfSet<A>: Pod,
        {
            let map: Array<_, HalfSet<A>> = ebpf.map(name).unwrap().try_into().unwrap();
            (0..sets)
                .flat_map(|set| map.get(&set, 0).unwrap().ways)
                .filter(|half| half.key.proto != 0)
                .map(|half| {
                    let bytes = half.bytes.into();
                    entry(&half.key, &half.leg, half.packets, bytes, half.since_ms)
                })
                .collect()
        }
        let name = self.world.family.map("HALF");
        by_family!(self.world.family, A => all::<A>(&self.ebpf, &name, self.sets))
    }

    /// Removes the entry that a packet between these ends would find.
    pub(crate) fn forget_flow(&mut self, tuple: Tuple) {
        let name = self.world.family.map("FLOWS");
        by_family!(self.world.family, A =>
            self.delete::<FlowKey<A>, Flow<A>>(&name, flow_key(tuple)));
    }

    /// Lets so many milliseconds pass for what is half-open.
    pub(crate) fn age_half_open(&mut self, ms: u32) {
        self.change_half_open(|_, since| *since = since.wrapping_sub(ms));
    }

    /// Changes when half-open legs were entered.
    pub(crate) fn change_half_open(&mut self, change: impl Fn(Tuple, &mut u32)) {
        fn all<A: Address>(fixture: &mut Fixture, name: &str, change: impl Fn(Tuple, &mut u32))
        where
            HalfSet<A>: Pod,
        {
            for set in 0..HALF_SETS {
                let mut value = fixture.get::<HalfSet<A>>(name, set);
                let HalfSet { ways, since_ms, .. } = &mut value;
                for (half, since) in ways.iter_mut().zip(since_ms) {
                    if half.key.proto != 0 {
                        change(tuple(&half.key), &mut half.since_ms);
                        *since = half.since_ms;
                    }
                }
                fixture.set(name, set, value);
            }
        }
        let name = self.world.family.map("HALF");
        by_family!(self.world.family, A => all::<A>(self, &name, change));
    }

    /// Lets half-open flows be opened so many milliseconds before.
    pub(crate) fn open_earlier(&mut self, ms: u32) {
        fn all<A: Address>(fixture: &mut Fixture, name: &str, ms: u32)
        where
            HalfSet<A>: Pod,
        {
            for set in 0..HALF_SETS {
                let mut value = fixture.get::<HalfSet<A>>(name, set);
                for half in &mut value.ways {
                    // Of the other direction that is the client's MAC address.
                    if half.leg.flags & flags::REVERSE == 0 {
                        half.leg.side[0] = half.leg.side[0].wrapping_sub(ms);
                    }
                }
                fixture.set(name, set, value);
            }
        }
        let name = self.world.family.map("HALF");
        by_family!(self.world.family, A => all::<A>(self, &name, ms));
    }

    /// Removes half-open legs.
    pub(crate) fn forget_half_open(&mut self, forget: impl Fn(Tuple) -> bool) {
        fn all<A: Address>(fixture: &mut Fixture, name: &str, forget: impl Fn(Tuple) -> bool)
        where
            HalfSet<A>: Pod,
        {
            for set in 0..HALF_SETS {
                let mut value = fixture.get::<HalfSet<A>>(name, set);
                for (half, tag) in value.ways.iter_mut().zip(&mut value.tags) {
                    if half.key.proto != 0 && forget(tuple(&half.key)) {
                        *half = Half::default();
                        *tag = 0;
                    }
                }
                fixture.set(name, set, value);
            }
        }
        let name = self.world.family.map("HALF");
        by_family!(self.world.family, A => all::<A>(self, &name, forget));
    }

    /// Lets so many milliseconds pass for what has closed.
    pub(crate) fn age_closed(&mut self, ms: u32) {
        fn all<A: Address>(ebpf: &mut Ebpf, name: &str, ms: u32)
        where
            Closed<A>: Pod,
        {
            let mut queue: Queue<_, Closed<A>> = ebpf.map_mut(name).unwrap().try_into().unwrap();
            let mut closed = Vec::new();
            while let Ok(one) = queue.pop(0) {
                closed.push(one);
            }
            for mut one in closed {
                one.since_ms = one.since_ms.wrapping_sub(ms);
                queue.push(one, 0).unwrap();
            }
        }
        let name = self.world.family.map("CLOSED");
        by_family!(self.world.family, A => all::<A>(&mut self.ebpf, &name, ms));
    }
}
