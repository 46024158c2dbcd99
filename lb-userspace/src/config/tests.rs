//! Whole files, right and wrong.

mod admin;
mod between;
mod checks;
mod elsewhere;
mod files;
mod forwarding;
mod keys;
mod noise;
mod oracle;
mod rules;
mod schema;
mod servers;
mod syntax;
mod tls;
mod unix;
mod valid;
mod values;
mod written;

use super::*;

/// A wrong file and all that is said of it, each as `LINE:COL SEVERITY: what is wrong => what to write instead`.
struct Case {
    name: &'static str,
    text: &'static str,
    found: &'static [&'static str],
}

fn check(cases: &[Case]) {
    for case in cases {
        let found = match parse("lb.yaml", case.text, &no_environment) {
            Ok(loaded) => loaded.warnings,
            Err(found) => found,
        };
        let told: Vec<String> = found.iter().map(told).collect();
        assert_eq!(told, case.found, "{}\n{}", case.name, case.text);
        assert!(
            found.iter().all(|d| d.mend.is_some()),
            "{}: each says what to write instead",
            case.name
        );
    }
}

fn told(d: &Diagnostic) -> String {
    let place = d
        .span
        .map(|span| format!("{}:{}", span.start.line, span.start.column));
    let (severity, mend) = (d.severity.as_str(), d.mend.as_deref().unwrap_or_default());
    format!(
        "{} {severity}: {} => {mend}",
        place.unwrap_or_default(),
        d.message
    )
}

fn no_environment(_: &str) -> Option<String> {
    None
}

/// A file that has to be right, without a warning.
#[track_caller]
fn valid(text: &str) -> Config {
    match parse("/etc/lb/lb.yaml", text, &no_environment) {
        Ok(loaded) if loaded.warnings.is_empty() => loaded.config,
        Ok(loaded) => panic!("{}", loaded.warnings),
        Err(found) => panic!("{found}"),
    }
}
