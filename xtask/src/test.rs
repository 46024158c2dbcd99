//! `cargo xtask test`: everything that must hold before a change goes in, ending with the counts.

use std::process::{Command, ExitCode};

use crate::build::{self, Warnings};
use crate::counts::{self, Counts};
use crate::env;
use crate::error::Error;
use crate::kernels;
use crate::progress::{Finished, Progress};
use crate::tools;
use crate::workspace::Workspace;

/// How cargo-deny says that it could not fetch what is known of vulnerabilities: nothing was found wrong then.
const DATABASE_OUT_OF_REACH: &str = "failed to fetch advisory database";

/// Arguments of the verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the end-to-end tests, which need root
    #[arg(long)]
    no_e2e: bool,
    /// End-to-end tests against a debug build of lb, which is much quicker to compile
    #[arg(long)]
    debug: bool,
    /// Only this: load, attach and forward on Linux 5.10, 6.1 and 6.12, each in an emulated machine (ten minutes)
    #[arg(long, conflicts_with_all = ["no_e2e", "name"])]
    kernels: bool,
    /// Only tests with this in their name; format check and lints are left out
    name: Option<String>,
}

/// Runs every stage, whatever the ones before it found, unless a build fails.
pub(crate) fn command(
    workspace: &Workspace,
    progress: &mut Progress,
    args: &Args,
) -> Result<ExitCode, Error> {
    if args.kernels {
        return kernels::command(workspace, progress, args.debug);
    }
    let e2e = !args.no_e2e && env::is_root();
    if e2e {
        tools::install(progress, workspace.target(), false)?;
    }
    let object = build::kernel_program(workspace, progress, Warnings::Denied)?;
    let mut tests = Tests {
        workspace,
        progress,
        nextest: has_cargo_command(workspace, "nextest"),
        counts: Counts::default(),
    };
    if args.name.is_none() {
        tests.checks()?;
    }
    tests.unit(args.name.as_deref())?;
    if e2e {
        let lb = build::daemon(workspace, tests.progress, args.debug)?;
        let environment = [("LB_BIN", lb), ("LB_EBPF_OBJECT", object)];
        let mut command = tests.runner(&["--package", "lb-tests"], args.name.as_deref());
        command.envs(environment);
        tests.count(
            "end-to-end tests",
            "real traffic through network namespaces of their own",
            command,
            true,
        )?;
    } else {
        tests.without_e2e(args.no_e2e)?;
    }
    Ok(tests.conclude())
}

/// The stages and what they add up to.
struct Tests<'a> {
    workspace: &'a Workspace,
    progress: &'a mut Progress,
    nextest: bool,
    counts: Counts,
}

impl Tests<'_> {
    /// Format, lints, and the rules for dependencies. Each counts as one failure if it does not hold.
    fn checks(&mut self) -> Result<(), Error> {
        let mut format = env::host_cargo(self.workspace.target());
        format
            .args(["fmt", "--all", "--check"])
            .current_dir(self.workspace.root());
        self.check("format", "cargo fmt --check; `cargo fmt` mends it", format)?;
        let mut lints = build::host(self.workspace, &["clippy"]);
        lints.args([
            "--workspace",
            "--exclude",
            "lb-ebpf",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]);
        self.check("lints", "clippy with warnings denied", lints)?;
        if !has_cargo_command(self.workspace, "deny") {
            self.progress
                .say("dependencies: not checked, cargo-deny is not installed");
            return Ok(());
        }
        let rules = self.deny(&["bans", "licenses", "sources"]);
        self.check("dependencies", "cargo deny: bans, licences, sources", rules)?;
        let about = "cargo deny: known vulnerabilities, from a database that it fetches";
        let advisories = self.deny(&["advisories"]);
        let finished = self
            .progress
            .attempt("advisories", about, advisories, None)?;
        if finished.output.contains(DATABASE_OUT_OF_REACH) {
            self.progress
                .say("  not checked: the database cannot be fetched");
        } else {
            self.report("advisories", &finished);
        }
        Ok(())
    }

    fn deny(&self, checks: &[&str]) -> Command {
        let mut command = env::host_cargo(self.workspace.target());
        command.args(["deny", "--workspace", "check"]).args(checks);
        command.current_dir(self.workspace.root());
        command
    }

    fn check(&mut self, name: &str, about: &str, command: Command) -> Result<(), Error> {
        let finished = self.progress.attempt(name, about, command, None)?;
        self.report(name, &finished);
        Ok(())
    }

    /// Tests that need no privileges, and the examples in the documentation, which nextest leaves out.
    fn unit(&mut self, name: Option<&str>) -> Result<(), Error> {
        const CRATES: [&str; 5] = [
            "--workspace",
            "--exclude",
            "lb-ebpf",
            "--exclude",
            "lb-tests",
        ];
        let command = self.runner(&CRATES, name);
        self.count("unit tests", "every crate's own tests", command, true)?;
        if self.nextest {
            let mut examples = build::host(self.workspace, &["test"]);
            examples.arg("--doc").args(CRATES).args(name);
            self.count(
                "documentation tests",
                "the examples in comments",
                examples,
                false,
            )?;
        }
        Ok(())
    }

    /// Says why the end-to-end tests are left out, and counts them as skipped.
    fn without_e2e(&mut self, on_purpose: bool) -> Result<(), Error> {
        if on_purpose {
            self.progress.say("end-to-end tests: left out, as asked");
            return Ok(());
        }
        self.progress
            .say("end-to-end tests: skipped, they need root for network namespaces and BPF");
        let mut list = build::host(self.workspace, &["test"]);
        list.args(["--package", "lb-tests", "--lib", "--tests", "--", "--list"]);
        let finished =
            self.progress
                .attempt("end-to-end list", "counting what is skipped", list, None)?;
        self.report("end-to-end list", &finished);
        self.counts.skipped += finished
            .output
            .lines()
            .filter(|line| line.ends_with(": test"))
            .count() as u64;
        Ok(())
    }

    /// The test runner for these crates: nextest if it is there, for its isolation and speed.
    fn runner(&self, crates: &[&str], name: Option<&str>) -> Command {
        let verb: &[&str] = if self.nextest {
            &["nextest", "run"]
        } else {
            &["test"]
        };
        let mut command = build::host(self.workspace, verb);
        if self.nextest {
            command.args(["--no-fail-fast", "--no-tests=pass", "--status-level=pass"]);
            // Once more where it failed: a machine that others load too makes clocks and queues of real traffic lie. Who
            // passes then is named all the same, for a test that depends on luck is to be mended.
            command.arg("--retries=1");
            // Shown, for that is where a test says that it was skipped.
            command.args([
                "--success-output=immediate",
                "--failure-output=immediate-final",
            ]);
        } else {
            command.arg("--no-fail-fast");
        }
        command.args(crates).args(name);
        command
    }

    /// Runs tests and adds their counts. With `may_skip` tests may have said that this machine cannot run them.
    fn count(
        &mut self,
        name: &str,
        about: &str,
        command: Command,
        may_skip: bool,
    ) -> Result<(), Error> {
        let finished = self.progress.attempt(name, about, command, None)?;
        let Some(mut counts) = Counts::read(&finished.output) else {
            self.report(name, &finished);
            return Ok(());
        };
        if may_skip {
            for skip in counts::skips(&finished.output) {
                self.progress.say(&format!("  skipped: {skip}"));
                counts.skip(1);
            }
        }
        for test in counts::flaky(&finished.output) {
            self.progress
                .say(&format!("  only at the second attempt: {test}"));
        }
        self.progress.say(&format!("  {counts}"));
        self.counts += counts;
        if counts.failed == 0 {
            self.report(name, &finished);
        } else {
            self.progress.say(&format!("  {}", finished.failure(name)));
        }
        Ok(())
    }

    /// A stage that failed as a whole counts as one failure.
    fn report(&mut self, name: &str, finished: &Finished) {
        if !finished.success() {
            self.counts.failed += 1;
            self.progress.say(&format!("  {}", finished.failure(name)));
        }
    }

    /// The time of each stage, then the counts as the last line.
    fn conclude(self) -> ExitCode {
        self.progress.say(&format!(
            "\ntime of each step, {} in all:\n{}",
            self.progress.elapsed(),
            self.progress.table()
        ));
        println!("{}", self.counts);
        if self.counts.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Whether cargo has that subcommand.
fn has_cargo_command(workspace: &Workspace, name: &str) -> bool {
    let mut command = env::host_cargo(workspace.target());
    command.args([name, "--version"]);
    command.output().is_ok_and(|output| output.status.success())
}
