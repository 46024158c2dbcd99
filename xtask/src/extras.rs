//! What some tests drive and nothing else needs: browsers, other people's balancers and linters. Each is optional: where one
//! cannot be had, its tests are skipped and say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::env;
use crate::packages;
use crate::progress::Progress;

/// Programs by what they are called, and Debian's packages that have them.
const PROGRAMS: [(&str, &str); 7] = [
    ("haproxy", "haproxy"),
    ("openssl", "openssl"),
    ("h2load", "nghttp2-client"),
    ("chromium", "chromium"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("keepalived", "keepalived"),
];

/// What Python has in packages of their own, for the libraries of the tests.
const PYTHON: [&str; 2] = ["python3-venv", "python3-lib2to3"];

/// Installs what is missing, and says what is not to be had; no failure.
pub(crate) fn install(progress: &mut Progress, target: &Path) {
    if !env::is_root() {
        progress.say("what some tests are skipped without is not installed: this is not root");
        return;
    }
    let mut failures = Vec::new();
    // One at a time: one that is not to be had does not keep the others away.
    for (program, package) in PROGRAMS {
        if env::in_path(program).is_some() {
            continue;
        }
        let name = format!("{program} for tests");
        if let Err(why) = packages::install(progress, target, &name, &[package]) {
            failures.push(format!("{program}: {why}"));
        }
    }
    let python = packages::not_installed(&PYTHON);
    if !python.is_empty()
        && let Err(why) = packages::install(progress, target, "python for tests", &python)
    {
        failures.push(format!("python: {why}"));
    }
    if let Err(why) = promtool(progress, target) {
        failures.push(format!("promtool: {why}"));
    }
    for failure in failures {
        progress.say(&format!("  tests will be skipped for want of {failure}"));
    }
}

/// Where promtool is kept, for the tests.
fn kept() -> Option<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    Some(cache.join("lb/bin/promtool"))
}

/// Takes promtool out of Debian's package of Prometheus, which would start a daemon if it were installed.
fn promtool(progress: &mut Progress, target: &Path) -> Result<(), String> {
    let kept = kept().ok_or("there is no home folder to keep it in")?;
    if env::in_path("promtool").is_some() || kept.is_file() {
        return Ok(());
    }
    for program in ["apt-get", "dpkg-deb"] {
        if env::in_path(program).is_none() {
            return Err(format!("this machine has no {program}"));
        }
    }
    let folder = target.join("promtool");
    let failed = |error: std::io::Error| error.to_string();
    // What an attempt before has left.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(failed)?;
    let mut run = |about: &str, mut command: Command| {
        command.current_dir(&folder);
        let finished = progress.attempt("promtool for tests", about, command, None);
        match finished {
            Ok(finished) if finished.success() => Ok(()),
            Ok(finished) => Err(format!("its log is {}", finished.log.display())),
            Err(error) => Err(error.to_string()),
        }
    };
    let mut download = env::foreign(Path::new("apt-get"), target);
    download.args(["download", "prometheus"]);
    run(
        "apt-get download prometheus, of which it is a part",
        download,
    )?;
    let packages = fs::read_dir(&folder).map_err(failed)?.flatten();
    let package = packages.map(|entry| entry.path()).next();
    let package = package.ok_or("nothing was downloaded")?;
    let mut unpack = env::foreign(Path::new("dpkg-deb"), target);
    unpack.arg("--extract").arg(&package).arg("unpacked");
    run("dpkg-deb --extract", unpack)?;
    let bin = kept.parent().ok_or("it has no folder")?;
    fs::create_dir_all(bin).map_err(failed)?;
    let unpacked = folder.join("unpacked/usr/bin/promtool");
    // Whole at once, for tests that look for it meanwhile.
    let new = kept.with_extension("new");
    fs::copy(unpacked, &new).map_err(failed)?;
    fs::rename(new, &kept).map_err(failed)?;
    fs::remove_dir_all(&folder).map_err(failed)
}
