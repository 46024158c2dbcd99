//! Debian's packages: which are there, and installing those that are not.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::env;
use crate::error::Error;
use crate::progress::{Finished, Progress};

/// Why packages were not installed.
pub(crate) enum Refusal {
    /// It cannot be tried here, or apt-get has no such package; a half sentence for the list of what was tried.
    Cannot(String),
    /// Something else went wrong.
    Error(Error),
}

/// Those of `packages` that dpkg does not have installed. Empty as well where there is no dpkg, then nothing is known.
pub(crate) fn not_installed<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let installed = |package: &&str| {
        let query = Command::new("dpkg-query")
            .args(["-W", "-f", "${db:Status-Status}", package])
            .stderr(Stdio::null())
            .output();
        query.is_ok_and(|output| output.stdout == b"installed")
    };
    packages
        .iter()
        .filter(|package| !installed(package))
        .copied()
        .collect()
}

/// Installs packages with apt-get if this is root on a Debian. Removes none: one that conflicts with what is there is
/// refused.
pub(crate) fn install(
    progress: &mut Progress,
    target: &Path,
    name: &str,
    packages: &[&str],
) -> Result<(), Refusal> {
    if env::in_path("apt-get").is_none() {
        return Err(Refusal::Cannot(
            "packages are not installed: this machine has no apt-get".into(),
        ));
    }
    if !env::is_root() {
        return Err(Refusal::Cannot(
            "packages are not installed: this is not root".into(),
        ));
    }
    let list = packages.join(" ");
    let mut updated = false;
    if !all_known(packages) {
        update(progress, target, name)?;
        updated = true;
        if !all_known(packages) {
            return Err(Refusal::Cannot(format!(
                "apt knows no package for at least one of: {list}"
            )));
        }
    }
    let about = format!("apt-get install {list}");
    let mut finished = attempt(progress, target, name, &about, &install_arguments(packages))?;
    if !finished.success() && !updated {
        // Lists that are there may name versions that the mirror has dropped since.
        update(progress, target, name)?;
        finished = attempt(progress, target, name, &about, &install_arguments(packages))?;
    }
    if finished.success() {
        Ok(())
    } else {
        Err(Refusal::Error(finished.failure(&about)))
    }
}

/// What a user would type to have these packages.
pub(crate) fn install_line(packages: &[&str]) -> String {
    format!(
        "apt-get update && apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

fn install_arguments<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["install", "--yes", "--no-install-recommends", "--no-remove"];
    arguments.extend(packages);
    arguments
}

fn update(progress: &mut Progress, target: &Path, name: &str) -> Result<(), Refusal> {
    let about = "apt-get update, for the lists of packages are missing or old";
    let finished = attempt(
        progress,
        target,
        &format!("{name} lists"),
        about,
        &["update"],
    )?;
    if finished.success() {
        Ok(())
    } else {
        Err(Refusal::Error(finished.failure("apt-get update")))
    }
}

fn attempt(
    progress: &mut Progress,
    target: &Path,
    name: &str,
    about: &str,
    arguments: &[&str],
) -> Result<Finished, Refusal> {
    let mut command = env::foreign(Path::new("apt-get"), target);
    // Another apt may be at work; waiting for it is better than failing.
    command
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    progress
        .attempt(name, about, command, None)
        .map_err(Refusal::Error)
}

/// Whether apt's lists have a version of each package that can be installed.
fn all_known(packages: &[&str]) -> bool {
    let lists = fs::read_dir("/var/lib/apt/lists").is_ok_and(|mut lists| lists.next().is_some());
    lists
        && packages.iter().all(|package| {
            let output = Command::new("apt-cache")
                .args(["policy", package])
                .env("LC_ALL", "C")
                .output();
            output.is_ok_and(|output| has_candidate(&String::from_utf8_lossy(&output.stdout)))
        })
}

/// Whether `apt-cache policy` names a version to install.
fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|version| version.trim() != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_a_version() {
        assert!(has_candidate(
            "wrk:\n  Installed: (none)\n  Candidate: 4.1.0-3+b2\n"
        ));
        assert!(!has_candidate(
            "rustc-web:\n  Installed: (none)\n  Candidate: (none)\n"
        ));
        assert!(!has_candidate(""));
    }

    #[test]
    fn packages_are_installed_without_removing_any() {
        assert!(install_arguments(&["wrk"]).contains(&"--no-remove"));
        assert_eq!(
            install_line(&["a", "b"]),
            "apt-get update && apt-get install --no-install-recommends a b"
        );
    }
}
