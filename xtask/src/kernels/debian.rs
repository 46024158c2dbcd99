//! Kernels as Debian ships them: fetched by apt with lists of its own from the mirror that this machine uses, and
//! unpacked, not installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Series;
use crate::env;
use crate::error::{Error, Mend, Missing};
use crate::progress::{Finished, Progress};

/// Suites that have one of the kernels, by the last part of their mirror's address.
const SUITES: [(&str, &[&str]); 2] = [
    ("debian", &["bullseye", "bookworm", "bookworm-backports"]),
    (
        "debian-security",
        &["bullseye-security", "bookworm-security"],
    ),
];

/// Of the `debian-archive-keyring` package, which is essential to apt on Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel, unpacked.
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// To boot.
    pub(super) image: PathBuf,
    /// Those of the modules asked for that it has, in the order asked for. Some are built in.
    pub(super) modules: Vec<PathBuf>,
}

/// Where apt keeps what it fetches for us.
pub(super) struct Apt<'a> {
    folder: PathBuf,
    target: &'a Path,
}

impl<'a> Apt<'a> {
    /// Keeps everything in `folder`.
    pub(super) fn new(folder: &Path, target: &'a Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            target,
        }
    }

    /// The kernels of `series`. What an earlier call has fetched is used as it is, also without a network.
    pub(super) fn kernels(
        &self,
        progress: &mut Progress,
        series: &[Series],
        modules: &[&str],
    ) -> Result<Vec<Kernel>, Error> {
        let unpacked = |series: &Series| self.folder.join(series.name);
        if series.iter().any(|series| !unpacked(series).is_dir()) {
            self.update(progress)?;
        }
        for series in series.iter().filter(|series| !unpacked(series).is_dir()) {
            self.fetch(progress, series, &unpacked(series))?;
        }
        let found = series.iter().map(|s| kernel(&unpacked(s), modules));
        found.collect()
    }

    /// Fetches the lists of packages.
    fn update(&self, progress: &mut Progress) -> Result<(), Error> {
        if env::in_path("apt-get").is_none() {
            return Err(unavailable("this machine has no apt-get"));
        }
        let output = Command::new("apt-get")
            .args([
                "indextargets",
                "--format",
                "$(REPO_URI)",
                "Created-By: Packages",
            ])
            .output()
            .map_err(|source| Error::Start {
                program: "apt-get".into(),
                source,
            })?;
        let sources = sources(&String::from_utf8_lossy(&output.stdout));
        if sources.is_empty() {
            return Err(unavailable("apt's sources name no mirror of Debian"));
        }
        for folder in ["lists/partial", "archives/partial"] {
            let folder = self.folder.join(folder);
            fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        }
        let list = self.folder.join("sources.list");
        fs::write(&list, sources).map_err(Error::file("write", &list))?;
        let mut command = self.apt("apt-get");
        command.arg("update");
        let about =
            "apt-get update with lists of our own, for bullseye, bookworm and its backports";
        let finished = progress.attempt("kernel lists", about, command, None)?;
        if finished.success() && !finished.output.contains("Err:") {
            Ok(())
        } else {
            Err(failed(
                "the lists of packages could not be fetched",
                &finished,
            ))
        }
    }

    /// Fetches and unpacks one kernel into `to`, which is there only if all went well.
    fn fetch(&self, progress: &mut Progress, series: &Series, to: &Path) -> Result<(), Error> {
        let mut search = self.apt("apt-cache");
        search.args(["search", "--names-only", series.package]);
        let output = search.output().map_err(|source| Error::Start {
            program: "apt-cache".into(),
            source,
        })?;
        let Some(package) = newest(&String::from_utf8_lossy(&output.stdout)) else {
            let why = format!("the mirror has no package {}", series.package);
            return Err(unavailable(&why));
        };
        let archives = self.folder.join("archives");
        let mut download = self.apt("apt-get");
        download.args(["download", &package]).current_dir(&archives);
        let name = format!("linux {} package", series.name);
        let finished = progress.attempt(&name, &package, download, None)?;
        let start = format!("{package}_");
        let fetched = files(&archives)
            .into_iter()
            .find(|file| file_name(file).starts_with(&start));
        let Some(archive) = fetched.filter(|_| finished.success()) else {
            return Err(failed("the package could not be fetched", &finished));
        };
        let partial = to.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        let mut unpack = Command::new("dpkg");
        unpack.arg("-x").arg(&archive).arg(&partial);
        progress.run(
            &format!("linux {} unpacked", series.name),
            "dpkg -x",
            unpack,
        )?;
        fs::rename(&partial, to).map_err(Error::file("create", to))?;
        fs::remove_file(&archive).map_err(Error::file("remove", archive))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = env::foreign(Path::new(program), self.target);
        let mut option = |name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        let path = |name: &str| self.folder.join(name).display().to_string();
        option("Dir::Etc::sourcelist", &path("sources.list"));
        option("Dir::Etc::sourceparts", "/dev/null");
        option("Dir::State::lists", &path("lists"));
        option("Dir::Cache::archives", &path("archives"));
        option("Dir::Cache::pkgcache", "");
        option("Dir::Cache::srcpkgcache", "");
        option("Acquire::Languages", "none");
        // Old suites are no longer signed anew.
        option("Acquire::Check-Valid-Until", "false");
        // apt's own user may not read a checkout in somebody's home.
        option("APT::Sandbox::User", "");
        command.env("LC_ALL", "C");
        command
    }
}

/// A sources.list for [`SUITES`] from the mirrors that apt uses, one address a line.
fn sources(mirrors: &str) -> String {
    let mut list = BTreeSet::new();
    for mirror in mirrors
        .lines()
        .map(|line| line.trim().trim_end_matches('/'))
    {
        let last = mirror.rsplit('/').next().unwrap_or_default();
        for (_, suites) in SUITES.iter().filter(|(name, _)| *name == last) {
            for suite in *suites {
                list.insert(format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"));
            }
        }
    }
    list.into_iter().collect()
}

/// The package with the highest numbers in its name, of what `apt-cache search` printed.
fn newest(search: &str) -> Option<String> {
    let names = search.lines().filter_map(|line| line.split(' ').next());
    let newest = names.max_by_key(|name| {
        let numbers = name.split(|c: char| !c.is_ascii_digit());
        numbers
            .filter_map(|number| number.parse().ok())
            .collect::<Vec<u64>>()
    });
    newest.map(str::to_owned)
}

/// The kernel that was unpacked into `folder`.
fn kernel(folder: &Path, modules: &[&str]) -> Result<Kernel, Error> {
    let boot = folder.join("boot");
    let image = files(&boot)
        .into_iter()
        .find(|file| file_name(file).starts_with("vmlinuz-"));
    let Some(image) = image else {
        let missing = std::io::ErrorKind::NotFound.into();
        return Err(Error::file("find a kernel in", boot)(missing));
    };
    let release = file_name(&image).trim_start_matches("vmlinuz-").to_owned();
    let all = files(&folder.join("lib/modules"));
    let module = |name: &&str| {
        let wanted = format!("{name}.ko");
        let of_name = |file: &&PathBuf| {
            let name = file_name(file);
            name == wanted || name == format!("{wanted}.xz")
        };
        all.iter().find(of_name).cloned()
    };
    Ok(Kernel {
        modules: modules.iter().filter_map(module).collect(),
        release,
        image,
    })
}

/// All files below a folder; none if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

pub(super) fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn failed(why: &str, finished: &Finished) -> Error {
    let reason = finished.output.lines().find(|line| line.starts_with("E: "));
    let reason = reason.unwrap_or("apt gave no reason");
    unavailable(&format!(
        "{why}: {reason} (apt's whole output: {})",
        finished.log.display()
    ))
}

fn unavailable(why: &str) -> Error {
    Error::Missing(Missing {
        what: "Debian's kernels are needed, and could not be had".into(),
        tried: vec![why.into()],
        mends: vec![Mend {
            case: "on Debian, with a network",
            command: "cargo xtask test --kernels".into(),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_mirrors_are_used() {
        let mirrors = "http://mirror.example/debian/\nhttp://mirror.example/debian/\n\
                       http://mirror.example/debian-security/\nhttps://packages.example/other\n";
        let sources = sources(mirrors);
        assert_eq!(sources.lines().count(), 5);
        assert!(sources.contains("http://mirror.example/debian bookworm-backports main\n"));
        assert!(sources.contains("http://mirror.example/debian-security bullseye-security main\n"));
        assert!(!sources.contains("packages.example"));
        assert_eq!(super::sources("http://archive.example/ubuntu"), "");
    }

    #[test]
    fn the_newest_is_told_by_numbers_not_by_letters() {
        let search =
            "linux-image-5.10.0-9-cloud-amd64 - Linux\nlinux-image-5.10.0-46-cloud-amd64 - Linux\n";
        assert_eq!(newest(search).unwrap(), "linux-image-5.10.0-46-cloud-amd64");
        assert_eq!(newest(""), None);
    }
}
