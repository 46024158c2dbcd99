//! Puts the code of release builds in the order in which requests run through it, by LLVM's BOLT.
//!
//! The compiler lays functions out by the profile (`profile.rs`), whose counts are of functions before they were put into
//! one another. BOLT does that anew in the finished program, by counts taken in it: little more than half of the jumps are
//! left. What it goes by lies beside the profile, and is of use for as long as that is. Functions that have changed since
//! are matched by their blocks. A build without BOLT is the same lb, somewhat slower.

mod stack;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::env;
use crate::error::{Error, Mend, Missing};
use crate::packages;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The oldest that matches changed functions by their blocks with the hashes that we keep.
const OLDEST: u32 = 19;

/// The newest that is looked for by a name with its version.
const NEWEST: u32 = 40;

/// Debian's package of it.
const PACKAGE: &str = "bolt-19";

/// What runs less often while counts are taken belongs to starting and stopping, not to requests.
const OFTEN: u64 = 300;

/// What the linker must leave in the program for BOLT to take it apart.
pub(crate) const LINK_FLAG: &str = "-Clink-arg=-Wl,--emit-relocs";

/// LLVM's post-link optimiser.
pub(crate) struct Bolt {
    program: PathBuf,
    version: u32,
}

impl Bolt {
    /// The one in `PATH`, if it is new enough.
    pub(crate) fn find() -> Option<Self> {
        let versions = (OLDEST..=NEWEST).rev();
        let named = versions.map(|version| format!("llvm-bolt-{version}"));
        std::iter::once("llvm-bolt".into())
            .chain(named)
            .filter_map(|name| env::in_path(&name))
            // It looks for its library beside where it was called as.
            .filter_map(|program| program.canonicalize().ok())
            .find_map(|program| {
                let output = Command::new(&program).arg("--version").output().ok()?;
                let version = version(&String::from_utf8_lossy(&output.stdout))?;
                (version >= OLDEST).then_some(Self { program, version })
            })
    }

    /// The one in `PATH`; else Debian's, installed if this is root.
    pub(crate) fn find_or_install(progress: &mut Progress, target: &Path) -> Result<Self, String> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        packages::install(progress, target, "llvm-bolt", &[PACKAGE])?;
        Self::find().ok_or_else(|| format!("{PACKAGE} has no llvm-bolt"))
    }

    /// The tool beside it that puts counts together, of the same version.
    fn merger(&self) -> Result<PathBuf, Error> {
        let versioned = format!("merge-fdata-{}", self.version);
        env::in_path(&versioned)
            .or_else(|| env::in_path("merge-fdata"))
            .ok_or_else(|| {
                Error::Missing(Missing {
                    what: format!("{versioned}, which puts counts together"),
                    tried: Vec::new(),
                    mends: vec![mend()],
                })
            })
    }

    /// A command on `program` that leaves `output`.
    fn command(&self, workspace: &Workspace, program: &Path, output: &Path) -> Command {
        let mut command = env::foreign(&self.program, workspace.target());
        command.arg(program).arg("-o").arg(output);
        command
    }
}

/// What a build says where there is none.
pub(crate) fn without(why: &str) -> String {
    format!(
        "note: lb is built without llvm-bolt {OLDEST} or later, which costs about a tenth of its speed ({why}); on Debian: {}",
        packages::install_line(&[PACKAGE])
    )
}

fn mend() -> Mend {
    Mend {
        case: "on Debian, as root",
        command: packages::install_line(&[PACKAGE]),
    }
}

/// Lays out the release build at `lb`, which was linked with [`LINK_FLAG`], and puts the result in its place.
///
/// A layout that fails costs speed alone: it is said, and `lb` stays as it was linked.
pub(crate) fn lay_out(
    workspace: &Workspace,
    progress: &mut Progress,
    bolt: &Bolt,
    lb: &Path,
) -> Result<(), Error> {
    let folder = folder(workspace)?;
    let (laid, stamp) = (folder.join("lb"), folder.join("lb.stamp"));
    let counts = workspace.layout();
    let is = format!(
        "{}\n{}\nBOLT {}\n",
        identity(lb)?,
        identity(&counts)?,
        bolt.version
    );
    if !laid.is_file() || !fs::read_to_string(&stamp).is_ok_and(|was| was == is) {
        let unpacked = folder.join("lb.yaml");
        unpack(&counts, &unpacked)?;
        let mut command = bolt.command(workspace, lb, &laid);
        command.arg("--data").arg(&unpacked);
        command.args([
            "--infer-stale-profile",
            "--reorder-blocks=ext-tsp",
            "--reorder-functions=cdsort",
            "--split-functions",
            "--split-all-cold",
            "--split-eh",
            "--icf=1",
            "--plt=hot",
            // Else strip(1) makes a program of it that ends by a fault; see `stack.rs`.
            "--use-gnu-stack",
            // Written by hand, in ways that BOLT half understands.
            "--skip-funcs=aws_lc_.*",
            // Backtraces go on naming lines.
            "--update-debug-sections",
        ]);
        // Until all is well.
        let _ = fs::remove_file(&stamp);
        let about = "putting its code in the order in which requests run through it";
        let finished = progress.attempt("lb laid out", about, command, None)?;
        if !finished.success() {
            progress.say(&format!(
                "note: llvm-bolt failed, so lb stays as it was linked; what it said is in {}",
                finished.log.display()
            ));
            return Ok(());
        }
        let program = OpenOptions::new().read(true).write(true).open(&laid);
        let has = program.and_then(|program| stack::header(&program));
        if !has.map_err(Error::file("change", &laid))? {
            progress.say(
                "note: no program header was left for lb's stack, so lb stays as it was linked",
            );
            return Ok(());
        }
        fs::write(&stamp, is).map_err(Error::file("write", &stamp))?;
    }
    // Cargo's own file stays as it is under its other name, and is put back here by the next build.
    let new = lb.with_extension("new");
    let _ = fs::remove_file(&new);
    fs::copy(&laid, &new).map_err(Error::file("write", &new))?;
    fs::rename(&new, lb).map_err(Error::file("write", lb))
}

/// Makes of `lb` one that leaves counts in `counts` when it ends; each process a file.
pub(crate) fn counting(
    workspace: &Workspace,
    progress: &mut Progress,
    bolt: &Bolt,
    lb: &Path,
    counts: &Path,
) -> Result<PathBuf, Error> {
    let counting = folder(workspace)?.join("lb-counting");
    let mut command = bolt.command(workspace, lb, &counting);
    command
        .arg("--instrument")
        .arg("--instrumentation-file")
        .arg(counts.join("lb"))
        .arg("--instrumentation-file-append-pid");
    progress.run(
        "lb that counts jumps",
        "making a lb that counts its jumps",
        command,
    )?;
    Ok(counting)
}

/// Puts the counts in a folder together to what [`lay_out`] goes by.
pub(crate) fn keep(
    workspace: &Workspace,
    progress: &mut Progress,
    bolt: &Bolt,
    lb: &Path,
    counts: &Path,
) -> Result<(), Error> {
    let folder = folder(workspace)?;
    let mut merge = env::foreign(&bolt.merger()?, workspace.target());
    let entries = fs::read_dir(counts).map_err(Error::file("read", counts))?;
    merge.args(entries.flatten().map(|entry| entry.path()));
    let merged = folder.join("merged.fdata");
    merge.arg("-o").arg(&merged);
    progress.run("jumps", "putting the counts of jumps together", merge)?;
    let often = folder.join("often.fdata");
    only_often(&merged, &often)?;
    let yaml = folder.join("lb.yaml");
    let mut write = bolt.command(workspace, lb, Path::new("/dev/null"));
    write.arg("--data").arg(&often).arg("-w").arg(&yaml);
    progress.run("layout", "matching them with the blocks of lb", write)?;
    pack(&yaml, &workspace.layout())
}

/// Where what is made on the way is.
fn folder(workspace: &Workspace) -> Result<PathBuf, Error> {
    let folder = workspace.target().join("layout");
    fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    Ok(folder)
}

/// What tells a file from the same one written anew.
fn identity(file: &Path) -> Result<String, Error> {
    let about = fs::metadata(file).map_err(Error::file("read", file))?;
    Ok(format!(
        "{} {} {}.{:09}",
        about.ino(),
        about.len(),
        about.mtime(),
        about.mtime_nsec()
    ))
}

/// The LLVM version in what `--version` prints.
fn version(printed: &str) -> Option<u32> {
    let (_, after) = printed.split_once("LLVM version ")?;
    let digits = after.find(|byte: char| !byte.is_ascii_digit());
    after[..digits.unwrap_or(after.len())].parse().ok()
}

/// Copies the lines whose count, the last word, is at least [`OFTEN`]. The first line may name the format instead.
fn only_often(merged: &Path, often: &Path) -> Result<(), Error> {
    let from = File::open(merged).map_err(Error::file("read", merged))?;
    let to = File::create(often).map_err(Error::file("create", often))?;
    let mut to = BufWriter::new(to);
    for line in BufReader::new(from).lines() {
        let line = line.map_err(Error::file("read", merged))?;
        if is_often(&line) {
            writeln!(to, "{line}").map_err(Error::file("write", often))?;
        }
    }
    to.flush().map_err(Error::file("write", often))
}

fn is_often(line: &str) -> bool {
    let count = line.rsplit(' ').next().and_then(|word| word.parse().ok());
    count.is_none_or(|count: u64| count >= OFTEN)
}

fn pack(from: &Path, to: &Path) -> Result<(), Error> {
    let mut plain = File::open(from).map_err(Error::file("read", from))?;
    let file = File::create(to).map_err(Error::file("create", to))?;
    let mut packed = GzEncoder::new(file, Compression::best());
    io::copy(&mut plain, &mut packed)
        .and_then(|_| packed.finish())
        .map_err(Error::file("write", to))?;
    Ok(())
}

fn unpack(from: &Path, to: &Path) -> Result<(), Error> {
    let packed = File::open(from).map_err(Error::file("read", from))?;
    let mut file = File::create(to).map_err(Error::file("create", to))?;
    io::copy(&mut GzDecoder::new(packed), &mut file).map_err(Error::file("unpack", from))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_llvms() {
        let debians = "Debian LLVM version 19.1.7\n  Optimized build.\nBOLT revision <unknown>\n";
        assert_eq!(version(debians), Some(19));
        let llvms = "LLVM (http://llvm.org/):\n  LLVM version 22.0.0git\n";
        assert_eq!(version(llvms), Some(22));
        assert_eq!(version("BOLT revision 1"), None);
    }

    #[test]
    fn what_runs_seldom_is_left_out_and_what_names_the_format_is_not() {
        assert!(is_often("1 main/1 19 1 main/1 1b 0 150141"));
        assert!(!is_often("1 main/1 19 1 main/1 1b 0 8"));
        assert!(is_often("boltedcollection"));
    }
}
