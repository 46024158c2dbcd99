//! The kernel program's toolchain: a Rust compiler with the sources of `core`, and bpf-linker.
//!
//! What is complete on the machine is taken as it is. Then what one step completes is completed: rustup's nightly with its
//! sources, either compiler with a linker built here. Then, as root on a Debian, its packages are installed. Else the
//! error says which commands would help.

pub(crate) mod compiler;
pub(crate) mod linker;

use std::path::PathBuf;

use crate::error::{Error, Mend, Missing};
use crate::packages;
use crate::progress::Progress;
use crate::toolchain::compiler::Compiler;
use crate::workspace::Workspace;

/// Debian's compiler with the library's sources.
const RUST_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// What bpf-linker is built against.
const LLVM_PACKAGES: [&str; 2] = ["llvm-22-dev", "libpolly-22-dev"];

/// A compiler and a linker that fit each other.
pub(crate) struct Toolchain {
    /// Compiles the kernel crate and `core`.
    pub(crate) compiler: Compiler,
    /// Links them.
    pub(crate) linker: PathBuf,
}

/// The toolchain, installed if need be.
pub(crate) fn ready(workspace: &Workspace, progress: &mut Progress) -> Result<Toolchain, Error> {
    let target = workspace.target();
    let mut compilers: Vec<Compiler> = [compiler::nightly(target), compiler::system(target)]
        .into_iter()
        .flatten()
        .collect();
    // Nothing is fetched as long as something that is there will do.
    compilers.sort_by_key(|compiler| !compiler.has_src);
    for compiler in compilers.iter().filter(|compiler| compiler.has_src) {
        if let Some(linker) = linker::find(workspace, compiler) {
            let compiler = compiler.clone();
            return Ok(Toolchain { compiler, linker });
        }
    }
    let mut tried = Vec::new();
    for name in [compiler::NIGHTLY, compiler::SYSTEM] {
        if !compilers.iter().any(|compiler| compiler.name == name) {
            tried.push(format!("{name} is not there, or is too old"));
        }
    }
    for compiler in compilers {
        match complete(workspace, progress, compiler)? {
            Ok(toolchain) => return Ok(toolchain),
            Err(reason) => tried.push(reason),
        }
    }
    match from_packages(workspace, progress)? {
        Ok(toolchain) => Ok(toolchain),
        Err(reason) => {
            tried.push(reason);
            Err(Error::Missing(missing(tried)))
        }
    }
}

/// Adds what one step can add to a compiler that is there. The inner error says why that is not enough.
fn complete(
    workspace: &Workspace,
    progress: &mut Progress,
    mut compiler: Compiler,
) -> Result<Result<Toolchain, String>, Error> {
    let name = compiler.name;
    let found = linker::find(workspace, &compiler);
    if found.is_none() && compiler.llvm > linker::LLVM {
        let (its, ours) = (compiler.llvm, linker::LLVM);
        return Ok(Err(format!(
            "{name} has LLVM {its}: bpf-linker can be built here for LLVM {ours} at most"
        )));
    }
    if found.is_none() && !linker::llvm_is_installed() {
        return Ok(Err(format!(
            "{name} has no bpf-linker that fits, and LLVM {} to build one is not installed",
            linker::LLVM
        )));
    }
    if !compiler.has_src {
        let fetched = !compiler.stable && compiler::fetch_sources(progress, workspace.target())?;
        match compiler::nightly(workspace.target()).filter(|nightly| fetched && nightly.has_src) {
            Some(nightly) => compiler = nightly,
            None => {
                return Ok(Err(format!(
                    "{name} lacks the library's sources (rust-src)"
                )));
            }
        }
    }
    let linker = match found {
        Some(linker) => linker,
        None => linker::build(workspace, progress)?,
    };
    Ok(Ok(Toolchain { compiler, linker }))
}

/// Debian's compiler and LLVM, with our build of bpf-linker.
fn from_packages(
    workspace: &Workspace,
    progress: &mut Progress,
) -> Result<Result<Toolchain, String>, Error> {
    let packages = packages::not_installed(&[&RUST_PACKAGES[..], &LLVM_PACKAGES[..]].concat());
    if !packages.is_empty() {
        let target = workspace.target();
        if let Err(reason) = packages::install(progress, target, "toolchain packages", &packages) {
            return Ok(Err(reason));
        }
    }
    match compiler::system(workspace.target()) {
        Some(compiler) => complete(workspace, progress, compiler),
        None => Ok(Err(
            "Debian's packages are installed, but /usr/bin/rustc does not run or is too old".into(),
        )),
    }
}

/// The error, with the commands for each kind of machine.
fn missing(tried: Vec<String>) -> Missing {
    Missing {
        what: "the kernel program cannot be built: no Rust compiler with the sources of core and a bpf-linker that fits it".into(),
        tried,
        mends: vec![
            Mend {
                case: "anywhere, with rustup and cargo-binstall",
                command: "rustup toolchain install nightly --component rust-src && cargo binstall bpf-linker".into(),
            },
            Mend {
                case: "on Debian, as root",
                command: packages::install_line(&[&RUST_PACKAGES[..], &LLVM_PACKAGES[..]].concat()),
            },
        ],
    }
}
