//! `cargo xtask build`: the kernel program, then lb with it inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::env;
use crate::error::Error;
use crate::layout;
use crate::profile::Layout;
use crate::progress::{self, Progress};
use crate::toolchain::compiler::Compiler;
use crate::toolchain::{self, Toolchain, linker};
use crate::workspace::Workspace;

/// Arguments of the verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A debug build of lb: quick to compile, at target/debug/lb
    #[arg(long)]
    debug: bool,
}

/// What a build leaves.
pub(crate) struct Built {
    /// The daemon, with the kernel program inside.
    pub(crate) lb: PathBuf,
    /// The kernel program by itself, for tests that load it on their own.
    pub(crate) object: PathBuf,
}

/// Builds everything and says where it is.
pub(crate) fn command(
    workspace: &Workspace,
    progress: &mut Progress,
    args: &Args,
) -> Result<ExitCode, Error> {
    let built = build(workspace, progress, args.debug)?;
    progress.say(&format!(
        "kernel program: {}",
        progress::short(&built.object)
    ));
    progress.say(&format!(
        "built {} in {}",
        progress::short(&built.lb),
        progress.elapsed()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The kernel program and the daemon.
pub(crate) fn build(
    workspace: &Workspace,
    progress: &mut Progress,
    debug: bool,
) -> Result<Built, Error> {
    let object = kernel_program(workspace, progress, Warnings::Allowed)?;
    let lb = daemon(workspace, progress, debug)?;
    Ok(Built { lb, object })
}

/// What a warning in the kernel crate leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warnings {
    /// Nothing: a compiler newer than ours may have new ones.
    Allowed,
    /// The build fails.
    Denied,
}

/// Compiles the kernel crate and `core` for BPF; returns the object without DWARF, which the loader has no use for once
/// there is BTF.
pub(crate) fn kernel_program(
    workspace: &Workspace,
    progress: &mut Progress,
    warnings: Warnings,
) -> Result<PathBuf, Error> {
    let object = workspace.ebpf_object();
    compiled(workspace, progress, warnings, "lb-ebpf", &object)?;
    Ok(object)
}

/// Compiles the programs that the kernel program is measured with.
pub(crate) fn bench_programs(
    workspace: &Workspace,
    progress: &mut Progress,
) -> Result<PathBuf, Error> {
    let object = workspace.ebpf_target().join("bench.bpf.o");
    compiled(workspace, progress, Warnings::Allowed, "bench", &object)?;
    Ok(object)
}

/// Compiles one binary of the kernel crate to `object`.
fn compiled(
    workspace: &Workspace,
    progress: &mut Progress,
    warnings: Warnings,
    binary: &str,
    object: &Path,
) -> Result<(), Error> {
    let toolchain = toolchain::ready(workspace, progress)?;
    let (name, about) = match binary {
        "lb-ebpf" => ("kernel program", "compiling lb-ebpf for BPF"),
        _ => ("bench programs", "compiling the benchmark's part for BPF"),
    };
    let about = first_time(object, about, "with core, about a minute");
    progress.run(
        name,
        &about,
        compile(workspace, &toolchain, warnings, binary),
    )?;
    let linked = workspace
        .ebpf_target()
        .join("bpfel-unknown-none/ebpf")
        .join(binary);
    let stripped = linked.with_extension("stripped");
    strip(workspace, progress, &toolchain.compiler, &linked, &stripped)?;
    copy_if_changed(&stripped, object)
}

/// Takes DWARF out and leaves BTF in. Where no LLVM tool for that is found, the object stays as it is.
fn strip(
    workspace: &Workspace,
    progress: &Progress,
    compiler: &Compiler,
    linked: &Path,
    stripped: &Path,
) -> Result<(), Error> {
    let output = linker::objcopy(compiler).map(|objcopy| {
        let mut command = env::foreign(&objcopy, workspace.target());
        command.arg("--strip-debug").arg(linked).arg(stripped);
        command.output()
    });
    if let Some(Ok(output)) = output
        && output.status.success()
    {
        return Ok(());
    }
    progress
        .say("note: no llvm-objcopy that works, so the kernel object keeps its debug information");
    copy_if_changed(linked, stripped)
}

/// lb for this host, with the kernel program embedded.
pub(crate) fn daemon(
    workspace: &Workspace,
    progress: &mut Progress,
    debug: bool,
) -> Result<PathBuf, Error> {
    let mut command = lb(workspace);
    let lb = workspace.lb(debug);
    let mut bolt = None;
    let (name, about) = if debug {
        let about = first_time(
            &lb,
            "compiling the daemon, debug profile",
            "one to four minutes",
        );
        ("lb debug", about)
    } else {
        command.arg("--release");
        let layout = Layout::possible(workspace, progress, !lb.exists())?;
        command.args(layout.arguments);
        bolt = layout.bolt;
        let about = first_time(
            &lb,
            "compiling the daemon, release profile",
            "five to ten minutes",
        );
        ("lb", about)
    };
    progress.run(name, &about, command)?;
    if let Some(bolt) = bolt
        && workspace.layout().is_file()
    {
        layout::lay_out(workspace, progress, &bolt, &lb)?;
    }
    Ok(lb)
}

/// A command that compiles lb.
pub(crate) fn lb(workspace: &Workspace) -> Command {
    let mut command = host(workspace, &["build"]);
    command.args(["--package", "lb-userspace", "--bin", "lb"]);
    command
}

/// What is done, and how long it takes if its result is not there yet.
fn first_time(result: &Path, about: &str, takes: &str) -> String {
    if result.exists() {
        about.into()
    } else {
        format!("{about} ({takes})")
    }
}

/// A cargo command for the host's crates, told where the kernel object is.
///
/// Always the same path: the build script that embeds it runs again whenever the variable changes.
pub(crate) fn host(workspace: &Workspace, verb: &[&str]) -> Command {
    let mut command = env::host_cargo(workspace.target());
    command
        .args(verb)
        .arg("--locked")
        .current_dir(workspace.root());
    command
        .env("LB_EBPF_OBJECT", workspace.ebpf_object())
        .env("CARGO_TERM_COLOR", "never");
    command
}

fn compile(
    workspace: &Workspace,
    toolchain: &Toolchain,
    warnings: Warnings,
    binary: &str,
) -> Command {
    let compiler = &toolchain.compiler;
    let mut command = env::foreign(&compiler.cargo, workspace.target());
    command.current_dir(workspace.root());
    command.args([
        "build",
        "--locked",
        "--profile",
        "ebpf",
        "--package",
        "lb-ebpf",
        "--bin",
        binary,
    ]);
    command.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    // Not by a compiler flag: that would compile everything anew.
    command.args(["-Z", "warnings"]).env(
        "CARGO_BUILD_WARNINGS",
        if warnings == Warnings::Denied {
            "deny"
        } else {
            "warn"
        },
    );
    command
        .env("CARGO_TARGET_DIR", workspace.ebpf_target())
        .env("RUSTC", &compiler.rustc);
    let linker = format!("linker={}", toolchain.linker.display());
    // BTF is made from debug information. Separated as cargo wants it, for the linker's path may hold spaces.
    // v3 has 32-bit jumps and arithmetic, which every kernel since 5.1 takes.
    let flags = [
        "-C",
        "debuginfo=2",
        "-C",
        "link-arg=--btf",
        "-C",
        "target-cpu=v3",
        "-C",
        &linker,
    ]
    .join("\x1f");
    command
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TERM_COLOR", "never");
    if compiler.stable {
        // For this child alone: -Z build-std on a stable compiler.
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command
}

/// Copies only what differs: the daemon is built anew when the object's time changes.
fn copy_if_changed(from: &Path, to: &Path) -> Result<(), Error> {
    let new = fs::read(from).map_err(Error::file("read", from))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    }
    fs::write(to, new).map_err(Error::file("write", to))
}
