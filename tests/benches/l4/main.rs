//! `cargo xtask bench l4`: nanoseconds a packet in the kernel program, path by path.
//!
//! A wrapper program restores the packet, writes the next flow's tuple into it and calls what is measured: the kernel
//! program, or a stub whose time is taken off. Flows are opened by the program itself, packet by packet; the program's
//! own counters prove after each round that every packet took the path that the case is about.

mod case;
mod frame;
mod live;
mod measure;
mod report;
mod rig;
mod scale;
mod shape;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use lb_tests::tag::{TEST_PREFIX, Tag};
use lb_tests::{Context, Netns, Result, netns, skip};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;

use crate::report::Report;

/// What the command line asks for.
#[derive(Default)]
struct Args {
    scale: bool,
    json: Option<PathBuf>,
    /// Cases with this in their group's name and theirs.
    name: String,
}

fn main() -> ExitCode {
    if cannot_run() {
        return ExitCode::FAILURE;
    }
    match run(&args()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `--json FILE`, and a part of a case's name. Cargo adds `--bench`.
fn args() -> Args {
    let mut args = Args::default();
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        match arg.as_str() {
            "--bench" => {}
            "--scale" => args.scale = true,
            "--json" => args.json = given.next().map(PathBuf::from),
            name => args.name = name.to_owned(),
        }
    }
    args
}

fn cannot_run() -> bool {
    skip::without_bpf()
        || skip::without_file(&rig::kernel_object(), "`cargo xtask bench l4` makes it")
        || skip::without_file(&rig::bench_object(), "`cargo xtask bench l4` makes it")
}

fn run(args: &Args) -> Result<()> {
    netns::sweep_tests();
    let figures = if args.scale {
        scale::run()?
    } else {
        packets(&args.name)?
    };
    if let Some(path) = &args.json {
        std::fs::write(path, format!("{figures:#}\n"))
            .context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The table of nanoseconds a packet, of cases with `name` in theirs.
fn packets(name: &str) -> Result<Value> {
    let netns = Netns::new(&Tag::new(TEST_PREFIX).name("bench"))?;
    let _inside = netns.enter();
    // Counters are per CPU, and a change of CPU costs time.
    let mut cpu = CpuSet::new();
    cpu.set(0);
    sched_setaffinity(None, &cpu).context(|| "stay on one CPU")?;
    let mut report = Report::default();
    Report::introduce();
    for mut group in case::groups() {
        group.cases.retain(|case| case.is_called(&group.name, name));
        if group.cases.is_empty() {
            continue;
        }
        report.add(&group, &measure::group(&group)?);
    }
    Ok(report.conclude(&rig::load_each()?))
}
