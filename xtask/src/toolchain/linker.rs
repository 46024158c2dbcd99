//! bpf-linker: finds one that reads what the compiler writes, or builds it once for all checkouts of this user.

use std::env::var_os;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::env;
use crate::error::Error;
use crate::progress::Progress;
use crate::toolchain::compiler::Compiler;
use crate::workspace::Workspace;

/// The release that is built here.
const VERSION: &str = "0.13.0";

/// The LLVM that it is built with; it reads bitcode up to this version.
pub(crate) const LLVM: u32 = 22;

/// Where Debian puts that LLVM's programs.
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22/bin";

/// Compiled to try whether a linker found in `PATH` reads the compiler's bitcode.
const PROBE: &str =
    "#![no_std]\n#[unsafe(no_mangle)]\npub extern \"C\" fn probe(x: u32) -> u32 { x }\n";

/// A linker that links what `compiler` writes: the user's own, or one that [`build`] made earlier.
pub(crate) fn find(workspace: &Workspace, compiler: &Compiler) -> Option<PathBuf> {
    let mut ours = homes(workspace)
        .into_iter()
        .map(|home| home.join("bin/bpf-linker"));
    let ours = ours.find(|linker| compiler.llvm <= LLVM && runs(linker));
    ours.or_else(|| {
        env::in_path("bpf-linker").filter(|linker| reads_bitcode(workspace, compiler, linker))
    })
}

/// Whether [`build`] has what it needs.
pub(crate) fn llvm_is_installed() -> bool {
    llvm_programs().is_some()
}

/// Builds the linker into the user's cache, or below target where there is none.
pub(crate) fn build(workspace: &Workspace, progress: &mut Progress) -> Result<PathBuf, Error> {
    let home = homes(workspace)
        .into_iter()
        .find(|home| fs::create_dir_all(home).is_ok());
    let home = home.unwrap_or_else(|| workspace.tools());
    let mut command = env::host_cargo(workspace.target());
    let scratch = workspace.tools().join("build");
    command.args([
        "install",
        "bpf-linker",
        "--version",
        VERSION,
        "--locked",
        "--force",
    ]);
    command
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{LLVM}"),
            "--root",
        ])
        .arg(&home);
    command.env("CARGO_TARGET_DIR", &scratch);
    let path = llvm_programs().into_iter().chain(
        var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths)
            .collect::<Vec<_>>(),
    );
    command.env(
        "PATH",
        std::env::join_paths(path).unwrap_or_else(|_| OsString::from(DEBIAN_LLVM)),
    );
    let about = format!(
        "building bpf-linker {VERSION} into {}, once for all checkouts (about 80 s on two cores)",
        home.display()
    );
    progress.run("bpf-linker", &about, command)?;
    // Two hundred megabytes that nobody needs again; what is left of them does no harm.
    let _ = fs::remove_dir_all(scratch);
    Ok(home.join("bin/bpf-linker"))
}

/// Where a linker of ours may be, the preferred place first.
fn homes(workspace: &Workspace) -> Vec<PathBuf> {
    let cache = var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let cache = cache.map(|cache| cache.join(format!("lb/tools-{VERSION}-llvm{LLVM}")));
    cache.into_iter().chain([workspace.tools()]).collect()
}

/// Whether it starts: the LLVM that it was linked to may have been removed since.
fn runs(linker: &Path) -> bool {
    let version = Command::new(linker)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// Whether that linker's LLVM is as new as the compiler's; it does not say of itself which one it has.
fn reads_bitcode(workspace: &Workspace, compiler: &Compiler, linker: &Path) -> bool {
    let folder = workspace.tools().join("probe");
    let (source, bitcode, object) = (
        folder.join("probe.rs"),
        folder.join("probe.bc"),
        folder.join("probe.o"),
    );
    if fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&source, PROBE))
        .is_err()
    {
        return false;
    }
    let mut compile = env::foreign(&compiler.rustc, workspace.target());
    compile
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "llvm-bc",
            "-o",
        ])
        .arg(&bitcode)
        .arg(&source);
    let mut link = env::foreign(linker, workspace.target());
    link.args(["--target", "bpfel", "--export", "probe", "-o"])
        .arg(&object)
        .arg(&bitcode);
    [compile, link].into_iter().all(|mut command| {
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// The folder of that LLVM's llvm-config.
fn llvm_programs() -> Option<PathBuf> {
    let in_path = env::in_path("llvm-config").and_then(|file| file.parent().map(Path::to_path_buf));
    [Some(PathBuf::from(DEBIAN_LLVM)), in_path]
        .into_iter()
        .flatten()
        .find(|folder| {
            let version = Command::new(folder.join("llvm-config"))
                .arg("--version")
                .output();
            version.is_ok_and(|output| output.stdout.starts_with(format!("{LLVM}.").as_bytes()))
        })
}

/// llvm-objcopy and its like, to take DWARF out of a BPF object; binutils' own often lacks BPF.
pub(crate) fn objcopy(compiler: &Compiler) -> Option<PathBuf> {
    let debian = PathBuf::from(DEBIAN_LLVM).join("llvm-objcopy");
    let rustups = compiler.rustc.ancestors().nth(2).map(|sysroot| {
        sysroot
            .join("lib/rustlib")
            .join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
            .join("bin/rust-objcopy")
    });
    [Some(debian), rustups]
        .into_iter()
        .flatten()
        .find(|file| env::is_executable(file))
        .or_else(|| env::in_path("llvm-objcopy"))
}
