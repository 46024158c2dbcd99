//! `cargo xtask bench l7`: what a request costs in mode http and in mode tcp in userspace, beside HAProxy, nginx and Sōzu;
//! with `--features`, what each feature adds to it.
//!
//! One core for who is measured, another for servers and clients, all in a network namespace of its own. Who is measured
//! takes turns case by case and round by round, so that what else the machine does meets all alike. The figure is
//! processor time a request, by the kernel's own account of the process: it holds also where the clients' core, not the
//! proxy's, sets the pace.

mod load;
mod peer;
mod report;
mod stand;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lb_tests::{Context, Error, Result, daemon, netns, skip};
use serde_json::Value;

use crate::load::CASES;
use crate::report::Report;
use crate::stand::Stand;

/// What the command line asks for.
struct Args {
    rounds: u32,
    time: Duration,
    json: Option<PathBuf>,
    /// What each feature costs is asked, not how others do.
    features: bool,
    /// Cases with one of these in their name; all if there is none.
    names: Vec<String>,
}

fn main() -> ExitCode {
    if skip::without_root()
        || skip::without_file(&daemon::binary(), "`cargo xtask bench l7` makes it")
        || ["nginx", "wrk", "h2load"]
            .into_iter()
            .any(skip::without_tool)
    {
        return ExitCode::FAILURE;
    }
    let result = args().and_then(|args| {
        let figures = run(&args)?;
        let Some(path) = &args.json else {
            return Ok(());
        };
        std::fs::write(path, format!("{figures:#}\n"))
            .context(|| format!("write {}", path.display()))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `--rounds N --seconds N --json FILE --features`, and parts of cases' names. Cargo adds `--bench`.
fn args() -> Result<Args> {
    let mut args = Args {
        rounds: 3,
        time: Duration::from_secs(4),
        json: None,
        features: false,
        names: Vec::new(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        let mut number = || {
            let number: Option<u32> = given.next().and_then(|number| number.parse().ok());
            number.ok_or_else(|| Error::new(format!("{arg} wants a number")))
        };
        match arg.as_str() {
            "--bench" => {}
            "--rounds" => args.rounds = number()?.max(1),
            "--seconds" => args.time = Duration::from_secs(number()?.max(1).into()),
            "--features" => args.features = true,
            "--json" => args.json = given.next().map(PathBuf::from),
            name => args.names.push(name.to_owned()),
        }
    }
    Ok(args)
}

fn run(args: &Args) -> Result<Value> {
    netns::sweep_tests();
    // Two that share two cores would measure each other.
    let path = std::env::temp_dir().join("lb-bench-l7.lock");
    let lock = File::create(&path).context(|| format!("make {}", path.display()))?;
    lock.lock()
        .context(|| format!("wait for {}", path.display()))?;
    let cases: Vec<_> = CASES
        .iter()
        .filter(|case| {
            let mut names = args.names.iter();
            args.names.is_empty() || names.any(|name| case.name.contains(name))
        })
        .collect();
    if cases.is_empty() {
        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        return Err(Error::new(format!(
            "no case is called like `{}`; there are {}",
            args.names.join("` or `"),
            names.join(", ")
        )));
    }
    let stand = Stand::new(args.features)?;
    for case in &cases {
        for peer in stand.peers() {
            if peer.takes(case) {
                stand.ask(peer, case)?;
            }
        }
    }
    let mut report = Report::new(args.features);
    for round in 0..args.rounds {
        for case in &cases {
            let peers = stand.peers();
            for turn in 0..peers.len() {
                let peer = &peers[(turn + round as usize) % peers.len()];
                if peer.takes(case) {
                    report.add(
                        case.name,
                        peer.name(),
                        stand.measure(peer, case, args.time)?,
                    );
                }
            }
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    stand.end();
    Ok(report.conclude())
}
