//! The kernel program, loaded but attached to nothing, and what a packet does to it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, Queue, RingBuf};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::abi::{Settings, VERSION, reap};
use lb_common::counter::Reason;
use lb_common::event::FlowEnd;
use lb_common::flow::{Closed, Flow, FlowKey, FragmentKey, FragmentPorts, HalfSet, V4, V6};
use lb_common::load::ActiveBlock;
use lb_common::service::LaneCount;
use lb_tests::netns::Inside;
use lb_tests::tag::{TEST_PREFIX, Tag};
use lb_tests::{Netns, link, netns};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::frame::Frame;
use crate::tuple::{Address, Tuple, by_family};
use crate::world::{Family, SNAT_PORT, World};

/// Sets of half-open flows of each family.
pub(crate) const HALF_SETS: u32 = 64;

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Xdp,
    /// XDP for packets of several buffers.
    Frags,
    Tc,
}

impl Hook {
    fn program(self) -> &'static str {
        match self {
            Hook::Xdp => "lb_xdp",
            Hook::Frags => "lb_xdp_frags",
            Hook::Tc => "lb_tc",
        }
    }
}

/// How the program decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody gets it.
    Drop,
    /// The host's stack gets it.
    Up,
    /// Out of the interface that it came in by.
    Back,
    /// Out of another.
    Out,
    /// Out of some interface: TC does not say which.
    Sent,
    /// None of these.
    Other(u32),
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) bytes: Vec<u8>,
    /// Which counters moved, and by how much.
    pub(crate) counted: BTreeMap<&'static str, u64>,
}

pub(crate) struct Fixture {
    pub(crate) ebpf: Ebpf,
    /// Who is there, in the version of IP that is being looked at.
    pub(crate) world: World,
    /// The servers' interface.
    pub(crate) out: u32,
    /// Connections of the first server's lane when the row began.
    pub(crate) remembered: u64,
    /// How many source NAT ports have been opened.
    pub(crate) ports: u16,
    /// Sets of half-open flows that are in use.
    pub(crate) sets: u32,
    /// What the counters were after the last run, if nothing else has moved them since.
    last: Option<Vec<u64>>,
    events: RingBuf<MapData>,
    _inside: Inside,
    netns: Netns,
}

/// Where the kernel object is: `LB_EBPF_OBJECT`, else what `cargo xtask build` leaves.
pub(crate) fn object() -> PathBuf {
    match std::env::var_os("LB_EBPF_OBJECT") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/lb.bpf.o"),
    }
}

impl Fixture {
    /// Loads the program in a namespace of its own, which this thread enters, on one CPU.
    pub(crate) fn new(hook: Hook) -> Fixture {
        netns::sweep_tests();
        let mut cpu = CpuSet::new();
        cpu.set(0);
        sched_setaffinity(None, &cpu).unwrap();
        let netns = Netns::new(&Tag::new(TEST_PREFIX).name("packets")).unwrap();
        let world = World::new(hook, Family::V4);
        let ends =
            [("out0", world.snat.mac), ("far0", world.s1.mac)].map(|(name, mac)| link::End {
                netns: &netns,
                name,
                mac,
            });
        link::veth(ends[0], ends[1]).unwrap();
        let inside = netns.enter();
        let out = link::ifindex("out0").unwrap();
        let mut loader = EbpfLoader::new();
        for (name, entries) in [
            ("HALF4", HALF_SETS),
            ("HALF6", HALF_SETS),
            ("SERVERS", 512),
            ("MEMBERS", 2),
        ] {
            loader.map_max_entries(name, entries);
        }
        // Without a line for each packet that is not simply sent on, as lb loads it unless told otherwise.
        loader.override_global("AYA_LOG_LEVEL", &0u8, false);
        let several = u32::from(hook == Hook::Frags);
        loader.override_global("SEVERAL_BUFFERS", &several, false);
        let mut ebpf = loader.load_file(object()).unwrap();
        match hook {
            Hook::Xdp | Hook::Frags => load_xdp(&mut ebpf, hook.program()),
            Hook::Tc => {
                let program = ebpf.program_mut(hook.program()).unwrap();
                let program: &mut SchedClassifier = program.try_into().unwrap();
                program.load().unwrap();
            }
        }
        load_xdp(&mut ebpf, "lb_reap");
        let events = ebpf.take_map("EVENTS").unwrap().try_into().unwrap();
        let mut fixture = Fixture {
            ebpf,
            world,
            out,
            remembered: 0,
            ports: 0,
            sets: HALF_SETS,
            last: None,
            events,
            _inside: inside,
            netns,
        };
        fixture.fill();
        fixture
    }

    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Looks at another version of IP.
    pub(crate) fn turn_to(&mut self, family: Family) {
        self.world = World::new(self.world.hook, family);
    }

    /// Forgets all flows and turns, and sets everything as it was at first.
    pub(crate) fn reset(&mut self) {
        for family in Family::BOTH {
            by_family!(family, A => self.clear::<A>(family));
        }
        self.events();
        self.fill();
        self.remembered = self.lane(0).flows;
    }

    fn clear<A: Address + Default>(&mut self, family: Family)
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
        HalfSet<A>: Pod,
        Closed<A>: Pod,
        FragmentKey<A>: Pod,
    {
        self.empty::<FlowKey<A>, Flow<A>>(&family.map("FLOWS"));
        self.empty::<FragmentKey<A>, FragmentPorts>(&family.map("FRAGMENTS"));
        self.empty_trie::<A>(&family.map("DENY"));
        for set in 0..HALF_SETS {
            self.set(&family.map("HALF"), set, HalfSet::<A>::default());
        }
        let name = family.map("CLOSED");
        let mut closed: Queue<_, Closed<A>> = self.ebpf.map_mut(&name).unwrap().try_into().unwrap();
        while closed.pop(0).is_ok() {}
    }

    fn empty<K: Pod, V: Pod>(&mut self, name: &str) {
        let mut map = self.hash::<K, V>(name);
        let keys: Vec<K> = map.keys().map(Result::unwrap).collect();
        for key in keys {
            map.remove(&key).unwrap();
        }
    }

    fn empty_trie<A: Address>(&mut self, name: &str) {
        let mut map: LpmTrie<_, A, u32> = self.ebpf.map_mut(name).unwrap().try_into().unwrap();
        let keys: Vec<Key<A>> = map.keys().map(Result::unwrap).collect();
        for key in keys {
            map.remove(&key).unwrap();
        }
    }

    /// Denies a prefix.
    pub(crate) fn deny(&mut self, address: IpAddr, bits: u32) {
        fn put<A: Address>(ebpf: &mut Ebpf, name: &str, address: IpAddr, bits: u32) {
            let mut map: LpmTrie<_, A, u32> = ebpf.map_mut(name).unwrap().try_into().unwrap();
            map.insert(&Key::new(bits, A::of(address)), 1, 0).unwrap();
        }
        let name = self.world.family.map("DENY");
        by_family!(self.world.family, A => put::<A>(&mut self.ebpf, &name, address, bits));
    }

    /// Runs the program on a packet.
    pub(crate) fn run(&self, packet: &[u8]) -> Outcome {
        self.run_as(packet, None)
    }

    /// Likewise; on TC as several segments of this size that were received together.
    pub(crate) fn run_as(&self, packet: &[u8], segment: Option<u32>) -> Outcome {
        let before = self.reasons();
        let (verdict, bytes) = self.run_uncounted(packet, segment);
        let counted = moved(&before, &self.reasons());
        Outcome {
            verdict,
            bytes,
            counted,
        }
    }

    /// Likewise, where nothing runs between one call and the next but what calls [`Fixture::forget_counters`]: a look at
    /// the counters takes most of the time.
    pub(crate) fn run_on(&mut self, packet: &[u8]) -> Outcome {
        let before = self.last.take().unwrap_or_else(|| self.reasons());
        let (verdict, bytes) = self.run_uncounted(packet, None);
        let after = self.reasons();
        let counted = moved(&before, &after);
        self.last = Some(after);
        Outcome {
            verdict,
            bytes,
            counted,
        }
    }

    /// The next run looks at the counters before it.
    pub(crate) fn forget_counters(&mut self) {
        self.last = None;
    }

    /// Runs the program on a packet without a look at its counters, which cost most of the time.
    pub(crate) fn run_uncounted(&self, packet: &[u8], segment: Option<u32>) -> (Verdict, Vec<u8>) {
        let mut bytes = vec![0u8; packet.len() + 256];
        let context = segment.map(segments_of);
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut bytes);
        options.ctx_in = context.as_deref();
        let hook = self.world.hook;
        let program = self.ebpf.program(hook.program()).unwrap();
        let result = match hook {
            Hook::Xdp | Hook::Frags => {
                let program: &Xdp = program.try_into().unwrap();
                program.test_run(options)
            }
            Hook::Tc => {
                let program: &SchedClassifier = program.try_into().unwrap();
                program.test_run(options)
            }
        }
        .unwrap();
        bytes.truncate(result.data_size_out as usize);
        // include/uapi/linux/bpf.h, enum xdp_action; include/uapi/linux/pkt_cls.h
        let verdict = match (hook, result.return_value) {
            (Hook::Tc, 2) => Verdict::Drop,
            (Hook::Tc, u32::MAX) => Verdict::Up,
            (Hook::Tc, 7) => Verdict::Sent,
            (Hook::Xdp | Hook::Frags, 1) => Verdict::Drop,
            (Hook::Xdp | Hook::Frags, 2) => Verdict::Up,
            (Hook::Xdp | Hook::Frags, 3) => Verdict::Back,
            (Hook::Xdp | Hook::Frags, 4) => Verdict::Out,
            (_, other) => Verdict::Other(other),
        };
        (verdict, bytes)
    }

    /// An order to the reaper about these flows.
    pub(crate) fn order(&self, order: u32, keys: &[Tuple]) -> Vec<u8> {
        let mut packet = self.reap_header(order, keys.len() as u32);
        for key in keys {
            // As in the maps: addresses, ports and protocol.
            for address in [key.src.ip(), key.dst.ip()] {
                match address {
                    IpAddr::V4(address) => packet.extend(address.octets()),
                    IpAddr::V6(address) => packet.extend(address.octets()),
                }
            }
            packet.extend(key.src.port().to_be_bytes());
            packet.extend(key.dst.port().to_be_bytes());
            packet.extend(u32::from(key.proto).to_ne_bytes());
        }
        packet
    }

    /// An order to the reaper to empty the half-open sets of what is too old.
    pub(crate) fn half_order(&self) -> Vec<u8> {
        self.reap_header(reap::HALF, HALF_SETS)
    }

    fn reap_header(&self, order: u32, count: u32) -> Vec<u8> {
        let six = if self.world.v4() { 0 } else { reap::V6 };
        let words = [order | six, count, 0, 0];
        words.into_iter().flat_map(u32::to_ne_bytes).collect()
    }

    /// Runs the reaper on an order.
    pub(crate) fn reap(&self, order: &[u8]) -> BTreeMap<&'static str, u64> {
        let before = self.reasons();
        let program: &Xdp = self.ebpf.program("lb_reap").unwrap().try_into().unwrap();
        let mut options = TestRunOptions::new();
        options.data_in = Some(order);
        program.test_run(options).unwrap();
        moved(&before, &self.reasons())
    }

    /// Sends a frame that must be forwarded.
    #[track_caller]
    pub(crate) fn send(&self, frame: &Frame) -> Outcome {
        let outcome = self.run(&frame.bytes());
        assert!(
            matches!(
                outcome.verdict,
                Verdict::Out | Verdict::Back | Verdict::Sent
            ),
            "{frame:?}: {outcome:?}"
        );
        outcome
    }

    /// Ends of flows that were told since the last look.
    pub(crate) fn events(&mut self) -> Vec<FlowEnd> {
        let mut events = Vec::new();
        while let Some(item) = self.events.next() {
            assert_eq!(item.len(), size_of::<FlowEnd>());
            // SAFETY: the size was checked, and every pattern of bytes is a value.
            events.push(unsafe { item.as_ptr().cast::<FlowEnd>().read_unaligned() });
        }
        events
    }

    /// Active flows of the first two servers.
    pub(crate) fn active(&mut self) -> [u32; 2] {
        let [one, two, ..] = self.all_active();
        [one, two]
    }

    /// Active flows of this family's servers, by ordinal.
    pub(crate) fn all_active(&mut self) -> [u32; 8] {
        let block = u32::from(self.world.family == Family::V6);
        let active = self.get::<ActiveBlock>("ACTIVE", block).active;
        std::array::from_fn(|i| active[i])
    }

    /// How many established flows of this family the program counts.
    pub(crate) fn flow_count(&mut self) -> u64 {
        let index = u32::from(self.world.family == Family::V6);
        self.get("FLOW_COUNT", index)
    }

    /// What is counted under the lane of a server of this family.
    pub(crate) fn lane(&self, ordinal: u32) -> LaneCount {
        let lane = ordinal + 8 * u32::from(self.world.family == Family::V6);
        let map: PerCpuArray<_, LaneCount> =
            self.ebpf.map("LANE_COUNTS").unwrap().try_into().unwrap();
        let mut sum = LaneCount::default();
        for one in map.get(&lane, 0).unwrap().iter() {
            sum.flows += one.flows;
            sum.packets_in += one.packets_in;
            sum.bytes_in += one.bytes_in;
            sum.packets_out += one.packets_out;
            sum.bytes_out += one.bytes_out;
        }
        sum
    }

    pub(crate) fn settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings {
            seed: 0x5eed_5eed_5eed_5eed,
            abi: VERSION,
            admit_below: [900; 2],
            half_mask4: HALF_SETS - 1,
            half_mask6: HALF_SETS - 1,
            snat_first: SNAT_PORT,
            snat_count: 1,
            ..Settings::default()
        };
        change(&mut settings);
        self.set("SETTINGS", 0, settings);
    }

    /// Gives source NAT this many ports instead of one.
    pub(crate) fn source_ports(&mut self, count: u16) {
        self.settings(|settings| settings.snat_count = count);
        self.ports = count;
        for word in SNAT_PORT >> 6..=(SNAT_PORT + count) >> 6 {
            self.set::<u64>("PORTS", u32::from(word), u64::MAX);
        }
    }

    /// Something on this host listens on the source port.
    pub(crate) fn close_source_port(&mut self) {
        self.set::<u64>("PORTS", u32::from(SNAT_PORT >> 6), 0);
    }

    pub(crate) fn reasons(&self) -> Vec<u64> {
        let map: PerCpuArray<_, u64> = self.ebpf.map("REASONS").unwrap().try_into().unwrap();
        (0..Reason::COUNT as u32)
            .map(|i| map.get(&i, 0).unwrap().iter().sum())
            .collect()
    }

    fn array<T: Pod>(&mut self, name: &str) -> Array<&mut MapData, T> {
        self.ebpf.map_mut(name).unwrap().try_into().unwrap()
    }

    fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        self.ebpf.map_mut(name).unwrap().try_into().unwrap()
    }

    pub(crate) fn get<T: Pod>(&mut self, name: &str, index: u32) -> T {
        self.array::<T>(name).get(&index, 0).unwrap()
    }

    pub(crate) fn set<T: Pod>(&mut self, name: &str, index: u32, value: impl Borrow<T>) {
        self.array::<T>(name).set(index, value, 0).unwrap();
    }

    pub(crate) fn put<K: Pod, V: Pod>(&mut self, name: &str, key: K, value: V) {
        self.hash::<K, V>(name).insert(key, value, 0).unwrap();
    }

    pub(crate) fn delete<K: Pod, V: Pod>(&mut self, name: &str, key: K) {
        self.hash::<K, V>(name).remove(&key).unwrap();
    }
}

/// Which counters moved, and by how much.
fn moved(before: &[u64], after: &[u64]) -> BTreeMap<&'static str, u64> {
    let counts = before.iter().zip(after);
    let moved = |(reason, (before, after)): (&Reason, (&u64, &u64))| {
        (after != before).then(|| (reason.name(), after - before))
    };
    Reason::ALL.iter().zip(counts).filter_map(moved).collect()
}

fn load_xdp(ebpf: &mut Ebpf, name: &str) {
    let program: &mut Xdp = ebpf.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap();
}

/// A `struct __sk_buff` for a test run (include/uapi/linux/bpf.h): nothing but how large each segment's payload is.
fn segments_of(size: u32) -> Vec<u8> {
    const GSO_SIZE: usize = 176;
    let mut context = vec![0; 192];
    context[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&size.to_ne_bytes());
    context
}
