//! The folder where programs' links and maps outlive the agent.
//!
//! ```text
//! PIN_PATH/v2/maps/NAME        maps, by name
//! PIN_PATH/v2/links/xdp-7      a link, by hook and interface index
//! ```

use std::{
    fs, io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use lb_common::abi;

use super::error::FastPathError;

/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// The folder of this layout's version below `pin_path`.
#[derive(Debug, Clone)]
pub(super) struct Pins {
    root: PathBuf,
    folder: PathBuf,
}

impl Pins {
    /// Makes sure the folder is there, mounting a BPF file system at `/sys/fs/bpf` if nothing is mounted there.
    pub(super) fn open(pin_path: &Path) -> Result<Self, FastPathError> {
        let pins = Self::at(pin_path);
        if pin_path.to_string_lossy().contains('.') {
            return Err(FastPathError::DotInPinPath {
                path: pin_path.into(),
            });
        }
        if !on_bpffs(pin_path)
            && pin_path.starts_with("/sys/fs/bpf")
            && !on_bpffs(Path::new("/sys/fs/bpf"))
        {
            mount().map_err(|source| FastPathError::NoBpfFs {
                path: pin_path.into(),
                source,
            })?;
        }
        if !on_bpffs(pin_path) {
            let source = io::Error::other("another file system is there");
            return Err(FastPathError::NoBpfFs {
                path: pin_path.into(),
                source,
            });
        }
        pins.make()?;
        Ok(pins)
    }

    fn make(&self) -> Result<(), FastPathError> {
        for folder in [self.maps(), self.links()] {
            fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        }
        Ok(())
    }

    /// The folder, whether or not it exists.
    pub(super) fn at(pin_path: &Path) -> Self {
        Self {
            root: pin_path.into(),
            folder: pin_path.join(format!("v{}", abi::VERSION)),
        }
    }

    /// Removes what lbs of other versions left; those that are attached to interfaces still forward by it.
    ///
    /// # Errors
    /// One is attached, or at work.
    pub(super) fn clear_older(&self) -> Result<(), FastPathError> {
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
                root: self.root.clone(),
                folder: entry.path(),
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
        for folder in [self.links(), self.maps()] {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes everything and the folders.
    pub(super) fn remove_all(&self) -> Result<(), FastPathError> {
        self.clear()?;
        for folder in [&self.links(), &self.maps(), &self.folder, &self.root] {
            // The root may hold another version's, or be the operator's own.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Takes the folder for this agent alone until the returned handle is dropped; a killed agent's is free again. It is
    /// the folder itself that is locked: agents may differ in everything else.
    pub(super) fn lock(&self) -> Result<fs::File, FastPathError> {
        let file = fs::File::open(&self.folder).map_err(failed("open", &self.folder))?;
        // SAFETY: the descriptor is open; flock has no other preconditions.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            return Err(FastPathError::InUse {
                path: self.root.clone(),
            });
        }
        Ok(file)
    }

    fn maps(&self) -> PathBuf {
        self.folder.join("maps")
    }

    fn links(&self) -> PathBuf {
        self.folder.join("links")
    }
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
fn on_bpffs(path: &Path) -> bool {
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
