//! The kernel program, loaded but attached to nothing, and what a packet does to it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, Pod};
use lb_common::abi::{Settings, VERSION};
use lb_common::counter::Reason;
use lb_common::flow::{Flow, FlowKey, HalfSet, SideKey, V4};
use lb_common::load::ActiveBlock;
use lb_tests::netns::Inside;
use lb_tests::tag::{TEST_PREFIX, Tag};
use lb_tests::{Netns, link, netns};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::frame::{End, Segment};
use crate::world::{HOP_S1, S1, S2, SERVICE, SNAT, hop};

/// Sets of half-open flows.
pub(crate) const HALF_SETS: u32 = 256;

/// How the program decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    Pass,
    Tx,
    Redirect,
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
    /// The servers' interface.
    pub(crate) out: u32,
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
    pub(crate) fn new() -> Fixture {
        netns::sweep_tests();
        let mut cpu = CpuSet::new();
        cpu.set(0);
        sched_setaffinity(None, &cpu).unwrap();
        let netns = Netns::new(&Tag::new(TEST_PREFIX).name("packets")).unwrap();
        let ends = ["out0", "far0"].map(|name| link::End {
            netns: &netns,
            name,
            mac: SNAT.mac,
        });
        link::veth(
            ends[0],
            link::End {
                mac: S1.mac,
                ..ends[1]
            },
        )
        .unwrap();
        let inside = netns.enter();
        let out = link::ifindex("out0").unwrap();
        let mut ebpf = Ebpf::load_file(object()).unwrap();
        for name in ["lb_xdp", "lb_reap"] {
            let program: &mut Xdp = ebpf.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        let mut fixture = Fixture {
            ebpf,
            out,
            _inside: inside,
            netns,
        };
        fixture.fill();
        fixture
    }

    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Forgets all flows and turns, and sets everything as it was at first.
    pub(crate) fn reset(&mut self) {
        let keys: Vec<FlowKey<V4>> = self.flow_map().keys().map(Result::unwrap).collect();
        for key in keys {
            self.hash::<FlowKey<V4>, Flow<V4>>("FLOWS4")
                .remove(&key)
                .unwrap();
        }
        for set in 0..HALF_SETS {
            self.set("HALF4", set, HalfSet::<V4>::default());
        }
        self.fill();
    }

    /// Runs the program on a packet.
    pub(crate) fn run(&self, packet: &[u8]) -> Outcome {
        let before = self.reasons();
        let (verdict, bytes) = self.run_uncounted(packet);
        let counts = before.into_iter().zip(self.reasons());
        let moved = |(reason, (before, after)): (&Reason, (u64, u64))| {
            (after != before).then(|| (reason.name(), after - before))
        };
        let counted = Reason::ALL.iter().zip(counts).filter_map(moved).collect();
        Outcome {
            verdict,
            bytes,
            counted,
        }
    }

    /// Runs the program on a packet without a look at its counters, which cost most of the time.
    pub(crate) fn run_uncounted(&self, packet: &[u8]) -> (Verdict, Vec<u8>) {
        let mut bytes = vec![0u8; packet.len() + 256];
        let program: &Xdp = self.ebpf.program("lb_xdp").unwrap().try_into().unwrap();
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut bytes);
        let result = program.test_run(options).unwrap();
        bytes.truncate(result.data_size_out as usize);
        // include/uapi/linux/bpf.h, enum xdp_action
        let verdict = match result.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            3 => Verdict::Tx,
            4 => Verdict::Redirect,
            other => Verdict::Other(other),
        };
        (verdict, bytes)
    }

    /// Takes a connection of `client` to a port of [`SERVICE`] through its handshake and says where it went: the server,
    /// and the end that the server sees.
    pub(crate) fn connect(&self, client: End, port: u16) -> (End, End) {
        let service = SERVICE.at_port(port);
        let opened = self.run(&Segment::new(client, service, "S").bytes());
        assert_eq!(opened.verdict, Verdict::Redirect, "{opened:?}");
        let server = if opened.bytes[33] == S1.address[3] {
            S1
        } else {
            S2
        };
        let snat = SNAT.at_port(u16::from_be_bytes([opened.bytes[34], opened.bytes[35]]));
        for (from, to, flags) in [(server, snat, "S."), (client, service, ".")] {
            let outcome = self.run(&Segment::new(from, to, flags).bytes());
            assert!(
                matches!(outcome.verdict, Verdict::Redirect | Verdict::Tx),
                "{outcome:?}"
            );
        }
        (server, snat)
    }

    /// All flows.
    pub(crate) fn flows(&self) -> BTreeMap<String, Flow<V4>> {
        let flows = self.flow_map();
        flows
            .iter()
            .map(|entry| {
                let (key, flow) = entry.unwrap();
                (format!("{key:?}"), flow)
            })
            .collect()
    }

    /// Active flows of the servers, by ordinal.
    pub(crate) fn active(&mut self) -> [u32; 2] {
        let block = self.array::<ActiveBlock>("ACTIVE").get(&0, 0).unwrap();
        [block.active[0], block.active[1]]
    }

    pub(crate) fn settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings {
            abi: VERSION,
            admit_below: 900,
            half_mask4: HALF_SETS - 1,
            snat_first: SNAT.port,
            snat_count: 1,
            ..Settings::default()
        };
        change(&mut settings);
        self.set("SETTINGS", 0, settings);
    }

    /// Gives source NAT this many ports instead of one.
    pub(crate) fn source_ports(&mut self, count: u16) {
        self.settings(|settings| settings.snat_count = count);
        for word in SNAT.port >> 6..=(SNAT.port + count) >> 6 {
            self.set::<u64>("PORTS", u32::from(word), u64::MAX);
        }
    }

    /// Something on this host listens on the source port.
    pub(crate) fn close_source_port(&mut self) {
        self.set::<u64>("PORTS", u32::from(SNAT.port >> 6), 0);
    }

    /// Whether the first server's neighbour is known.
    pub(crate) fn set_hop(&mut self, usable: bool) {
        let hop = hop(self.out, S1.mac, SNAT.mac, usable);
        self.set("HOPS", HOP_S1, hop);
    }

    /// Forgets what is known of the clients' side.
    pub(crate) fn forget_side(&mut self) {
        let side = SideKey {
            ifindex: 1,
            ..SideKey::default()
        };
        self.hash::<SideKey, u32>("SIDES").remove(&side).unwrap();
    }

    /// Removes the entry that a packet between these ends would find.
    pub(crate) fn forget_flow(&mut self, from: End, to: End) {
        self.hash::<FlowKey<V4>, Flow<V4>>("FLOWS4")
            .remove(&key(from, to))
            .unwrap();
    }

    fn reasons(&self) -> Vec<u64> {
        let map: PerCpuArray<_, u64> = self.ebpf.map("REASONS").unwrap().try_into().unwrap();
        (0..Reason::COUNT as u32)
            .map(|i| map.get(&i, 0).unwrap().iter().sum())
            .collect()
    }

    fn flow_map(&self) -> HashMap<&MapData, FlowKey<V4>, Flow<V4>> {
        self.ebpf.map("FLOWS4").unwrap().try_into().unwrap()
    }

    fn array<T: Pod>(&mut self, name: &str) -> Array<&mut MapData, T> {
        self.ebpf.map_mut(name).unwrap().try_into().unwrap()
    }

    fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        self.ebpf.map_mut(name).unwrap().try_into().unwrap()
    }

    pub(crate) fn set<T: Pod>(&mut self, name: &str, index: u32, value: impl Borrow<T>) {
        self.array::<T>(name).set(index, value, 0).unwrap();
    }

    pub(crate) fn put<K: Pod, V: Pod>(&mut self, name: &str, key: K, value: V) {
        self.hash::<K, V>(name).insert(key, value, 0).unwrap();
    }
}

fn key(from: End, to: End) -> FlowKey<V4> {
    FlowKey {
        src: u32::from_ne_bytes(from.address),
        dst: u32::from_ne_bytes(to.address),
        sport: from.port.to_be(),
        dport: to.port.to_be(),
        proto: 6,
    }
}
