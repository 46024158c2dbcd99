//! Rust compilers that can build `core` for BPF: rustup's nightly and the system's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::env;
use crate::error::Error;
use crate::progress::Progress;

/// The workspace's `rust-version`.
const LEAST_RUST: (u32, u32) = (1, 95);

/// How rustup's nightly is named to the user.
pub(crate) const NIGHTLY: &str = "rustup's nightly";

/// How the distribution's compiler is named to the user.
pub(crate) const SYSTEM: &str = "the system's Rust (/usr/bin/rustc)";

/// How long rustup may take to fetch a component of a few megabytes; offline it often hangs instead of failing.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// A compiler with its cargo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// [`NIGHTLY`] or [`SYSTEM`].
    pub(crate) name: &'static str,
    /// Its cargo, called directly: rustup's would choose a toolchain anew.
    pub(crate) cargo: PathBuf,
    /// Its rustc.
    pub(crate) rustc: PathBuf,
    /// A stable release, which takes `-Z` only with `RUSTC_BOOTSTRAP=1`.
    pub(crate) stable: bool,
    /// Major version of the LLVM whose bitcode it writes.
    pub(crate) llvm: u32,
    /// The standard library's sources are there, so that `-Z build-std` works.
    pub(crate) has_src: bool,
}

/// rustup's nightly, if there is one. Downloads nothing.
pub(crate) fn nightly(target: &Path) -> Option<Compiler> {
    let mut which = rustup(target)?;
    which.args(["which", "--toolchain", "nightly", "rustc"]);
    let rustc = PathBuf::from(stdout(which)?.trim());
    inspect(NIGHTLY, rustc, target)
}

/// The compiler of the distribution, if it is new enough.
pub(crate) fn system(target: &Path) -> Option<Compiler> {
    inspect(SYSTEM, "/usr/bin/rustc".into(), target)
}

/// Has rustup fetch the sources that its nightly lacks. Ok(false) if it could not.
pub(crate) fn fetch_sources(progress: &mut Progress, target: &Path) -> Result<bool, Error> {
    let Some(mut command) = rustup(target) else {
        return Ok(false);
    };
    command
        .args(["component", "add", "rust-src", "--toolchain", "nightly"])
        .env("RUSTUP_MAX_RETRIES", "1");
    let about = "rustup component add rust-src, the sources of core for the kernel program (3 MB)";
    Ok(progress
        .attempt("rust-src", about, command, Some(FETCH_LIMIT))?
        .success())
}

fn rustup(target: &Path) -> Option<Command> {
    let mut command = env::foreign(&env::in_path("rustup")?, target);
    command.env("RUSTUP_AUTO_INSTALL", "0");
    Some(command)
}

/// None if it is not there, does not run, or is too old.
fn inspect(name: &'static str, rustc: PathBuf, target: &Path) -> Option<Compiler> {
    let cargo = rustc.with_file_name("cargo");
    if !env::is_executable(&cargo) || !env::is_executable(&rustc) {
        return None;
    }
    let ask = |argument: &str, value: Option<&str>| {
        let mut command = env::foreign(&rustc, target);
        command.arg(argument).args(value);
        stdout(command)
    };
    let version = Version::parse(&ask("-vV", None)?)?;
    if version.rust < LEAST_RUST {
        return None;
    }
    let sysroot = PathBuf::from(ask("--print", Some("sysroot"))?.trim());
    // build-std resolves against this file.
    let has_src = sysroot
        .join("lib/rustlib/src/rust/library/Cargo.lock")
        .is_file();
    Some(Compiler {
        name,
        cargo,
        rustc,
        stable: version.stable,
        llvm: version.llvm,
        has_src,
    })
}

fn stdout(mut command: Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// What `rustc -vV` says.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    rust: (u32, u32),
    stable: bool,
    llvm: u32,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
        };
        let release = value("release:")?;
        let mut numbers = release
            .split(['.', '-'])
            .map_while(|part| part.parse().ok());
        let rust = (numbers.next()?, numbers.next()?);
        let llvm = value("LLVM version:")?.split('.').next()?.parse().ok()?;
        Some(Self {
            rust,
            stable: !release.contains("nightly") && !release.contains("dev"),
            llvm,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_rustc_says_of_itself() {
        let nightly = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(
            Version::parse(nightly),
            Some(Version {
                rust: (1, 97),
                stable: false,
                llvm: 22
            })
        );
        let debian =
            "rustc 1.96.0 (built from a source tarball)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(
            Version::parse(debian),
            Some(Version {
                rust: (1, 96),
                stable: true,
                llvm: 22
            })
        );
        assert_eq!(Version::parse("rustc 1.63.0\nrelease: 1.63.0\n"), None);
    }
}
