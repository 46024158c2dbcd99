//! `cargo xtask run -- ARGS…`: builds lb and becomes `lb run ARGS…`.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use crate::build;
use crate::error::Error;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Arguments of the verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of `lb run`, such as `--config FILE`
    #[arg(last = true, required = true)]
    lb: Vec<std::ffi::OsString>,
}

/// Returns only if lb could not be started: lb takes this process's place, and so gets its signals.
pub(crate) fn command(
    workspace: &Workspace,
    progress: &mut Progress,
    args: &Args,
) -> Result<ExitCode, Error> {
    let built = build::build(workspace, progress, false)?;
    let source = Command::new(&built.lb).arg("run").args(&args.lb).exec();
    Err(Error::Start {
        program: built.lb.display().to_string(),
        source,
    })
}
