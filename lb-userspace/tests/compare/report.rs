//! A line for each configuration in the file that `LB_COMPARE_REPORT` names, for `cargo xtask compare`.

use std::{fs::OpenOptions, io::Write as _};

use crate::{case::Setup, judge::Verdict};

/// Whether a configuration is to be looked at: `LB_COMPARE_ONLY` says part of the names of those that are.
pub(crate) fn is_wanted(name: &str) -> bool {
    name.contains(&std::env::var("LB_COMPARE_ONLY").unwrap_or_default())
}

/// What was compared: how, name, conversations, differences meant and not.
pub(crate) fn compared(how: &str, setup: &Setup, verdict: &Verdict) {
    let (cases, meant, count) = (setup.cases.len(), verdict.meant, verdict.count);
    line(&format!(
        "compared\t{how}\t{}\t{cases}\t{meant}\t{count}",
        setup.name
    ));
}

/// What lb does not read yet, of a configuration.
pub(crate) fn not_read(name: &str, directives: &[String]) {
    for directive in directives {
        line(&format!("not read\t{name}\t{directive}"));
    }
}

fn line(text: &str) {
    let Some(path) = std::env::var_os("LB_COMPARE_REPORT") else {
        return;
    };
    let file = OpenOptions::new().append(true).create(true).open(path);
    // One write: other processes write lines too.
    let written = file.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()));
    if let Err(error) = written {
        eprintln!("no report: {error}");
    }
}
