//! `cargo xtask bench l4`: what a packet costs in the kernel program, and how the kernel path bears its full size.
//!
//! The measuring is done by `tests/benches/l4`, which has the harness and knows the maps.

use std::fs;
use std::process::ExitCode;

use crate::build;
use crate::env;
use crate::error::{Error, Mend, Missing};
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

/// Builds what is measured, measures, and leaves the figures in target/bench.
pub(crate) fn command(
    workspace: &Workspace,
    progress: &mut Progress,
    args: &Args,
) -> Result<ExitCode, Error> {
    let What::L4(args) = &args.what;
    if !env::is_root() {
        return Err(Error::Missing(Missing {
            what: "loading the kernel program to measure it takes root".into(),
            tried: Vec::new(),
            mends: vec![Mend {
                case: "where sudo finds cargo",
                command: "sudo -E cargo xtask bench l4".into(),
            }],
        }));
    }
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
    let results = workspace.target().join("bench");
    fs::create_dir_all(&results).map_err(Error::file("create", &results))?;
    let results = results.join(if args.scale {
        "l4-scale.json"
    } else {
        "l4.json"
    });
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
    let status = bench.status().map_err(|source| Error::Start {
        program: "cargo bench".into(),
        source,
    })?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    progress.say(&format!("figures as JSON: {}", short(&results)));
    Ok(ExitCode::SUCCESS)
}
