//! The file system as the running daemon may change it: landlock(7), where the kernel has it (5.13).
//!
//! Everything may be read, as the user may: another configuration, its certificates and maps may lie anywhere. Writing,
//! making and removing is for the folders of the files that lb itself keeps, named by the configuration that it started
//! with. What another configuration adds elsewhere (a log, a unix socket) therefore needs a restart.
//!
//! A thread's domain is inherited by those that it makes and by what it executes, and never widened.

use std::{
    collections::BTreeSet,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use crate::config::{
    Config,
    model::{Address, LogDestination},
};

/// Turns this off, for whoever has to find out whether it is in the way.
const OFF: &str = "LB_LANDLOCK";

/// The one setting of the kernel that the daemon changes.
const RESERVED_PORTS: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// What holds as long as the daemon: the kernel forgets a file of /proc that nobody has open, and a rule with it.
#[derive(Debug, Default)]
pub(super) struct Sandbox {
    /// Open is all it has to be.
    _setting: Option<OwnedFd>,
    confined: bool,
}

/// Folders of files that the daemon makes, replaces and removes; `pins` among them.
pub(super) fn folders(config: &Config, pins: Option<&Path>) -> BTreeSet<PathBuf> {
    let global = &config.global;
    let parent = |path: &Path| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let admin = parent(&global.admin_socket);
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    // Where the kernel path keeps what it reserved, if there is no folder of the admin socket.
    folders.insert(if admin.is_dir() {
        admin
    } else {
        std::env::temp_dir()
    });
    let admin = global
        .admin_sockets
        .iter()
        .filter_map(|socket| socket.address.path());
    folders.extend(admin.map(parent).filter(|folder| folder.is_dir()));
    folders.extend(global.pidfile.as_deref().map(parent));
    folders.extend(global.stats_file.as_deref().map(parent));
    folders.extend(global.health_file.as_ref().map(|file| parent(&file.path)));
    folders.extend(config.log_targets().filter_map(|log| match &log.target {
        LogDestination::File(path) => Some(parent(path)),
        _ => None,
    }));
    let binds = config.frontends.iter().flat_map(|frontend| &frontend.binds);
    folders.extend(binds.filter_map(|bind| match &bind.address {
        Address::Unix(path) => Some(parent(path)),
        Address::Inet(_) | Address::Name(..) | Address::Asked(_) => None,
    }));
    folders.extend(pins.map(Path::to_owned));
    folders
}

/// Rules that do not hold yet.
#[derive(Debug, Default)]
pub(super) struct Prepared(Option<(RulesetCreated, Sandbox)>);

/// Makes rules that confine to `folders`, while they can be opened. Where that cannot be had the daemon runs without, and
/// says so.
pub(super) fn prepare(folders: &BTreeSet<PathBuf>, pins: Option<&Path>) -> Prepared {
    if std::env::var_os(OFF).is_some_and(|value| value == "off") {
        tracing::warn!("{OFF}=off: the file system is not confined");
        return Prepared::default();
    }
    Prepared(rules(folders, pins).map_err(tell).ok())
}

/// What is inherited of a process that was confined: its rules hold, and one of them as long as this is open.
pub(super) fn inherited() -> Sandbox {
    Sandbox {
        _setting: setting(),
        confined: true,
    }
}

fn setting() -> Option<OwnedFd> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(RESERVED_PORTS, flags, rustix::fs::Mode::empty()).ok()
}

impl Sandbox {
    /// Whether rules hold.
    pub(super) fn is_confined(&self) -> bool {
        self.confined
    }
}

impl Prepared {
    /// Confines this thread, and those that it makes from now on. Needs `no_new_privs`.
    pub(super) fn enter(self) -> Sandbox {
        let Some((rules, mut sandbox)) = self.0 else {
            return Sandbox::default();
        };
        match rules.restrict_self() {
            Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
                tracing::info!("this kernel has no landlock: the file system is not confined");
            }
            Ok(_) => sandbox.confined = true,
            Err(error) => tell(error),
        }
        sandbox
    }
}

fn tell(error: RulesetError) {
    tracing::warn!("the file system is not confined: {error}");
}

fn rules(
    folders: &BTreeSet<PathBuf>,
    pins: Option<&Path>,
) -> Result<(RulesetCreated, Sandbox), RulesetError> {
    // Reading and executing are not handled, so they stay as they are.
    let handled = AccessFs::from_write(ABI::V5);
    let keep = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)?
        .create()?;
    for folder in folders {
        // One that is not there is a finding of those who want it.
        if let Ok(folder) = PathFd::new(folder) {
            ruleset = ruleset.add_rule(PathBeneath::new(folder, keep))?;
        }
    }
    // The pin path itself goes at the end of a stop.
    if let Some(above) = pins.and_then(Path::parent)
        && let Ok(above) = PathFd::new(above)
    {
        ruleset = ruleset.add_rule(PathBeneath::new(above, AccessFs::RemoveDir))?;
    }
    for device in ["/dev/null", "/dev/full", "/dev/tty", "/dev/pts"] {
        if let Ok(device) = PathFd::new(device) {
            ruleset = ruleset.add_rule(PathBeneath::new(device, AccessFs::WriteFile))?;
        }
    }
    let setting = setting();
    if let Some(setting) = &setting {
        let write = AccessFs::WriteFile | AccessFs::Truncate;
        ruleset = ruleset.add_rule(PathBeneath::new(setting, write))?;
    }
    let sandbox = Sandbox {
        _setting: setting,
        confined: false,
    };
    Ok((ruleset, sandbox))
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn only_the_folders_named_can_be_written_and_all_is_read() {
        let root = std::env::temp_dir().join(format!("lb-sandbox-{}", std::process::id()));
        let (inside, outside) = (root.join("inside"), root.join("outside"));
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("certificate"), "read me").unwrap();
        let folders = BTreeSet::from([inside.clone(), root.join("missing")]);
        // A domain is the thread's, and this one ends.
        let confined = thread::spawn(move || {
            let (rules, _sandbox) = rules(&folders, None).unwrap();
            if rules.restrict_self().unwrap().ruleset == RulesetStatus::NotEnforced {
                return;
            }
            fs::write(inside.join("new"), "1").unwrap();
            fs::write(inside.join("new"), "2").unwrap();
            fs::rename(inside.join("new"), inside.join("old")).unwrap();
            std::os::unix::net::UnixListener::bind(inside.join("socket")).unwrap();
            fs::remove_file(inside.join("socket")).unwrap();
            let read = fs::read_to_string(outside.join("certificate")).unwrap();
            assert_eq!(read, "read me");
            for refused in [
                fs::write(outside.join("new"), "1"),
                fs::write(outside.join("certificate"), "1"),
                fs::remove_file(outside.join("certificate")),
                fs::create_dir(outside.join("folder")),
            ] {
                let error = refused.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            }
        });
        confined.join().unwrap();
        fs::remove_dir_all(&root).unwrap();
    }
}
