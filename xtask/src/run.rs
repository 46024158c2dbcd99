//! `cargo xtask run`: the demo, `--smoke`: the demo put to the test, `-- ARGS…`: `lb run ARGS…` on this host.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::build;
use crate::demo::{self, Demo};
use crate::error::Error;
use crate::progress::Progress;
use crate::tools;
use crate::workspace::Workspace;

/// Arguments of the verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Drive real requests through the demo, check the answers and figures, and end
    #[arg(long, conflicts_with = "lb")]
    smoke: bool,
    /// Run an optimised build, which takes some minutes more to make
    #[arg(long)]
    release: bool,
    /// Arguments of `lb run` on this host, such as `--config FILE`; without them the demo runs
    #[arg(last = true)]
    lb: Vec<std::ffi::OsString>,
}

/// Set by the first INT or TERM.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs the demo, or becomes lb: then returns only if lb could not be started, since lb takes this process's place, and
/// so gets its signals.
pub(crate) fn command(
    workspace: &Workspace,
    progress: &mut Progress,
    args: &Args,
) -> Result<ExitCode, Error> {
    let kernel = demo::kernel();
    if args.lb.is_empty() && kernel.is_ok() {
        // iproute2 and ethtool make the demo's network.
        tools::install(progress, workspace.target(), true)?;
    }
    let built = build::build(workspace, progress, !args.release)?;
    if !args.lb.is_empty() {
        let source = Command::new(&built.lb).arg("run").args(&args.lb).exec();
        return Err(Error::Start {
            program: built.lb.display().to_string(),
            source,
        });
    }
    heed_signals();
    let mut demo = Demo::start(&built.lb, &workspace.root().join("conf/demo.yaml"), kernel)?;
    let ok = if args.smoke {
        demo::smoke(&mut demo)
    } else {
        demo.introduce();
        demo.watch(&STOP);
        STOP.load(Ordering::Relaxed)
    };
    demo.stop();
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// INT, TERM and HUP end the demo in good order.
fn heed_signals() {
    extern "C" fn stop(_: libc::c_int) {
        STOP.store(true, Ordering::Relaxed);
    }
    let handler: extern "C" fn(libc::c_int) = stop;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}
