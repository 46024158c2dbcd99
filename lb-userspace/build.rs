//! Names the kernel object to embed, and the commit and object build that `lb --version` tells.
//!
//! The object is the file that `LB_EBPF_OBJECT` names, else the one that `cargo xtask build` left below the target folder,
//! else none: lb then compiles all the same, and says so when it would need it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(
        env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo did not set OUT_DIR"))?,
    );
    let (path, build) = match object(&out)? {
        Some((path, bytes)) => (path, format!("{:016x}", fnv1a(&bytes))),
        None => {
            let empty = out.join("none.bpf.o");
            fs::write(&empty, [])?;
            (empty, "none".into())
        }
    };
    println!("cargo:rustc-env=LB_EBPF_OBJECT_PATH={}", path.display());
    println!("cargo:rustc-env=LB_EBPF_BUILD={build}");
    println!(
        "cargo:rustc-env=LB_COMMIT={}",
        commit().unwrap_or_else(|| "unknown".into())
    );
    Ok(())
}

/// The kernel object with its content, if there is one.
fn object(out: &Path) -> io::Result<Option<(PathBuf, Vec<u8>)>> {
    println!("cargo:rerun-if-env-changed=LB_EBPF_OBJECT");
    if let Some(named) = env::var_os("LB_EBPF_OBJECT") {
        let path = PathBuf::from(named);
        println!("cargo:rerun-if-changed={}", path.display());
        let bytes = fs::read(&path).map_err(|error| {
            io::Error::other(format!(
                "LB_EBPF_OBJECT: cannot read {}: {error}; unset it or run `cargo xtask build`",
                path.display()
            ))
        })?;
        return Ok(Some((path, bytes)));
    }
    // target/PROFILE/build/PACKAGE/out, or one deeper where a target triple is given.
    let built = |up: usize| {
        out.ancestors()
            .nth(up)
            .map(|target| target.join("ebpf/lb.bpf.o"))
    };
    let folder = out.ancestors().nth(4).map(|target| target.join("ebpf"));
    if let Some(folder) = folder {
        // The folder is watched, and made for that: to cargo, a path that does not exist has always just changed.
        fs::create_dir_all(&folder)?;
        println!("cargo:rerun-if-changed={}", folder.display());
    }
    Ok([built(4), built(5)]
        .into_iter()
        .flatten()
        .find_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes))))
}

/// The checkout's commit, abbreviated by git; None outside a checkout.
fn commit() -> Option<String> {
    // In a worktree these are in different places. HEAD changes when the branch does, its file when a commit is made.
    let head = git(&["rev-parse", "--git-path", "HEAD"])?;
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"])
        .and_then(|name| git(&["rev-parse", "--git-path", &name]));
    let packed = git(&["rev-parse", "--git-path", "packed-refs"]);
    for file in [Some(head), branch, packed]
        .into_iter()
        .flatten()
        .filter(|file| Path::new(file).exists())
    {
        println!("cargo:rerun-if-changed={file}");
    }
    git(&["rev-parse", "--short", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// FNV-1a in 64 bits, as its authors' draft (draft-eastlake-fnv) gives it: tells builds apart, and no more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
