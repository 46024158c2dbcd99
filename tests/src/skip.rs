//! Tests that cannot run here say so instead of failing or passing in silence.

use std::io::{self, Write};
use std::path::Path;

use crate::{bpf, daemon};

/// True, and says why, when tests that make namespaces cannot run here.
pub fn without_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    skipped("network namespaces need root");
    true
}

/// True, and says why, when tests that load programs cannot run here.
pub fn without_bpf() -> bool {
    if without_root() {
        return true;
    }
    match bpf::Program::xdp_pass() {
        Ok(_) => false,
        Err(error) => {
            skipped(&format!("this kernel loads no XDP program: {error}"));
            true
        }
    }
}

/// True, and says why, when there is no daemon to test.
pub fn without_lb() -> bool {
    without_file(
        &daemon::binary(),
        "`cargo xtask build` makes it, or set LB_BIN",
    ) || without_bpf()
}

/// True, and says why, when a file that the test is about is not there; `mend` is what would make it.
pub fn without_file(path: &Path, mend: &str) -> bool {
    let missing = !path.is_file();
    if missing {
        skipped(&format!("no {}: {mend}", path.display()));
    }
    missing
}

/// True, and says why, when a tool that the test drives is not installed.
pub fn without_tool(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        skipped(&format!("`{program}` is not installed"));
    }
    !found
}

/// True, and says why, unless the test can run here.
pub fn unless(can: bool, reason: &str) -> bool {
    if !can {
        skipped(reason);
    }
    !can
}

/// Goes past libtest's capture, which shows only what failing tests print.
fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(io::stderr(), "skipped: {test}: {reason}");
}
