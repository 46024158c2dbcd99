//! The capabilities (capabilities(7)) that lb works with, each with what it is for.

use rustix::thread::{CapabilitySet, capabilities};

/// One that is of use to lb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// CAP_BPF.
    Bpf,
    /// CAP_PERFMON.
    Perfmon,
    /// CAP_NET_ADMIN.
    NetAdmin,
    /// CAP_NET_RAW.
    NetRaw,
    /// CAP_NET_BIND_SERVICE.
    NetBindService,
}

impl Capability {
    /// Without these there is no kernel path.
    pub const KERNEL_PATH: [Self; 3] = [Self::Bpf, Self::NetAdmin, Self::Perfmon];
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Bpf,
        Self::Perfmon,
        Self::NetAdmin,
        Self::NetRaw,
        Self::NetBindService,
    ];

    /// Its name in capabilities(7).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::NetBindService => "CAP_NET_BIND_SERVICE",
        }
    }

    /// What lb does with it.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Bpf => "to load the kernel program, to open its maps and to write them",
            // Without it the verifier follows every branch as a processor might mispredict it: "the sequence of 8193 jumps is
            // too complex".
            Self::Perfmon => {
                "to spare the verifier mispredicted branches, with which the kernel program is too complex for it"
            }
            Self::NetAdmin => {
                "to load network programs, to attach them, to ask for neighbours and to reserve source ports; for sockets with \
                 marks or addresses of others"
            }
            Self::NetRaw => {
                "to end connections in the kernel by a reset, and to hear of packets too big for the way to servers of ipip"
            }
            Self::NetBindService => "to listen on ports below 1024",
        }
    }

    const fn bit(self) -> CapabilitySet {
        match self {
            Self::Bpf => CapabilitySet::BPF,
            Self::Perfmon => CapabilitySet::PERFMON,
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        }
    }

    /// Whether a thread that has `held` may do what this allows. CAP_SYS_ADMIN has stood for two of them since before there
    /// were these (Linux 5.8).
    pub const fn is_in(self, held: CapabilitySet) -> bool {
        let instead = match self {
            Self::Bpf | Self::Perfmon => CapabilitySet::SYS_ADMIN,
            Self::NetAdmin | Self::NetRaw | Self::NetBindService => CapabilitySet::empty(),
        };
        held.contains(self.bit()) || held.intersects(instead)
    }
}

/// Those of `wanted` that the calling thread lacks; none if it cannot be told.
pub fn lacking(wanted: &[Capability]) -> Vec<Capability> {
    let Ok(sets) = capabilities(None) else {
        return Vec::new();
    };
    let lacks = |capability: &Capability| !capability.is_in(sets.effective);
    wanted.iter().copied().filter(lacks).collect()
}

/// `CAP_BPF (to load …) and CAP_NET_ADMIN (to …)`.
pub fn explain(capabilities: &[Capability]) -> String {
    let each = capabilities
        .iter()
        .map(|capability| format!("{} ({})", capability.name(), capability.purpose()));
    each.collect::<Vec<_>>().join(" and ")
}

/// The set of these.
pub fn set(of: &[Capability]) -> CapabilitySet {
    of.iter()
        .fold(CapabilitySet::empty(), |set, one| set | one.bit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_capability_stands_for_the_two_that_were_part_of_it() {
        for (capability, stands) in [
            (Capability::Bpf, true),
            (Capability::Perfmon, true),
            (Capability::NetAdmin, false),
            (Capability::NetRaw, false),
        ] {
            assert_eq!(capability.is_in(CapabilitySet::SYS_ADMIN), stands);
            assert!(!capability.is_in(CapabilitySet::empty()));
            assert!(capability.is_in(set(&[capability])));
        }
    }
}
