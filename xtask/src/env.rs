//! Keeps what cargo tells this process from reaching the cargos it starts.
//!
//! `cargo xtask` is itself run by cargo, which sets variables that describe the xtask package and its own compiler. Passed
//! on, they would make build scripts run again for nothing, or the kernel crate be built by the wrong compiler.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Mend, Missing};

/// Variables by which a user steers where cargo fetches from, where it keeps that, and how it prints.
const KEPT_FOR_OTHER_COMPILER: [&str; 8] = [
    "CARGO_BUILD_JOBS",
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "RUSTUP_HOME",
];

/// Variables that describe the package for which cargo started this process.
const ABOUT_XTASK: [&str; 6] = [
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
    "OUT_DIR",
];

/// The cargo that started this process, for crates of the host.
pub(crate) fn host_cargo(target: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    scrub(&mut command, target, |name| {
        !starts_with_any(name, &ABOUT_XTASK)
    });
    command.env("CARGO_TARGET_DIR", target);
    command
}

/// A program of another toolchain than the one that compiled this process: no choice of compiler, flags, profile or
/// wrapper is passed on.
pub(crate) fn foreign(program: &Path, target: &Path) -> Command {
    let mut command = Command::new(program);
    scrub(&mut command, target, reaches_other_compiler);
    command
}

/// Whether a variable is none of the outer cargo's or compiler's business, or one that [`KEPT_FOR_OTHER_COMPILER`] names.
fn reaches_other_compiler(name: &str) -> bool {
    let of_a_toolchain =
        starts_with_any(name, &["CARGO", "RUST", "LB_", "OUT_DIR"]) && name != "RUST_BACKTRACE";
    !of_a_toolchain || starts_with_any(name, &KEPT_FOR_OTHER_COMPILER)
}

fn starts_with_any(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn scrub(command: &mut Command, target: &Path, keep: impl Fn(&str) -> bool) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| !keep(name)) {
            command.env_remove(name);
        }
    }
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        match without_cargos(&paths, target) {
            Some(paths) => command.env("LD_LIBRARY_PATH", paths),
            None => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

/// `LD_LIBRARY_PATH` without the folders that `cargo run` puts before the user's own: below target, and the compiler's.
/// None if nothing is left.
fn without_cargos(paths: &OsStr, target: &Path) -> Option<OsString> {
    let cargos = |path: &PathBuf| {
        path.starts_with(target)
            || path
                .iter()
                .any(|part| part == "toolchains" || part == "rustlib")
    };
    let own: Vec<PathBuf> = env::split_paths(paths)
        .filter(|path| !path.as_os_str().is_empty() && !cargos(path))
        .collect();
    if own.is_empty() {
        None
    } else {
        env::join_paths(own).ok()
    }
}

/// The first executable of that name in `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    // Administrators' tools are often not in a user's PATH, and there all the same.
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&paths)
        .chain(more)
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

/// Whether this process may execute that file.
pub(crate) fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Whether this process may do what root may: install packages, make network namespaces.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An error unless this process has what root has: `what` takes it, and `command` is to be run again.
pub(crate) fn needs_root(what: &str, command: &str) -> Result<(), Error> {
    if is_root() {
        return Ok(());
    }
    Err(Error::Missing(Missing {
        what: format!("{what} takes root"),
        tried: Vec::new(),
        mends: vec![Mend {
            case: "where sudo finds cargo",
            command: format!("sudo -E {command}"),
        }],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_of_compiler_does_not_leak() {
        for name in [
            "RUSTC",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "RUSTC_WRAPPER",
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
        ] {
            assert!(!reaches_other_compiler(name), "{name}");
        }
        for name in [
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_BUILD_TARGET",
            "CARGO_MANIFEST_DIR",
            "LB_EBPF_OBJECT",
        ] {
            assert!(!reaches_other_compiler(name), "{name}");
        }
    }

    #[test]
    fn where_to_fetch_from_is_passed_on() {
        for name in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_X_INDEX",
        ] {
            assert!(reaches_other_compiler(name), "{name}");
        }
        assert!(reaches_other_compiler("RUST_BACKTRACE"));
    }

    #[test]
    fn library_path_keeps_only_the_users_own_folders() {
        let target = Path::new("/src/lb/target");
        let mixed = OsStr::new(
            "/src/lb/target/debug/deps:/home/u/.rustup/toolchains/stable/lib:/opt/llvm/lib",
        );
        assert_eq!(without_cargos(mixed, target), Some("/opt/llvm/lib".into()));
        assert_eq!(
            without_cargos(OsStr::new("/src/lb/target/debug"), target),
            None
        );
    }
}
