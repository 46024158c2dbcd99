//! A lab's directories: one for files, one in bpffs for pins. Both are gone after drop.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};

use crate::tag::is_leftover;
use crate::{Context, Result, Tag};

/// Where bpffs belongs.
const BPFFS: &str = "/sys/fs/bpf";

/// include/uapi/linux/magic.h
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// A directory that is removed with all that is in it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A directory for files, of this tag and role.
    ///
    /// # Errors
    /// When it cannot be made or is there already.
    pub fn files(tag: &Tag, role: &str) -> Result<Scratch> {
        Scratch::create(std::env::temp_dir().join(tag.name(role)))
    }

    /// A directory's name for pins. bpffs is mounted if it is not; the directory itself is left to who pins, and removed
    /// on drop.
    ///
    /// # Errors
    /// When bpffs cannot be mounted.
    pub fn pins(tag: &Tag, role: &str) -> Result<Scratch> {
        mount_bpffs()?;
        Ok(Scratch(Path::new(BPFFS).join(tag.name(role))))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and gives its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, content).context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn create(path: PathBuf) -> Result<Scratch> {
        fs::create_dir(&path).context(|| format!("make {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Mounts `/sys/fs/bpf` if it is not mounted. It stays: it is the machine's, and others may have begun to use it.
///
/// # Errors
/// Without CAP_SYS_ADMIN.
pub fn mount_bpffs() -> Result<()> {
    let mounted = statfs(BPFFS).is_ok_and(|fs| fs.f_type as u64 == BPF_FS_MAGIC);
    if mounted {
        return Ok(());
    }
    mount("bpf", BPFFS, "bpf", MountFlags::empty(), None).context(|| format!("mount {BPFFS}"))
}

/// Removes the directories that killed processes left under `prefix`.
pub fn sweep(prefix: &str) {
    for parent in [Path::new(BPFFS), &std::env::temp_dir()] {
        let Ok(entries) = fs::read_dir(parent) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| is_leftover(name, prefix))
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}
