//! `cargo xtask bench l4`: what a packet costs in the kernel program, and how the kernel path bears its full size.
//! `cargo xtask bench l7`: what a request costs in userspace, beside HAProxy, nginx and Sōzu, and what each feature adds.
//!
//! The measuring is done by `tests/benches`, which have the harness.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::build;
use crate::env;
use crate::error::Error;
use crate::progress::{Progress, short};
use crate::workspace::Workspace;

/// Arguments of the verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Nanoseconds a packet in the kernel program, path by path, over the time of a program that does nothing
    L4(L4),
    /// Microseconds of processor time a request in userspace, beside HAProxy, nginx and Sōzu where they are installed
    ///
    /// lb runs twice, bare and full: with rules, a sticky cookie, health checks, statistics and a syslog line a request;
    /// so do the others, as far as they have that. One core is theirs, another the servers' and clients' (nginx, wrk, h2load).
    L7(L7),
}

#[derive(clap::Args)]
struct L4 {
    /// Instead: 1,000 services of 10 servers and a million flows, through the daemon
    #[arg(long)]
    scale: bool,
    /// Only cases with this in their name, such as `fullnat IPv4` or `SYN flood`
    #[arg(conflicts_with = "scale")]
    name: Option<String>,
}

#[derive(clap::Args)]
struct L7 {
    /// Turns that each takes in each case
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long a turn is, in seconds
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Instead of others: lb with one feature more each time, which tells what it costs
    #[arg(long)]
    features: bool,
    /// Only cases with this in their name: h1-128, h1-16k, tls1-… and tls2-… (HTTP/2) likewise, tcp-…, close-128
    name: Option<String>,
}

/// Builds what is measured, measures, and leaves the figures in target/bench.
pub(crate) fn command(
    workspace: &Workspace,
    progress: &mut Progress,
    args: &Args,
) -> Result<ExitCode, Error> {
    match &args.what {
        What::L4(args) => l4(workspace, progress, args),
        What::L7(args) => l7(workspace, progress, args),
    }
}

/// Where the figures go.
fn results(workspace: &Workspace, name: &str) -> Result<PathBuf, Error> {
    let folder = workspace.target().join("bench");
    fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    Ok(folder.join(name))
}

/// Runs a benchmark, which writes `results`.
fn measure(progress: &Progress, mut bench: Command, results: &Path) -> Result<ExitCode, Error> {
    let status = bench.status().map_err(|source| Error::Start {
        program: "cargo bench".into(),
        source,
    })?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    progress.say(&format!("figures as JSON: {}", short(results)));
    Ok(ExitCode::SUCCESS)
}

fn l7(workspace: &Workspace, progress: &mut Progress, args: &L7) -> Result<ExitCode, Error> {
    env::needs_root("a network namespace to measure in", "cargo xtask bench l7")?;
    let lb = build::build(workspace, progress, false)?.lb;
    // What is timed is another process: a quick build of what starts it is enough.
    let cargo = |more: &[&str]| {
        let mut command = build::host(workspace, &["bench", "--profile", "dev"]);
        command.args(["--package", "lb-tests", "--bench", "l7"]);
        command.args(more);
        command
    };
    progress.run("bench", "compiling the benchmark", cargo(&["--no-run"]))?;
    let results = results(
        workspace,
        match args.features {
            true => "l7-features.json",
            false => "l7.json",
        },
    )?;
    let mut bench = cargo(&["--quiet", "--", "--json"]);
    bench.arg(&results).env("LB_BIN", lb);
    bench.args(["--rounds", &args.rounds.to_string()]);
    bench.args(["--seconds", &args.seconds.to_string()]);
    if args.features {
        bench.arg("--features");
    }
    bench.args(&args.name);
    measure(progress, bench, &results)
}

fn l4(workspace: &Workspace, progress: &mut Progress, args: &L4) -> Result<ExitCode, Error> {
    env::needs_root(
        "loading the kernel program to measure it",
        "cargo xtask bench l4",
    )?;
    let object = build::kernel_program(workspace, progress, build::Warnings::Allowed)?;
    let programs = build::bench_programs(workspace, progress)?;
    // The kernel does the work that is timed: a quick build of what asks for it is enough.
    let cargo = |more: &[&str]| {
        let mut command = build::host(workspace, &["bench", "--profile", "dev"]);
        command.args(["--package", "lb-tests", "--bench", "l4"]);
        command.args(more);
        command
    };
    progress.run("bench", "compiling the benchmark", cargo(&["--no-run"]))?;
    let results = results(
        workspace,
        if args.scale {
            "l4-scale.json"
        } else {
            "l4.json"
        },
    )?;
    let mut bench = cargo(&["--quiet", "--", "--json"]);
    bench
        .arg(&results)
        .env("LB_EBPF_OBJECT", object)
        .env("LB_BENCH_OBJECT", programs);
    if args.scale {
        let lb = build::daemon(workspace, progress, false)?;
        bench.arg("--scale").env("LB_BIN", lb);
    }
    bench.args(&args.name);
    measure(progress, bench, &results)
}
