//! The programs of the object, as loaded once: the ordinary ones, or a copy that tells of one client's packets.

use std::net::IpAddr;

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{ProgramError, SchedClassifier, Xdp},
};

use super::{
    super::{
        capacity::Capacity,
        error::FastPathError,
        family::words,
        object::OBJECT,
        packets::{self, Packets},
        pins::Pins,
    },
    found::sizes,
    maps::NAMES,
};

/// Names of the programs in the object. The first is for kernels (from 5.18) that hand over packets in several buffers.
const XDP_FRAGS: &str = "lb_xdp_frags";
const XDP: &str = "lb_xdp";
const TC: &str = "lb_tc";
const REAPER: &str = "lb_reap";

/// A loaded object. Programs are verified when they are first needed.
pub(super) struct Programs {
    pub(super) ebpf: Ebpf,
    xdp: Option<&'static str>,
    tc: bool,
    /// What the program says of single packets, for debugging.
    pub(super) packets: Option<Packets>,
}

impl Programs {
    /// Loads the object over the maps that are pinned, or makes those of `wanted` sizes and pins them. With `traced` it
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
        loader.override_global("TRACE", &on, traced.is_some());
        loader.override_global("TRACE_CLIENT", &client, traced.is_some());
        let mut ebpf = loader.load(OBJECT).map_err(permitted)?;
        let packets = Packets::open(&mut ebpf, level);
        Ok(Self {
            ebpf,
            xdp: None,
            tc: false,
            packets,
        })
    }

    /// The XDP program.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, FastPathError> {
        let name = match self.xdp {
            Some(name) => name,
            None => {
                let frags = self.xdp_named(XDP_FRAGS).and_then(|xdp| Ok(xdp.load()?));
                let name = match frags {
                    Ok(()) => XDP_FRAGS,
                    Err(error) => {
                        tracing::debug!("without frames of several buffers: {error}");
                        self.xdp_named(XDP)?.load()?;
                        XDP
                    }
                };
                self.xdp = Some(name);
                name
            }
        };
        self.xdp_named(name)
    }

    /// The TC program.
    pub(super) fn tc(&mut self) -> Result<&mut SchedClassifier, FastPathError> {
        let program = self
            .ebpf
            .program_mut(TC)
            .ok_or(FastPathError::NoProgram(TC))?;
        let program: &mut SchedClassifier = program.try_into()?;
        if !self.tc {
            program.load()?;
            self.tc = true;
        }
        Ok(program)
    }

    /// Verifies the reaper.
    pub(super) fn load_reaper(&mut self) -> Result<(), FastPathError> {
        Ok(self.xdp_named(REAPER)?.load()?)
    }

    /// The reaper.
    pub(super) fn reaper(&self) -> Result<&Xdp, FastPathError> {
        let program = self
            .ebpf
            .program(REAPER)
            .ok_or(FastPathError::NoProgram(REAPER))?;
        Ok(program.try_into()?)
    }

    fn xdp_named(&mut self, name: &'static str) -> Result<&mut Xdp, FastPathError> {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or(FastPathError::NoProgram(name))?;
        program
            .try_into()
            .map_err(|error: ProgramError| error.into())
    }
}

fn permitted(error: aya::EbpfError) -> FastPathError {
    let text = super::super::error::cause(&error);
    if text.contains("Operation not permitted") || text.contains("EPERM") {
        return FastPathError::NotPermitted;
    }
    FastPathError::Load(error)
}
