//! The kernel program, loaded but attached to nothing, and the wrapper that runs it round after round.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap, PerCpuArray, ProgramArray};
use aya::programs::{Program, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::bench::{FRAME, HEAD, Run, Tuple};
use lb_common::counter::Reason;
use lb_common::service::LaneCount;
use lb_tests::{Error, Result};

use crate::shape::{Family, Shape};
use crate::world;

/// The fast path's program in the object.
const FAST_PATH: &str = "lb_xdp";
const WRAPPER: &str = "bench_wrapper";
/// Level of the kernel program's debugging output: none.
const SILENT: u8 = 0;

/// Flows whose tuples the wrapper can hold.
pub(crate) const MOST_TUPLES: u32 = 1 << 20;

/// What the wrapper goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// The kernel program.
    FastPath,
    /// Passes up.
    Pass,
    /// Writes Ethernet addresses and sends.
    Send,
    /// Makes room for a header, and then the same.
    Wrap,
}

impl Target {
    fn stub(self) -> Option<&'static str> {
        match self {
            Target::FastPath => None,
            Target::Pass => Some("bench_pass"),
            Target::Send => Some("bench_send"),
            Target::Wrap => Some("bench_wrap"),
        }
    }
}

/// Which flows' packets a run consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Feed {
    /// Those with tuples `first` and on, in turn.
    Flows { first: u32, count: u32 },
    /// Each packet from a source that was never there before.
    Strangers,
}

/// What the program counts.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// By [`Reason`].
    pub(crate) reasons: Vec<u64>,
    /// Packets towards servers, all lanes.
    pub(crate) packets_in: u64,
    /// Packets towards clients.
    pub(crate) packets_out: u64,
    /// Flows opened, all lanes.
    pub(crate) opened: u64,
}

/// What loading a program took.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    /// Instructions that the verifier walked, where the kernel tells (5.16).
    pub(crate) verified: Option<u32>,
    /// Bytes of machine code.
    pub(crate) jitted: u32,
    pub(crate) took: Duration,
}

/// Kernel program and wrapper.
pub(crate) struct Rig {
    kernel: Ebpf,
    bench: Ebpf,
    family: Family,
    strangers: u64,
}

/// The kernel program's maps, by name.
pub(crate) struct Maps<'a>(&'a mut Ebpf);

impl Rig {
    /// Loads everything afresh, with maps for this shape.
    pub(crate) fn load(shape: Shape) -> Result<Rig> {
        let mut kernel = load_kernel(shape.family)?;
        xdp_mut(&mut kernel, FAST_PATH)?
            .load()
            .map_err(failed(format!("load {FAST_PATH}")))?;
        let mut bench = EbpfLoader::new()
            .map_max_entries("TUPLES", MOST_TUPLES)
            .load_file(bench_object())
            .map_err(failed("open the benchmark's object"))?;
        let stubs = [Target::Pass, Target::Send, Target::Wrap];
        for name in stubs.into_iter().filter_map(Target::stub).chain([WRAPPER]) {
            xdp_mut(&mut bench, name)?
                .load()
                .map_err(failed(format!("load {name}")))?;
        }
        world::fill(&mut Maps(&mut kernel), shape)?;
        Ok(Rig {
            kernel,
            bench,
            family: shape.family,
            strangers: 0,
        })
    }

    /// Gives the wrapper the tuples `first` and on.
    pub(crate) fn set_tuples(&mut self, first: u32, tuples: &[Tuple]) -> Result<()> {
        let mut map: Array<_, Tuple> = map_of(&mut self.bench, "TUPLES")?
            .try_into()
            .map_err(failed("open TUPLES"))?;
        for (i, tuple) in (first..).zip(tuples) {
            map.set(i, tuple, 0).map_err(failed("write TUPLES"))?;
        }
        Ok(())
    }

    /// Runs `target` on so many packets that `frame` is the pattern of; returns nanoseconds a packet.
    pub(crate) fn time(
        &mut self,
        target: Target,
        frame: &[u8],
        feed: Feed,
        packets: u32,
    ) -> Result<u64> {
        let (first, count) = match feed {
            Feed::Flows { first, count } => (first, count),
            Feed::Strangers => (0, 0),
        };
        let mut head = [0u64; HEAD];
        for (word, bytes) in head.iter_mut().zip(frame.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(bytes);
            *word = u64::from_ne_bytes(eight);
        }
        let family = match self.family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        let run = Run {
            head,
            first,
            count,
            family,
            spare: 0,
        };
        let round = if feed == Feed::Strangers {
            self.strangers
        } else {
            0
        };
        set(&mut self.bench, "RUN", 0, run)?;
        set(&mut self.bench, "ROUND", 0, round)?;
        self.aim(target)?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = packets;
        let result = xdp(&self.bench, WRAPPER)?
            .test_run(options)
            .map_err(failed("run the wrapper"))?;
        if feed == Feed::Strangers && target == Target::FastPath {
            self.strangers += u64::from(packets);
        }
        Ok(u64::try_from(result.duration.as_nanos()).unwrap_or(u64::MAX))
    }

    fn aim(&mut self, target: Target) -> Result<()> {
        let fd = match target.stub() {
            Some(stub) => xdp(&self.bench, stub)?.fd(),
            None => xdp(&self.kernel, FAST_PATH)?.fd(),
        };
        let fd = fd
            .and_then(|fd| fd.try_clone().map_err(Into::into))
            .map_err(failed("hold a program"))?;
        let mut targets: ProgramArray<_> = map_of(&mut self.bench, "TARGET")?
            .try_into()
            .map_err(failed("open TARGET"))?;
        targets
            .set(0, &fd, 0)
            .map_err(failed("let the wrapper call the program"))
    }

    /// Runs the kernel program on one packet, without the wrapper: whether it was sent, and as what.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut bytes = vec![0u8; FRAME + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut bytes);
        let result = xdp(&self.kernel, FAST_PATH)?
            .test_run(options)
            .map_err(failed("run the kernel program"))?;
        // include/uapi/linux/bpf.h, enum xdp_action
        const TX: u32 = 3;
        bytes.truncate(result.data_size_out as usize);
        Ok((result.return_value == TX).then_some(bytes))
    }

    /// What the program has counted so far.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let map = self
            .kernel
            .map("REASONS")
            .ok_or_else(|| missing("REASONS"))?;
        let map: PerCpuArray<_, u64> = map.try_into().map_err(failed("open REASONS"))?;
        let reasons = (0..Reason::COUNT as u32).map(|i| Ok(map.get(&i, 0)?.iter().sum()));
        let reasons: std::result::Result<_, aya::maps::MapError> = reasons.collect();
        let reasons = reasons.map_err(failed("read REASONS"))?;
        let map = self
            .kernel
            .map("LANE_COUNTS")
            .ok_or_else(|| missing("LANE_COUNTS"))?;
        let map: PerCpuArray<_, LaneCount> = map.try_into().map_err(failed("open LANE_COUNTS"))?;
        let mut counts = Counts {
            reasons,
            packets_in: 0,
            packets_out: 0,
            opened: 0,
        };
        for lane in map.iter() {
            for count in lane.map_err(failed("read LANE_COUNTS"))?.iter() {
                counts.packets_in += count.packets_in;
                counts.packets_out += count.packets_out;
                counts.opened += count.flows;
            }
        }
        Ok(counts)
    }
}

/// Loads each program of the kernel object by itself.
pub(crate) fn load_each() -> Result<Vec<Loaded>> {
    let mut kernel = load_kernel(Family::V4)?;
    let mut loaded = Vec::new();
    for (name, program) in kernel.programs_mut() {
        let started = Instant::now();
        match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            _ => continue,
        }
        .map_err(failed(format!("load {name}")))?;
        let took = started.elapsed();
        let info = program
            .info()
            .map_err(failed(format!("ask about {name}")))?;
        loaded.push(Loaded {
            name: name.to_owned(),
            verified: info.verified_instruction_count(),
            jitted: info.size_jitted(),
            took,
        });
    }
    Ok(loaded)
}

fn load_kernel(family: Family) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    for (name, entries) in world::sizes(family) {
        loader.map_max_entries(name, entries);
    }
    // Without a line for each packet that is not simply sent on, as lb loads it unless told otherwise.
    loader.override_global("AYA_LOG_LEVEL", &SILENT, false);
    loader
        .load_file(kernel_object())
        .map_err(failed("open the kernel program's object"))
}

/// `LB_EBPF_OBJECT`, else what `cargo xtask build` leaves.
pub(crate) fn kernel_object() -> PathBuf {
    object("LB_EBPF_OBJECT", "../target/ebpf/lb.bpf.o")
}

/// `LB_BENCH_OBJECT`, else what `cargo xtask bench l4` leaves.
pub(crate) fn bench_object() -> PathBuf {
    object("LB_BENCH_OBJECT", "../target/ebpf-build/bench.bpf.o")
}

fn object(variable: &str, path: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(path),
        PathBuf::from,
    )
}

impl Maps<'_> {
    /// Writes an entry of an array.
    pub(crate) fn set<T: Pod>(&mut self, name: &str, index: u32, value: T) -> Result<()> {
        set(self.0, name, index, value)
    }

    /// Writes an entry of a hash.
    pub(crate) fn put<K: Pod, V: Pod>(&mut self, name: &str, key: K, value: V) -> Result<()> {
        let mut map: HashMap<_, K, V> = map_of(self.0, name)?
            .try_into()
            .map_err(failed(format!("open {name}")))?;
        map.insert(key, value, 0)
            .map_err(failed(format!("write {name}")))
    }
}

fn set<T: Pod>(ebpf: &mut Ebpf, name: &str, index: u32, value: T) -> Result<()> {
    let mut map: Array<_, T> = map_of(ebpf, name)?
        .try_into()
        .map_err(failed(format!("open {name}")))?;
    map.set(index, value, 0)
        .map_err(failed(format!("write {name}")))
}

fn map_of<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::maps::Map> {
    ebpf.map_mut(name).ok_or_else(|| missing(name))
}

fn xdp<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    ebpf.program(name)
        .ok_or_else(|| missing(name))?
        .try_into()
        .map_err(failed(format!("take {name} for XDP")))
}

fn xdp_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    ebpf.program_mut(name)
        .ok_or_else(|| missing(name))?
        .try_into()
        .map_err(failed(format!("take {name} for XDP")))
}

fn missing(name: &str) -> Error {
    Error::new(format!("the object has no {name}; build it anew"))
}

/// Names the step on the way of one of aya's errors. Of a verifier's log only the end tells.
fn failed<E: Display>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
    const SHOWN_LINES: usize = 20;
    let what = what.into();
    move |error| {
        let text = error.to_string();
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let end = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        Error::new(format!("{what}: {}", end.join("\n")))
    }
}
