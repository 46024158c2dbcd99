//! Where things are: the checkout, and what is made under its target folder.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The checkout and its target folder. Everything a verb makes is under the latter, except the linker in the user's cache.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// From where cargo says that this crate is, and from where it put the running executable: that honours
    /// `CARGO_TARGET_DIR` and cargo's configuration alike.
    pub(crate) fn locate() -> Result<Self, Error> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.parent().ok_or(Error::NoWorkspace)?.to_path_buf();
        let executable = env::current_exe().map_err(|_| Error::NoWorkspace)?;
        // target/debug/xtask
        let target = executable
            .ancestors()
            .nth(2)
            .ok_or(Error::NoWorkspace)?
            .to_path_buf();
        if !root.join("lb-ebpf/Cargo.toml").is_file() {
            return Err(Error::NoWorkspace);
        }
        Ok(Self { root, target })
    }

    /// The checkout's top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target folder for the host's crates.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The kernel object, ready to be loaded or embedded.
    ///
    /// Its folder holds nothing else: `lb-userspace/build.rs` watches that folder.
    pub(crate) fn ebpf_object(&self) -> PathBuf {
        self.target.join("ebpf/lb.bpf.o")
    }

    /// Cargo's target folder for the kernel crate: another compiler, so another folder.
    pub(crate) fn ebpf_target(&self) -> PathBuf {
        self.target.join("ebpf-build")
    }

    /// The daemon, in a release or a debug build.
    pub(crate) fn lb(&self, debug: bool) -> PathBuf {
        self.target
            .join(if debug { "debug" } else { "release" })
            .join("lb")
    }

    /// What release builds of the daemon are laid out by: see `profile.rs`.
    pub(crate) fn profile(&self) -> PathBuf {
        self.root.join("lb-userspace/profile/lb.profdata")
    }

    /// What the linked daemon is laid out by anew: see `layout.rs`.
    pub(crate) fn layout(&self) -> PathBuf {
        self.root.join("lb-userspace/profile/lb.bolt.yaml.gz")
    }

    /// The linker's home where the user has no cache folder.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// What the programs that a verb calls print.
    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("xtask-logs")
    }
}
