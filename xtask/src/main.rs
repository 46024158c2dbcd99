//! lb's development commands: `cargo xtask setup | build | run | test | compare | bench`.
//!
//! Each verb is a file. Whatever a verb needs and the machine lacks is installed on the way, or named together with the
//! command that would help; nothing needs a second command.

mod bench;
mod build;
mod compare;
mod counts;
mod demo;
mod env;
mod error;
mod extras;
mod kernels;
mod layout;
mod packages;
mod profile;
mod progress;
mod run;
mod setup;
mod test;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// lb's development commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find or install what building the kernel program needs, and what some tests would be skipped without
    Setup,
    /// Build the kernel program and lb with it inside: target/release/lb
    Build(build::Args),
    /// Build lb, then run it with the arguments after `--`
    Run(run::Args),
    /// Install what is missing, then format check, lints, unit tests and end-to-end tests
    Test(test::Args),
    /// Send the same requests to lb and to HAProxy, and tell what differs
    Compare(compare::Args),
    /// Measure what a packet costs in the kernel program, or a request in userspace
    Bench(bench::Args),
    /// Count what requests run through, for release builds to be laid out by
    Profile,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<ExitCode, Error> {
    let workspace = Workspace::locate()?;
    let mut progress = Progress::new(workspace.logs())?;
    match verb {
        Verb::Setup => setup::setup(&workspace, &mut progress),
        Verb::Build(args) => build::command(&workspace, &mut progress, &args),
        Verb::Run(args) => run::command(&workspace, &mut progress, &args),
        Verb::Test(args) => test::command(&workspace, &mut progress, &args),
        Verb::Compare(args) => compare::command(&workspace, &mut progress, &args),
        Verb::Bench(args) => bench::command(&workspace, &mut progress, &args),
        Verb::Profile => profile::command(&workspace, &mut progress),
    }
}
