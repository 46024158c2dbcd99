//! The units for systemd, as far as they can be judged where it does not run.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lb_tests::scratch::Scratch;
use lb_tests::{Tag, daemon, skip};

/// Exposure that the unit must not be above, in tenths as systemd-analyze(1) wants them: "OK" begins below 50.
const MOST_EXPOSED: &str = "25";

fn run(arguments: &[&str]) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn passes(output: &Output) {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}{}",
        said(&output.stdout),
        said(&output.stderr)
    );
}

#[test]
fn systemd_understands_the_units_and_finds_them_tight() {
    if skip::without_tool("systemd-analyze")
        || skip::without_file(
            &daemon::binary(),
            "`cargo xtask build` makes it, or set LB_BIN",
        )
    {
        return;
    }
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let folder = Scratch::files(&Tag::new("lbt"), "units").unwrap();
    // systemd looks whether what is to be executed is there.
    let unit = fs::read_to_string(conf.join("lb.service")).unwrap();
    let binary = daemon::binary();
    let unit = unit.replace("/usr/bin/lb ", &format!("{} ", binary.display()));
    let service = folder.write("lb.service", &unit).unwrap();
    let text = fs::read_to_string(conf.join("lb.socket")).unwrap();
    let socket = folder.write("lb.socket", &text).unwrap();
    let [service, socket] = [&service, &socket].map(|path| path.to_str().unwrap());
    passes(&run(&["verify", service, socket]));
    let threshold = format!("--threshold={MOST_EXPOSED}");
    passes(&run(&[
        "security",
        "--offline=true",
        "--no-pager",
        &threshold,
        service,
    ]));
}
