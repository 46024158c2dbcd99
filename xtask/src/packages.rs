//! Debian's packages: which are there, and installing those that are not.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::env;
use crate::progress::{Finished, Progress};

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
/// refused. The error is half a sentence on why they are not there now.
pub(crate) fn install(
    progress: &mut Progress,
    target: &Path,
    name: &str,
    packages: &[&str],
) -> Result<(), String> {
    if env::in_path("apt-get").is_none() {
        return Err("packages are not installed: this machine has no apt-get".into());
    }
    if !env::is_root() {
        return Err("packages are not installed: this is not root".into());
    }
    let updated = !all_known(packages);
    if updated {
        update(progress, target, name)?;
    }
    let mut finished = install_known(progress, target, name, packages)?;
    if !finished.success() && !updated {
        // Lists that are there may name versions that the mirror has dropped since.
        update(progress, target, name)?;
        finished = install_known(progress, target, name, packages)?;
    }
    if finished.success() {
        Ok(())
    } else {
        let reason = first_error(&finished.output).unwrap_or("no reason given");
        let log = finished.log.display();
        Err(format!(
            "apt-get install failed: {reason} (its whole output: {log})"
        ))
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

/// Fetches the lists. Its failure is not the end: another repository than the one that matters may be out of reach.
fn update(progress: &mut Progress, target: &Path, name: &str) -> Result<(), String> {
    let name = format!("{name} lists");
    let about = "apt-get update, for the lists of packages are missing or old";
    apt_get(progress, target, &name, about, &["update"]).map(|_| ())
}

fn install_known(
    progress: &mut Progress,
    target: &Path,
    name: &str,
    packages: &[&str],
) -> Result<Finished, String> {
    let list = packages.join(" ");
    if !all_known(packages) {
        return Err(format!(
            "apt's lists lack at least one of {list}: another release than they are in, or offline"
        ));
    }
    let about = format!("apt-get install {list}");
    apt_get(progress, target, name, &about, &install_arguments(packages))
}

fn apt_get(
    progress: &mut Progress,
    target: &Path,
    name: &str,
    about: &str,
    arguments: &[&str],
) -> Result<Finished, String> {
    let mut command = env::foreign(Path::new("apt-get"), target);
    // Another apt may be at work; waiting for it is better than failing.
    command.args(["-o", "DPkg::Lock::Timeout=300"]);
    command.args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    progress
        .attempt(name, about, command, None)
        .map_err(|error| error.to_string())
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

/// The first of apt's errors: those after it follow from it.
fn first_error(output: &str) -> Option<&str> {
    output.lines().find_map(|line| line.strip_prefix("E: "))
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
    fn the_reason_is_apts_first_error() {
        let output = "Err:1 a\nE: Failed to fetch a\nE: Unable to fetch some archives\n";
        assert_eq!(first_error(output), Some("Failed to fetch a"));
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
