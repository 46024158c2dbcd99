//! The one adapter to bpf(2): loads the object, opens its maps, attaches and detaches. [`sync`](super::sync) and
//! [`traffic`](super::traffic) use the maps that it has opened; nothing else of the agent knows aya's types.

use std::{collections::BTreeMap, fs::File, io, net::IpAddr, os::fd::AsFd, path::Path, thread};

use lb_common::abi::{REGISTRY_CHUNK, RegistryChunk, Settings};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{
    capacity::Capacity,
    error::FastPathError,
    packets::Packets,
    pins::Pins,
    registry::{self, Registry},
    sys,
};

mod found;
mod hooks;
mod kept;
mod maps;
mod programs;
mod theirs;

use found::Found;
pub(super) use found::MACS;
pub(super) use hooks::{Hook, Want, name_of};
use kept::Kept;
pub(super) use maps::{FlowTables, Mapped, Maps};
use programs::Programs;
pub(super) use theirs::{Ends, Theirs, attached};

/// A loaded program with its maps.
pub(super) struct Kernel {
    programs: Programs,
    /// A copy of the programs that is attached instead, while a client is traced.
    tracing: Option<Programs>,
    /// What the program says of single packets, for debugging.
    packets: Option<Packets>,
    pins: Pins,
    kept: Kept,
    links: BTreeMap<u32, Hook>,
    /// The maps.
    pub maps: Maps,
    /// Sizes of the maps as they are, which an earlier agent may have chosen.
    pub capacity: Capacity,
    /// Names and indexes: an earlier agent's, if there was one.
    pub registry: Registry,
    /// The settings that were fixed when the maps were made.
    pub fixed: Settings,
    /// The registry's version as it stands in its map, if one does.
    written: Option<u64>,
    /// Whether the maps were there before, with flows perhaps.
    pub taken_over: bool,
}

impl Kernel {
    /// Loads the object with the maps that are pinned, or with new ones of `wanted` sizes, which it pins.
    pub(super) fn load(pins: Pins, wanted: Capacity) -> Result<Self, FastPathError> {
        let found = match Found::at(&pins)? {
            Found::Nothing => None,
            Found::HalfMade => {
                tracing::warn!(
                    "what is pinned at {} is not whole, an earlier lb died over it: it is made anew",
                    pins.folder().display()
                );
                clear(&pins)?;
                None
            }
            // Nothing is forwarded by them.
            Found::Whole(_)
                if pins.pinned_links().is_empty()
                    && wanted.has_more_flows_than(&found::capacity(&pins)?) =>
            {
                clear(&pins)?;
                None
            }
            Found::Whole(found) => Some(*found),
        };
        // What is pinned and forwards keeps its size, whatever is wanted now.
        let sizes = match &found {
            Some(_) => found::capacity(&pins)?,
            None => wanted,
        };
        let open = || {
            let mut programs = Programs::load(&pins, &sizes, None)?;
            let maps = Maps::take(&mut programs.ebpf, &pins)?;
            programs.load_reaper()?;
            let packets = Packets::open(&mut programs.ebpf);
            let kept = Kept::open(&pins)?;
            Ok((programs, maps, packets, kept, found::capacity(&pins)?))
        };
        let taken_over = found.is_some();
        let (programs, maps, packets, kept, capacity) = match open() {
            Ok(opened) => opened,
            Err(error) => {
                if !taken_over {
                    // Nobody is to find half of it.
                    let _ = pins.remove_all();
                }
                return Err(error);
            }
        };
        let (registry, fixed) = match found {
            Some(found) => found,
            None => (Registry::default(), fixed(&capacity)?),
        };
        Ok(Self {
            written: taken_over.then(|| registry.version()),
            programs,
            tracing: None,
            packets,
            pins,
            kept,
            links: BTreeMap::new(),
            maps,
            capacity,
            registry,
            fixed,
            taken_over,
        })
    }

    /// The same with new maps of `wanted` sizes beside these, which stay as they are until [`Kernel::take_place`].
    pub(super) fn beside(&self, wanted: Capacity) -> Result<Self, FastPathError> {
        Self::load(self.pins.beside()?, wanted)
    }

    /// Takes the place of the one that it was loaded beside, which must not be attached to anything.
    ///
    /// # Errors
    /// All is as before.
    pub(super) fn take_place(&mut self, of: &Kernel) -> Result<(), FastPathError> {
        of.pins.take_beside()?;
        self.pins = of.pins.clone();
        Ok(())
    }

    /// Attaches the program to an interface as it is wanted, or puts it in the place of an earlier agent's, with no
    /// packet in between. What is attached there in another way goes.
    pub(super) fn attach(&mut self, ifindex: u32, want: Want) -> Result<Hook, FastPathError> {
        if let Some(hook) = self.links.get(&ifindex).filter(|hook| hook.is(want)) {
            return Ok(*hook);
        }
        let programs = self.tracing.as_mut().unwrap_or(&mut self.programs);
        let mut others = Vec::new();
        for hook in hooks_at(&self.pins, ifindex) {
            if !hook.is(want) {
                others.push(hook);
                continue;
            }
            match hooks::replace(programs, &self.pins, ifindex, hook) {
                Ok(()) => {
                    self.links.insert(ifindex, hook);
                }
                // The interface is another one than it was: its index was used again.
                Err(error) => {
                    tracing::debug!("{} of interface #{ifindex}: {error}", hook.name());
                    hooks::detach(&self.pins, ifindex, hook)?;
                }
            }
        }
        // Both XDP hooks at once the kernel refuses. Otherwise the new one comes first, so that no packet passes by.
        let (before, after): (Vec<Hook>, Vec<Hook>) = others
            .into_iter()
            .partition(|hook| !hook.is_tc() && want != Want::Tc);
        for hook in before {
            hooks::detach(&self.pins, ifindex, hook)?;
            self.links.remove(&ifindex);
        }
        let hook = match self.links.get(&ifindex).filter(|hook| hook.is(want)) {
            Some(hook) => *hook,
            None => hooks::attach(programs, &self.pins, ifindex, want)?,
        };
        self.links.insert(ifindex, hook);
        for hook in after {
            hooks::detach(&self.pins, ifindex, hook)?;
        }
        Ok(hook)
    }

    /// Puts the program in the place of an earlier agent's wherever that has attached it.
    pub(super) fn adopt(&mut self, ifindex: u32) -> Result<(), FastPathError> {
        if self.links.contains_key(&ifindex) {
            return Ok(());
        }
        for hook in hooks_at(&self.pins, ifindex) {
            hooks::replace(&mut self.programs, &self.pins, ifindex, hook)?;
            self.links.insert(ifindex, hook);
        }
        Ok(())
    }

    /// Detaches from an interface.
    pub(super) fn detach(&mut self, ifindex: u32) -> Result<(), FastPathError> {
        for hook in hooks_at(&self.pins, ifindex) {
            hooks::detach(&self.pins, ifindex, hook)?;
        }
        self.links.remove(&ifindex);
        Ok(())
    }

    /// The pin path, as the file names it.
    pub(super) fn pin_path(&self) -> &Path {
        self.pins.shown()
    }

    /// Whether somebody has removed pins of maps, or the folder that is `locked`.
    pub(super) fn is_unpinned(&self, locked: &File) -> bool {
        self.kept.is_lost(&self.pins, locked)
    }

    /// Pins the maps again; the lock, if it is of another folder.
    pub(super) fn pin_again(&self, locked: &File) -> Result<Option<File>, FastPathError> {
        self.kept.pin(&self.pins, locked)
    }

    /// Forgets what somebody else has detached, so that it can be attached anew; the interfaces.
    pub(super) fn forget_lost(&mut self) -> Result<Vec<u32>, FastPathError> {
        let links = self.links.iter().map(|(ifindex, hook)| (*ifindex, *hook));
        let lost: Vec<_> = links
            .filter(|(ifindex, hook)| hooks::is_lost(&self.pins, *ifindex, *hook))
            .collect();
        for (ifindex, hook) in &lost {
            self.links.remove(ifindex);
            hooks::detach(&self.pins, *ifindex, *hook)?;
        }
        Ok(lost.into_iter().map(|(ifindex, _)| ifindex).collect())
    }

    /// Interfaces that the program is attached to, and how.
    pub(super) fn attached(&self) -> impl Iterator<Item = (u32, Hook)> {
        self.links.iter().map(|(ifindex, hook)| (*ifindex, *hook))
    }

    /// Interfaces that an earlier agent was attached to.
    pub(super) fn pinned(&self) -> Vec<u32> {
        let links = self.pins.pinned_links().into_iter();
        links.map(|(_, ifindex)| ifindex).collect()
    }

    /// Starts to load programs that tell of a client's packets, in a thread of its own: to verify them takes seconds, and
    /// the clock has to go on.
    pub(super) fn load_tracing(&self, client: IpAddr) -> io::Result<TracePrograms> {
        let (pins, capacity) = (self.pins.clone(), self.capacity);
        let hooks: Vec<Hook> = self.links.values().copied().collect();
        let (loaded, programs) = oneshot::channel();
        let load = move || {
            let programs =
                Programs::load(&pins, &capacity, Some(client)).and_then(|mut programs| {
                    for hook in hooks {
                        programs.verify_for(hook)?;
                    }
                    Ok(programs)
                });
            // Whoever wanted to trace may be gone.
            let _ = loaded.send(programs);
        };
        thread::Builder::new().name("trace".into()).spawn(load)?;
        Ok(TracePrograms(programs))
    }

    /// Puts loaded programs in the place of the ordinary ones; whether they are loaded.
    pub(super) fn trace(&mut self, loading: &mut TracePrograms) -> Result<bool, FastPathError> {
        let mut programs = match loading.0.try_recv() {
            Ok(programs) => programs?,
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Closed) => {
                return Err(io::Error::other("the thread that loads them has ended").into());
            }
        };
        for (ifindex, hook) in &self.links {
            if let Err(error) = hooks::replace(&mut programs, &self.pins, *ifindex, *hook) {
                self.untrace()?;
                return Err(error);
            }
        }
        // What is left of an earlier trace is nobody's.
        while self.maps.next_trace().is_some() {}
        self.tracing = Some(programs);
        Ok(true)
    }

    /// Puts the ordinary programs back.
    pub(super) fn untrace(&mut self) -> Result<(), FastPathError> {
        for (ifindex, hook) in &self.links {
            hooks::replace(&mut self.programs, &self.pins, *ifindex, *hook)?;
        }
        self.tracing = None;
        Ok(())
    }

    /// Writes what the program says of single packets.
    pub(super) fn flush_packets(&mut self) {
        if let Some(packets) = &mut self.packets {
            packets.flush();
        }
    }

    /// Runs the reaper over a packet: see [`super::reaper`].
    pub(super) fn reap(&self, packet: &[u8]) -> Result<u32, FastPathError> {
        Ok(sys::test_run(
            self.programs.reaper()?.fd()?.as_fd(),
            packet,
        )?)
    }

    /// Writes the registry if it changed, so that it never lags behind what refers to it: into one half of its map and
    /// the other in turn, so that dying over it leaves the one before.
    pub(super) fn write_registry(&mut self) -> Result<(), FastPathError> {
        if self.written == Some(self.registry.version()) {
            return Ok(());
        }
        let half = self.maps.registry.len() / 2;
        let first = if self.registry.next_generation().is_multiple_of(2) {
            0
        } else {
            half
        };
        let bytes = self
            .registry
            .to_bytes()
            .map_err(|_| FastPathError::RegistryFull)?;
        if registry::chunks(bytes.len()) > half as usize {
            return Err(FastPathError::RegistryFull);
        }
        // The first chunk, with length and checksum, last.
        for (at, part) in bytes.chunks(REGISTRY_CHUNK).enumerate().rev() {
            let mut chunk = RegistryChunk([0; REGISTRY_CHUNK]);
            chunk.0[..part.len()].copy_from_slice(part);
            self.maps.registry.set(first + at as u32, chunk, 0)?;
        }
        self.written = Some(self.registry.version());
        Ok(())
    }

    /// Detaches everywhere and removes everything that was pinned: what flows are left end.
    pub(super) fn remove_everything(&self) -> Result<(), FastPathError> {
        remove_everything(&self.pins)
    }
}

/// The same without a program of one's own.
pub(super) fn remove_everything(pins: &Pins) -> Result<(), FastPathError> {
    clear(pins)?;
    pins.remove_all()
}

/// Programs that are being loaded.
#[derive(Debug)]
pub(super) struct TracePrograms(oneshot::Receiver<Result<Programs, FastPathError>>);

/// Detaches everywhere and removes the maps.
fn clear(pins: &Pins) -> Result<(), FastPathError> {
    for (name, ifindex) in pins.pinned_links() {
        if let Some(hook) = Hook::named(&name) {
            hooks::detach(pins, ifindex, hook)?;
        }
    }
    pins.clear()
}

/// How a program is attached to an interface, by what is pinned.
fn hooks_at(pins: &Pins, ifindex: u32) -> Vec<Hook> {
    let links = pins.pinned_links().into_iter();
    let mut hooks: Vec<Hook> = links
        .filter(|(_, at)| *at == ifindex)
        .filter_map(|(name, _)| Hook::named(&name))
        .collect();
    hooks.sort();
    hooks
}

/// The settings that are fixed with new maps.
fn fixed(capacity: &Capacity) -> io::Result<Settings> {
    let mut seed = [0; 8];
    // SAFETY: the buffer has as many bytes as may be written.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    if got != seed.len() as isize {
        return Err(io::Error::last_os_error());
    }
    Ok(Settings {
        seed: u64::from_ne_bytes(seed),
        half_mask4: capacity.v4.half_sets.saturating_sub(1),
        half_mask6: capacity.v6.half_sets.saturating_sub(1),
        bucket_mask: capacity.buckets.saturating_sub(1),
        ..Settings::default()
    })
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}
