//! The program that a daemon has attached, asked what it does with a packet.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramFd, loaded_programs};
use lb_tests::{Context, Error, Result, bpf};

/// A program found by its pinned link.
pub(crate) struct Live {
    program: ProgramFd,
    interface: u32,
}

/// What a map takes.
pub(crate) struct Memory {
    pub(crate) name: String,
    pub(crate) entries: u32,
    /// Bytes, as the kernel accounts them.
    pub(crate) bytes: u64,
}

impl Live {
    /// The program of the link pinned below `pins`, for packets that come in by an interface of this namespace; none
    /// yet, if there is no link.
    pub(crate) fn find(pins: &Path, interface: u32) -> Option<Live> {
        let link = files(pins).into_iter().find(|path| is_in(path, "links"))?;
        let link = FdLink::from(PinnedLink::from_pin(link).ok()?);
        let id = link.info().ok()?.program_id();
        let info = loaded_programs()
            .filter_map(std::result::Result::ok)
            .find(|info| info.id() == id)?;
        Some(Live {
            program: info.fd().ok()?,
            interface,
        })
    }

    /// The frame as it was sent on; none if it was passed up or dropped.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        let verdict = bpf::run(self.program.as_fd(), frame, self.interface, &mut out)?;
        // include/uapi/linux/bpf.h, enum xdp_action: TX and REDIRECT
        Ok(matches!(verdict, 3 | 4).then_some(out))
    }
}

/// What the maps pinned below `pins` take, largest first.
pub(crate) fn memory(pins: &Path) -> Result<Vec<Memory>> {
    let mut maps = Vec::new();
    for path in files(pins).iter().filter(|path| is_in(path, "maps")) {
        let failed = |error| Error::new(format!("open {}: {error}", path.display()));
        let info = MapInfo::from_pin(path).map_err(failed)?;
        let fd = info.fd().map_err(failed)?;
        let about = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let text = fs::read_to_string(&about).context(|| format!("read {about}"))?;
        let bytes = text
            .lines()
            .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
        maps.push(Memory {
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            entries: info.max_entries(),
            bytes: bytes.unwrap_or(0),
        });
    }
    maps.sort_by_key(|map| std::cmp::Reverse(map.bytes));
    Ok(maps)
}

fn is_in(path: &Path, folder: &str) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with(folder))
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
