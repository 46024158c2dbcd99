//! `cargo xtask test --kernels`: does lb load, attach and forward on the oldest kernel that it is for, and on those after it?
//!
//! Each of Debian's kernels is booted in an emulated machine (QEMU without KVM: the same everywhere, and slow) with an
//! initramfs of busybox, lb and the end-to-end tests.

mod archive;
mod debian;
mod guest;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use self::debian::{Apt, Kernel};
use self::guest::{GROUPS, Programs};
use crate::build::{self, Warnings};
use crate::env;
use crate::error::{Error, Mend, Missing};
use crate::packages;
use crate::progress::{Progress, seconds};
use crate::workspace::Workspace;

/// Kernels of one version, of which the newest is taken.
struct Series {
    /// The version.
    name: &'static str,
    /// Pattern of its packages' names.
    package: &'static str,
}

const SERIES: [Series; 3] = [
    Series {
        name: "5.10",
        package: r"^linux-image-5\.10\.0-[0-9]+-cloud-amd64$",
    },
    Series {
        name: "6.1",
        package: r"^linux-image-6\.1\.0-[0-9]+-cloud-amd64$",
    },
    Series {
        name: "6.12",
        package: r"^linux-image-6\.12\.[0-9]+\+deb12-cloud-amd64$",
    },
];

/// Programs that must be there, and Debian's packages that have them.
const NEEDED: [(&str, &str); 3] = [
    (EMULATOR, "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
];
const EMULATOR: &str = "qemu-system-x86_64";

/// Emulated, on a busy machine, it may take a quarter of an hour.
const LIMIT: Duration = Duration::from_secs(1800);
/// Boots of a kernel until it has come as far as init: under emulation some have been seen to panic before, at random.
const BOOTS: u32 = 3;

/// Checks each kernel, and prints a table of what holds on it.
pub(crate) fn command(
    workspace: &Workspace,
    progress: &mut Progress,
    debug: bool,
) -> Result<ExitCode, Error> {
    emulator(progress, workspace.target())?;
    let folder = workspace.target().join("kernels");
    fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    let apt = Apt::new(&folder, workspace.target());
    let kernels = apt.kernels(progress, &SERIES, &guest::MODULES)?;
    let programs = programs(workspace, progress, debug)?;
    let initramfs = folder.join("initramfs");
    let verdicts: Result<Vec<Verdict>, Error> = SERIES
        .iter()
        .zip(&kernels)
        .map(|(series, kernel)| check(progress, series, kernel, &programs, &initramfs))
        .collect();
    // Large, and made anew each time.
    let _ = fs::remove_file(&initramfs);
    let verdicts = verdicts?;
    print!("{}", table(&verdicts));
    Ok(if verdicts.iter().all(Verdict::holds) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What was found about a kernel.
struct Verdict {
    release: String,
    /// Of each group.
    passed: [bool; GROUPS.len()],
    took: Duration,
}

impl Verdict {
    fn holds(&self) -> bool {
        self.passed.iter().all(|passed| *passed)
    }
}

/// Boots one kernel and reads what its tests said.
fn check(
    progress: &mut Progress,
    series: &Series,
    kernel: &Kernel,
    programs: &Programs,
    initramfs: &Path,
) -> Result<Verdict, Error> {
    guest::write(initramfs, kernel, programs)?;
    let name = format!("linux {}", series.name);
    let about = format!("{} in an emulated machine (some minutes)", kernel.release);
    let started = Instant::now();
    let mut boots = 1;
    let finished = loop {
        let command = emulate(kernel, initramfs);
        let finished = progress.attempt(&name, &about, command, Some(LIMIT))?;
        if guest::came_up(&finished.output) || boots == BOOTS {
            break finished;
        }
        boots += 1;
        progress.say("  it never came as far as init: booting again");
    };
    let verdict = Verdict {
        release: kernel.release.clone(),
        passed: GROUPS.map(|group| guest::passed(&finished.output, &group)),
        took: started.elapsed(),
    };
    if !verdict.holds() {
        progress.say(&format!("  {}", finished.failure(&name)));
    }
    Ok(verdict)
}

fn emulate(kernel: &Kernel, initramfs: &Path) -> Command {
    let emulator = env::in_path(EMULATOR).unwrap_or_else(|| EMULATOR.into());
    let mut command = Command::new(emulator);
    // -cx16: QEMU's CPUs of today have an instruction that old kernels meet with a panic under emulation.
    command.args([
        "-accel",
        "tcg",
        "-cpu",
        "max,-cx16",
        "-smp",
        "1",
        "-m",
        "1536",
    ]);
    command.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    command.args(["-nic", "none", "-no-reboot"]);
    command.arg("-kernel").arg(&kernel.image);
    command.arg("-initrd").arg(initramfs);
    // A panic ends the machine at once, since it may not reboot.
    command.args(["-append", "console=ttyS0 quiet panic=-1"]);
    command
}

/// Sees to it that there is an emulator, and what else the machine is made of.
fn emulator(progress: &mut Progress, target: &Path) -> Result<(), Error> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(Error::Missing(Missing {
            what: "the kernels are x86-64's, and lb here is built for another processor".into(),
            tried: Vec::new(),
            mends: Vec::new(),
        }));
    }
    let missing: Vec<(&str, &str)> = NEEDED
        .into_iter()
        .filter(|(program, _)| env::in_path(program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages::install(progress, target, "emulator", &packages).map_err(|reason| {
        let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
        Error::Missing(Missing {
            what: format!(
                "programs for the emulated machine are missing: {}",
                programs.join(", ")
            ),
            tried: vec![reason],
            mends: vec![Mend {
                case: "on Debian, as root",
                command: packages::install_line(&packages),
            }],
        })
    })
}

/// Builds lb and its end-to-end tests.
fn programs(
    workspace: &Workspace,
    progress: &mut Progress,
    debug: bool,
) -> Result<Programs, Error> {
    let object = build::kernel_program(workspace, progress, Warnings::Denied)?;
    let mut programs = vec![("lb", build::daemon(workspace, progress, debug)?)];
    let mut tests = build::host(workspace, &["test"]);
    tests.args(["--package", "lb-tests", "--tests", "--no-run"]);
    tests.arg("--message-format=json");
    let built = progress.run("tests for the machine", "compiling them", tests)?;
    for name in ["packets", "e2e"] {
        let test = executable(&built.output, name).ok_or_else(|| {
            let missing = std::io::ErrorKind::NotFound.into();
            Error::file("find the test executable", name)(missing)
        })?;
        programs.push((name, test));
    }
    for name in ["busybox", "ip"] {
        if let Some(path) = env::in_path(name) {
            programs.push((name, path));
        }
    }
    Ok(Programs { programs, object })
}

/// Where cargo put a test executable, by the messages that it printed.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["target"]["name"] == name && message["executable"].is_string())
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
}

fn table(verdicts: &[Verdict]) -> String {
    let width = verdicts
        .iter()
        .map(|verdict| verdict.release.len())
        .max()
        .unwrap_or(0);
    let mut lines = format!("{:<width$}", "kernel");
    for group in &GROUPS {
        lines += &format!("  {:>width$}", group.name, width = width_of(group));
    }
    lines += "  time\n";
    for verdict in verdicts {
        lines += &format!("{:<width$}", verdict.release);
        for (group, passed) in GROUPS.iter().zip(verdict.passed) {
            let said = if passed { "yes" } else { "NO" };
            lines += &format!("  {said:>width$}", width = width_of(group));
        }
        lines += &format!("  {}\n", seconds(verdict.took));
    }
    lines
}

fn width_of(group: &guest::Group) -> usize {
    group.name.len().max(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_a_kernel() {
        let verdict = |release: &str, passed| Verdict {
            release: release.into(),
            passed,
            took: Duration::from_secs(62),
        };
        let verdicts = [
            verdict("5.10.0-46-cloud-amd64", [true, true, true, true]),
            verdict("6.1", [true, false, true, true]),
        ];
        assert_eq!(
            table(&verdicts),
            "kernel                    loads  attaches  forwards  all modes  time\n\
             5.10.0-46-cloud-amd64       yes       yes       yes        yes  62 s\n\
             6.1                         yes        NO       yes        yes  62 s\n"
        );
        assert!(verdicts[0].holds() && !verdicts[1].holds());
    }

    #[test]
    fn test_executables_are_found_in_cargos_messages() {
        let messages = "   Compiling lb-tests\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"e2e\"},\"executable\":\"/t/e2e-1\"}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"lb_tests\"},\"executable\":null}\n";
        assert_eq!(executable(messages, "e2e"), Some("/t/e2e-1".into()));
        assert_eq!(executable(messages, "lb_tests"), None);
    }
}
