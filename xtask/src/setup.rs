//! `cargo xtask setup`: the kernel program's toolchain, and what some tests would be skipped without.

use std::process::ExitCode;

use crate::error::Error;
use crate::extras;
use crate::profile::Layout;
use crate::progress::Progress;
use crate::toolchain;
use crate::workspace::Workspace;

/// Finds or installs the toolchain and says what was found.
pub(crate) fn setup(workspace: &Workspace, progress: &mut Progress) -> Result<ExitCode, Error> {
    let toolchain = toolchain::ready(workspace, progress)?;
    let compiler = &toolchain.compiler;
    progress.say(&format!(
        "compiler: {}, {} (LLVM {})",
        compiler.name,
        compiler.rustc.display(),
        compiler.llvm
    ));
    progress.say(&format!("linker:   {}", toolchain.linker.display()));
    // For what it installs.
    Layout::possible(workspace, progress, true)?;
    extras::install(progress, workspace.target());
    progress.say(&format!(
        "ready in {}; next: cargo xtask build",
        progress.elapsed()
    ));
    Ok(ExitCode::SUCCESS)
}
