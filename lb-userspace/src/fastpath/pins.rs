//! The folder where programs' links and maps outlive the agent.
//!
//! ```text
//! PIN_PATH/v2/maps/NAME        maps, by name
//! PIN_PATH/v2/links/xdp-7      a link, by hook and interface index
//! PIN_PATH/v2/new/NAME         maps that are being made, to take the others' place
//! ```

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, chown},
    },
    path::{Path, PathBuf},
    sync::OnceLock,
};

use lb_common::abi;

use super::{error::FastPathError, succession};

/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Who the process becomes once it has opened what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The pin path, opened while that was allowed. /sys/fs/bpf is for root alone on most hosts: whoever the process becomes
/// gets no further than there by name, but may do what it likes in a folder of its own.
static HELD: OnceLock<(PathBuf, OwnedFd)> = OnceLock::new();

/// The pin path, if it was opened.
pub(super) fn held() -> Option<&'static OwnedFd> {
    HELD.get().map(|(_, folder)| folder)
}

/// The pin path is `folder` where it cannot be reached by name.
pub(super) fn hold(pin_path: &Path, folder: OwnedFd) {
    let _ = HELD.set((pin_path.to_owned(), folder));
}

/// The folder of this layout's version below `pin_path`.
#[derive(Debug, Clone)]
pub(super) struct Pins {
    /// As the file names it.
    shown: PathBuf,
    root: PathBuf,
    folder: PathBuf,
    /// What the maps' folder below it is called.
    maps: &'static str,
}

/// The maps' folder, the one for those that are to take their place, and for those whose place was taken.
const MAPS: &str = "maps";
const NEW: &str = "new";
const OLD: &str = "old";

impl Pins {
    /// Makes sure the folder is there, mounting a BPF file system at `/sys/fs/bpf` if nothing is mounted there.
    pub(super) fn open(pin_path: &Path) -> Result<Self, FastPathError> {
        let pins = Self::at(pin_path);
        if pin_path.to_string_lossy().contains('.') {
            return Err(FastPathError::DotInPinPath {
                path: pin_path.into(),
            });
        }
        let root = pins.root.as_path();
        if !on_bpffs(root)
            && pin_path.starts_with("/sys/fs/bpf")
            && !on_bpffs(Path::new("/sys/fs/bpf"))
        {
            mount().map_err(|source| FastPathError::NoBpfFs {
                path: pin_path.into(),
                source,
            })?;
        }
        if !on_bpffs(root) {
            let source = io::Error::other("another file system is there");
            return Err(FastPathError::NoBpfFs {
                path: pin_path.into(),
                source,
            });
        }
        pins.make()?;
        pins.check_owner()?;
        Ok(pins)
    }

    /// Gives all that is there to `owner`, who may not get there by name.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn give_to(&self, owner: Owner) -> Result<(), FastPathError> {
        let mut each = vec![self.root.clone()];
        while let Some(path) = each.pop() {
            chown(&path, Some(owner.uid), Some(owner.gid)).map_err(failed("give away", &path))?;
            if path.is_dir() {
                let entries = fs::read_dir(&path).map_err(failed("read", &path))?;
                each.extend(entries.flatten().map(|entry| entry.path()));
            }
        }
        let root = fs::File::open(&self.root).map_err(failed("open", &self.root))?;
        // A process has one kernel path, and so one pin path.
        let _ = HELD.set((self.shown.clone(), root.into()));
        Ok(())
    }

    /// Root opens everything; others what is theirs.
    fn check_owner(&self) -> Result<(), FastPathError> {
        let us = rustix::process::geteuid();
        let entries = fs::read_dir(self.maps()).map_err(failed("read", &self.maps()))?;
        let owners = entries.flatten().filter_map(|entry| entry.metadata().ok());
        match owners
            .map(|found| found.uid())
            .find(|&uid| uid != us.as_raw())
        {
            Some(owner) if !us.is_root() => Err(FastPathError::OtherUser {
                path: self.shown.clone(),
                owner,
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn make(&self) -> Result<(), FastPathError> {
        for folder in [self.maps(), self.links()] {
            // Maps hold who talks to whom.
            let mut builder = fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(&folder);
            made.map_err(failed("make", &folder))?;
        }
        Ok(())
    }

    /// The folder, whether or not it exists.
    pub(super) fn at(pin_path: &Path) -> Self {
        let root = match HELD.get() {
            Some((path, fd)) if path == pin_path && fs::metadata(pin_path).is_err() => {
                format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
            }
            _ => pin_path.to_owned(),
        };
        Self {
            shown: pin_path.into(),
            folder: root.join(format!("v{}", abi::VERSION)),
            root,
            maps: MAPS,
        }
    }

    /// The same folder, for maps that are to take the others' place once they are whole.
    pub(super) fn beside(&self) -> Result<Self, FastPathError> {
        let beside = self.of_maps(NEW);
        beside.remove_all()?;
        beside.make()?;
        Ok(beside)
    }

    fn of_maps(&self, maps: &'static str) -> Self {
        Self {
            maps,
            ..self.clone()
        }
    }

    /// Puts the maps that are [`beside`](Self::beside) these into their place. Nobody may be forwarding by either.
    ///
    /// Within one folder, since Landlock lets nobody move anything from one to another.
    ///
    /// # Errors
    /// The system's; all is as before.
    pub(super) fn take_beside(&self) -> Result<(), FastPathError> {
        let [maps, new, old] = [MAPS, NEW, OLD].map(|name| self.of_maps(name).maps());
        fs::rename(&maps, &old).map_err(failed("move", &maps))?;
        if let Err(error) = fs::rename(&new, &maps) {
            // It was there a moment ago.
            let _ = fs::rename(&old, &maps);
            return Err(failed("move", &new)(error));
        }
        // Else the next start does it.
        let _ = self.of_maps(OLD).remove_all();
        Ok(())
    }

    /// Removes what lbs of other versions left; those that are attached to interfaces still forward by it.
    ///
    /// # Errors
    /// One is attached, or at work.
    pub(super) fn clear_older(&self) -> Result<(), FastPathError> {
        // Of whoever died while it made others.
        for maps in [NEW, OLD] {
            let _ = self.of_maps(maps).remove_all();
        }
        let Ok(entries) = fs::read_dir(&self.root) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix('v'));
            let is_version = version.is_some_and(|v| v.parse::<u32>().is_ok());
            if !is_version || entry.path() == self.folder {
                continue;
            }
            let other = Self {
                shown: self.shown.clone(),
                root: self.root.clone(),
                folder: entry.path(),
                maps: MAPS,
            };
            let _lock = other.lock()?;
            if !other.pinned_links().is_empty() {
                return Err(FastPathError::OtherVersion { path: other.folder });
            }
            tracing::info!(
                "removing what an lb of another version left at {}",
                other.folder.display()
            );
            other.remove_all()?;
        }
        Ok(())
    }

    /// Where a map is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Where the link of an interface is pinned.
    pub(super) fn link(&self, hook: &str, ifindex: u32) -> PathBuf {
        self.links().join(format!("{hook}-{ifindex}"))
    }

    /// The pin path, as the file names it.
    pub(super) fn shown(&self) -> &Path {
        &self.shown
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Pinned links: hook and interface index.
    pub(super) fn pinned_links(&self) -> Vec<(String, u32)> {
        let Ok(entries) = fs::read_dir(self.links()) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let (hook, ifindex) = name.rsplit_once('-')?;
                Some((hook.to_owned(), ifindex.parse().ok()?))
            })
            .collect()
    }

    /// Whether an earlier agent left maps.
    pub(super) fn has_maps(&self) -> bool {
        fs::read_dir(self.maps()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Removes a pinned link; the program is detached once nobody holds the link open.
    pub(super) fn remove_link(&self, hook: &str, ifindex: u32) -> Result<(), FastPathError> {
        remove(&self.link(hook, ifindex))
    }

    /// Removes what is pinned, links first so that nothing runs without its maps.
    pub(super) fn clear(&self) -> Result<(), FastPathError> {
        let links = (self.maps == MAPS).then(|| self.links());
        for folder in links.into_iter().chain([self.maps()]) {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes everything and the folders; of maps that have taken no place, them alone.
    pub(super) fn remove_all(&self) -> Result<(), FastPathError> {
        self.clear()?;
        let _ = fs::remove_dir(self.maps());
        if self.maps == MAPS {
            for folder in [&self.links(), &self.folder, &self.root] {
                // The root may hold another version's, or be the operator's own.
                let _ = fs::remove_dir(folder);
            }
        }
        Ok(())
    }

    /// Takes the folder for this agent alone until the returned handle is dropped; a killed agent's is free again. It is
    /// the folder itself that is locked: agents may differ in everything else.
    pub(super) fn lock(&self) -> Result<fs::File, FastPathError> {
        let file = fs::File::open(&self.folder).map_err(failed("open", &self.folder))?;
        if let Some(lock) = succession::lock_of(&file) {
            return Ok(lock);
        }
        if !locked(&file) {
            return Err(self.in_use());
        }
        Ok(file)
    }

    /// Another lb has the folder.
    pub(super) fn in_use(&self) -> FastPathError {
        FastPathError::InUse {
            path: self.shown.clone(),
            holder: self.holder(),
        }
    }

    /// Whether another agent has taken the folder, and has not handed it on to this process.
    pub(super) fn is_in_use(&self) -> bool {
        let folder = fs::File::open(&self.folder);
        // A lock that is had goes with the descriptor.
        folder.is_ok_and(|folder| !succession::has_lock_of(&folder) && !locked(&folder))
    }

    /// The process that has taken the folder, if it can be told.
    pub(super) fn holder(&self) -> Option<u32> {
        holder(&fs::File::open(&self.folder).ok()?)
    }

    fn maps(&self) -> PathBuf {
        self.folder.join(self.maps)
    }

    fn links(&self) -> PathBuf {
        self.folder.join("links")
    }
}

/// Locks a file, unless another has.
fn locked(file: &fs::File) -> bool {
    // SAFETY: the descriptor is open; flock has no other preconditions.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// The process that has locked a file, as /proc/locks tells.
fn holder(file: &fs::File) -> Option<u32> {
    let inode = format!(":{}", file.metadata().ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // `1: FLOCK  ADVISORY  WRITE 123 00:1e:4567 0 EOF`
    let mut locks = locks.lines().map(|line| line.split_whitespace().skip(1));
    locks.find_map(|mut fields| {
        let kind = fields.next()?;
        let pid = fields.nth(2)?.parse().ok()?;
        (kind == "FLOCK" && fields.next()?.ends_with(&inode)).then_some(pid)
    })
}

fn remove(path: &Path) -> Result<(), FastPathError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FastPathError {
    let path = path.to_owned();
    move |source| FastPathError::Pin {
        action,
        path,
        source,
    }
}

/// Whether the nearest folder of `path` that exists is on a BPF file system.
pub(super) fn on_bpffs(path: &Path) -> bool {
    let Some(existing) = path.ancestors().find(|p| p.exists()) else {
        return false;
    };
    rustix::fs::statfs(existing).is_ok_and(|fs| fs.f_type == BPF_FS_MAGIC)
}

fn mount() -> io::Result<()> {
    let flags = rustix::mount::MountFlags::NOSUID
        | rustix::mount::MountFlags::NODEV
        | rustix::mount::MountFlags::NOEXEC;
    rustix::mount::mount("bpf", "/sys/fs/bpf", "bpf", flags, c"mode=0700")?;
    Ok(())
}
