//! The programs of the object, as loaded once: the ordinary ones, or a copy that tells of one client's packets.

use std::{collections::BTreeMap, net::IpAddr};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{ProgramType, SchedClassifier, Xdp},
    sys::{BpfHelper, is_helper_supported},
};

use super::{
    super::{
        capacity::Capacity,
        error::{FastPathError, cause},
        family::words,
        object::OBJECT,
        packets,
        pins::Pins,
    },
    found::sizes,
    hooks::Hook,
    maps::NAMES,
};
use crate::capabilities::{self, Capability};

/// Names of the programs in the object. The first is for kernels (from 5.18) that hand over packets in several buffers.
const XDP_FRAGS: &str = "lb_xdp_frags";
const XDP: &str = "lb_xdp";
const TC: &str = "lb_tc";
const REAPER: &str = "lb_reap";

/// A loaded object. Programs are verified when they are first needed.
pub(super) struct Programs {
    pub(super) ebpf: Ebpf,
    /// The XDP program that was verified.
    xdp: Option<&'static str>,
    tc: bool,
    /// Programs that the kernel has refused, and its words: it would say the same again, after a while.
    refused: BTreeMap<&'static str, String>,
}

impl Programs {
    /// Loads the object over the maps that are pinned, whose sizes are then `wanted`, or makes them and pins them. With `traced` it
    /// tells of every packet of that client.
    pub(super) fn load(
        pins: &Pins,
        wanted: &Capacity,
        traced: Option<IpAddr>,
    ) -> Result<Self, FastPathError> {
        if OBJECT.is_empty() {
            return Err(FastPathError::NoObject);
        }
        let sizes = sizes(wanted);
        let paths: Vec<_> = NAMES.iter().map(|name| (*name, pins.map(name))).collect();
        let mut loader = EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::STATS);
        for (name, size) in &sizes {
            loader.map_max_entries(name, *size);
        }
        for (name, path) in &paths {
            loader.map_pin_path(name, path);
        }
        let level = match traced {
            Some(_) => packets::OFF,
            None => packets::level(),
        };
        loader.override_global("AYA_LOG_LEVEL", &level, false);
        let (on, client) = (
            u32::from(traced.is_some()),
            traced.map(words).unwrap_or_default(),
        );
        let several = u32::from(has_several_buffers());
        loader.override_global("SEVERAL_BUFFERS", &several, false);
        loader.override_global("TRACE", &on, traced.is_some());
        loader.override_global("TRACE_CLIENT", &client, traced.is_some());
        Ok(Self {
            ebpf: loader.load(OBJECT).map_err(permitted)?,
            xdp: None,
            tc: false,
            refused: BTreeMap::new(),
        })
    }

    /// The XDP program.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, FastPathError> {
        if let Some(name) = self.xdp {
            return self.xdp_named(name);
        }
        let name = match self.verify(XDP_FRAGS) {
            Ok(()) => XDP_FRAGS,
            Err(error) => {
                tracing::debug!("without frames of several buffers: {error}");
                self.verify(XDP)?;
                XDP
            }
        };
        self.xdp = Some(name);
        self.xdp_named(name)
    }

    /// The TC program.
    pub(super) fn tc(&mut self) -> Result<&mut SchedClassifier, FastPathError> {
        if !self.tc {
            self.verify(TC)?;
            self.tc = true;
        }
        self.tc_named(TC)
    }

    /// Has the kernel verify a program, once.
    fn verify(&mut self, name: &'static str) -> Result<(), FastPathError> {
        if let Some(why) = self.refused.get(name) {
            let why = why.clone();
            return Err(FastPathError::Refused { name, why });
        }
        let loaded = if name == TC {
            self.tc_named(name)?.load()
        } else {
            self.xdp_named(name)?.load()
        };
        loaded.map_err(|error| {
            let why = one_line(&cause(&error));
            if is_permission(&why) {
                return not_permitted();
            }
            // A kernel without mitigations for its processor does without it, so only the verifier's word counts.
            let perfmon = [Capability::Perfmon];
            if !capabilities::lacking(&perfmon).is_empty() {
                tracing::debug!("{name}: {why}");
                return FastPathError::Lacking(perfmon.into());
            }
            self.refused.insert(name, why.clone());
            FastPathError::Refused { name, why }
        })
    }

    /// Verifies the program that a hook runs.
    pub(super) fn verify_for(&mut self, hook: Hook) -> Result<(), FastPathError> {
        if hook.is_tc() {
            self.tc()?;
        } else {
            self.xdp()?;
        }
        Ok(())
    }

    /// Verifies the reaper.
    pub(super) fn load_reaper(&mut self) -> Result<(), FastPathError> {
        self.verify(REAPER)
    }

    /// The reaper.
    pub(super) fn reaper(&self) -> Result<&Xdp, FastPathError> {
        let program = self
            .ebpf
            .program(REAPER)
            .ok_or(FastPathError::NoProgram(REAPER))?;
        Ok(program.try_into()?)
    }

    fn tc_named(&mut self, name: &'static str) -> Result<&mut SchedClassifier, FastPathError> {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or(FastPathError::NoProgram(name))?;
        Ok(program.try_into()?)
    }

    fn xdp_named(&mut self, name: &'static str) -> Result<&mut Xdp, FastPathError> {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or(FastPathError::NoProgram(name))?;
        Ok(program.try_into()?)
    }
}

/// Whether the kernel says how long a packet of several buffers is (Linux 5.18); if it does not want to tell, it does not.
fn has_several_buffers() -> bool {
    is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_get_buff_len).unwrap_or(false)
}

/// What the verifier said, in one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs")
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

fn permitted(error: aya::EbpfError) -> FastPathError {
    let text = cause(&error);
    if is_permission(&text) {
        return not_permitted();
    }
    FastPathError::Load(error)
}

fn is_permission(text: &str) -> bool {
    text.contains("Operation not permitted") || text.contains("EPERM")
}

/// Which capability the kernel missed.
fn not_permitted() -> FastPathError {
    match capabilities::lacking(&Capability::KERNEL_PATH) {
        lacking if lacking.is_empty() => FastPathError::NotPermitted,
        lacking => FastPathError::Lacking(lacking),
    }
}
