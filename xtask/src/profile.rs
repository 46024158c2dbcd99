//! `cargo xtask profile`: which of lb's code requests run through, so that release builds can lay it out by that.
//!
//! A request runs through some ten thousand instructions of lb, each about once, so that much of its time is waiting for
//! them. The compiler can put those that are run side by side and all others elsewhere, if it is told which are which. The
//! profile lies beside the daemon's sources, and is of use to the very compiler that it was made with alone, since symbols
//! are called otherwise by others. Functions that have been changed since are compiled as if there were none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::build;
use crate::env;
use crate::error::{Error, Mend, Missing};
use crate::layout::{self, Bolt};
use crate::progress::{Progress, short};
use crate::workspace::Workspace;

/// How long each case of the benchmark runs for each configuration, in seconds.
const SECONDS: &str = "1";

/// Builds lb so that it counts, lets the benchmark's requests through it, and leaves the profile.
pub(crate) fn command(workspace: &Workspace, progress: &mut Progress) -> Result<ExitCode, Error> {
    env::needs_root("a network namespace to measure in", "cargo xtask profile")?;
    let merge = merger()?;
    let folder = workspace.target().join("profile");
    let counts = folder.join("counts");
    if counts.exists() {
        fs::remove_dir_all(&counts).map_err(Error::file("remove", &counts))?;
    }
    fs::create_dir_all(&counts).map_err(Error::file("create", &counts))?;
    build::kernel_program(workspace, progress, build::Warnings::Allowed)?;
    let flags = ["--config".into(), rustflags(&[generate(&counts)])];
    progress.run(
        "lb that counts",
        "compiling the daemon so that it counts what it runs (ten to twenty minutes)",
        daemon(workspace, &folder, &flags),
    )?;
    // Compilers' own helpers have counted too.
    fs::remove_dir_all(&counts).map_err(Error::file("remove", &counts))?;
    requests(workspace, progress, &folder.join("release/lb"), &counts)?;
    let profile = workspace.profile();
    if let Some(parent) = profile.parent() {
        fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    }
    let mut merged = Command::new(merge);
    merged
        .args(["merge", "--sparse", "-o"])
        .arg(&profile)
        .arg(&counts);
    progress.run("profile", "putting the counts together", merged)?;
    let of = compiler_of(workspace);
    fs::write(&of, compiler()?).map_err(Error::file("write", &of))?;
    progress.say(&format!("profile: {}", short(&profile)));
    jumps(workspace, progress, &folder)
}

/// Takes the counts that [`layout`] goes by, in a build by the profile.
fn jumps(workspace: &Workspace, progress: &mut Progress, folder: &Path) -> Result<ExitCode, Error> {
    let bolt = match Bolt::find_or_install(progress, workspace.target()) {
        Ok(bolt) => bolt,
        Err(why) => {
            progress.say(&layout::without(&why));
            return Ok(ExitCode::FAILURE);
        }
    };
    // From the beginning: cargo does not see that the profile is another one.
    let release = folder.join("release");
    fs::remove_dir_all(&release).map_err(Error::file("remove", &release))?;
    let layout = Layout::possible(workspace, progress, false)?;
    let command = daemon(workspace, folder, &layout.arguments);
    progress.run(
        "lb by the profile",
        "compiling the daemon by it (ten to twenty minutes)",
        command,
    )?;
    let lb = release.join("lb");
    let counts = folder.join("jumps");
    if counts.exists() {
        fs::remove_dir_all(&counts).map_err(Error::file("remove", &counts))?;
    }
    fs::create_dir_all(&counts).map_err(Error::file("create", &counts))?;
    let counting = layout::counting(workspace, progress, &bolt, &lb, &counts)?;
    requests(workspace, progress, &counting, &counts)?;
    layout::keep(workspace, progress, &bolt, &lb, &counts)?;
    progress.say(&format!("layout:  {}", short(&workspace.layout())));
    Ok(ExitCode::SUCCESS)
}

/// A command that makes a release build of lb in a target folder of its own.
fn daemon(workspace: &Workspace, target: &Path, arguments: &[String]) -> Command {
    let mut command = build::lb(workspace);
    command
        .arg("--release")
        .args(arguments)
        .env("CARGO_TARGET_DIR", target);
    command
}

/// Lets the benchmark's requests through a lb that counts.
fn requests(
    workspace: &Workspace,
    progress: &mut Progress,
    lb: &Path,
    counts: &Path,
) -> Result<(), Error> {
    let mut bench = build::host(workspace, &["bench", "--profile", "dev", "--quiet"]);
    bench.args(["--package", "lb-tests", "--bench", "l7", "--"]);
    bench.args(["--features", "--rounds", "1", "--seconds", SECONDS]);
    bench
        .env("LB_BIN", lb)
        // It writes its counts where no configuration lets it write.
        .env("LB_LANDLOCK", "off")
        .env("LLVM_PROFILE_FILE", counts.join("%m-%p.profraw"));
    let about = "letting requests through it (two minutes)";
    progress.run("requests", about, bench).map(|_| ())
}

/// How a release build is laid out.
pub(crate) struct Layout {
    /// What makes cargo use the profile, where it is of use.
    pub(crate) arguments: Vec<String>,
    /// What lays out the result, where that is to be had.
    pub(crate) bolt: Option<Bolt>,
}

impl Layout {
    /// What this machine and this compiler allow. What is missing is installed if `install`, and said otherwise.
    pub(crate) fn possible(
        workspace: &Workspace,
        progress: &mut Progress,
        install: bool,
    ) -> Result<Self, Error> {
        let none = Self {
            arguments: Vec::new(),
            bolt: None,
        };
        let profile = workspace.profile();
        let Ok(of) = fs::read_to_string(compiler_of(workspace)) else {
            return Ok(none);
        };
        if !profile.is_file() {
            return Ok(none);
        }
        if of != compiler()? {
            progress.say(&format!(
                "note: {} is of another compiler ({}), so lb is built without it; `cargo xtask profile` makes one",
                short(&profile),
                of.lines().next().unwrap_or("unknown"),
            ));
            return Ok(none);
        }
        let bolt = if install {
            Bolt::find_or_install(progress, workspace.target())
        } else {
            Bolt::find().ok_or_else(|| "it is not in PATH".into())
        };
        let mut flags = vec![format!("-Cprofile-use={}", profile.display())];
        match &bolt {
            Ok(_) => flags.push(layout::LINK_FLAG.into()),
            Err(why) => progress.say(&layout::without(why)),
        }
        Ok(Self {
            arguments: vec!["--config".into(), rustflags(&flags)],
            bolt: bolt.ok(),
        })
    }
}

fn generate(counts: &Path) -> String {
    format!("-Cprofile-generate={}", counts.display())
}

/// Flags for all crates, beside those that the user's configuration has.
fn rustflags(flags: &[String]) -> String {
    // What Rust escapes, TOML does as well.
    format!("build.rustflags={flags:?}")
}

/// Which compiler the profile is of.
fn compiler_of(workspace: &Workspace) -> PathBuf {
    workspace.profile().with_file_name("compiler.txt")
}

/// The compiler, by its version and commit.
fn compiler() -> Result<String, Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .arg("-vV")
        .output()
        .map_err(|source| Error::Start {
            program: rustc.to_string_lossy().into_owned(),
            source,
        })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What puts counts together: rustup's, else one in `PATH`.
fn merger() -> Result<PathBuf, Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output();
    let rustups = sysroot.ok().map(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new(&sysroot)
            .join("lib/rustlib")
            .join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
            .join("bin/llvm-profdata")
    });
    rustups
        .filter(|file| env::is_executable(file))
        .or_else(|| env::in_path("llvm-profdata-22"))
        .or_else(|| env::in_path("llvm-profdata"))
        .ok_or_else(|| {
            Error::Missing(Missing {
                what: "llvm-profdata, which puts counts together".into(),
                tried: Vec::new(),
                mends: vec![Mend {
                    case: "with rustup",
                    command: "rustup component add llvm-tools".into(),
                }],
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_a_line_of_toml_whatever_the_folder_is_called() {
        assert_eq!(
            rustflags(&["-Cone".into(), "-Ctwo".into()]),
            r#"build.rustflags=["-Cone", "-Ctwo"]"#
        );
        assert_eq!(
            rustflags(&[generate(Path::new(r#"/a "b\c"#))]),
            r#"build.rustflags=["-Cprofile-generate=/a \"b\\c"]"#
        );
    }
}
