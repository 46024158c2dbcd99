//! `cargo xtask compare`: the same requests to lb and to HAProxy, configuration by configuration.
//!
//! The comparing is done by `lb-userspace/tests/compare`, which leaves a line for each configuration in a file.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use crate::build;
use crate::env;
use crate::error::{Error, Mend, Missing};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Arguments of the verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only configurations with this in their name, such as `routing` or `tls-termination`
    name: Option<String>,
}

/// Runs the comparison and prints what came of it; fails if anything differs that is not meant to.
pub(crate) fn command(
    workspace: &Workspace,
    progress: &mut Progress,
    args: &Args,
) -> Result<ExitCode, Error> {
    if env::in_path("haproxy").is_none() {
        return Err(Error::Missing(Missing {
            what: "comparing takes HAProxy".into(),
            tried: Vec::new(),
            mends: vec![Mend {
                case: "Debian and Ubuntu",
                command: "sudo apt-get install haproxy".into(),
            }],
        }));
    }
    let report = workspace.logs().join("compare.tsv");
    // What an earlier run left.
    let _ = fs::remove_file(&report);
    let mut command = build::host(workspace, &["test"]);
    command.args(["--package", "lb-userspace", "--test", "compare"]);
    command.env("LB_COMPARE_REPORT", &report);
    if let Some(name) = &args.name {
        command.env("LB_COMPARE_ONLY", name);
    }
    let about = "the same requests to lb and to HAProxy";
    let finished = progress.attempt("compare", about, command, None)?;
    let text = fs::read_to_string(&report).unwrap_or_default();
    let found = Report::read(&text);
    print!("{}", found.table());
    if !finished.success() {
        return Err(finished.failure("compare"));
    }
    if found.compared.is_empty() && found.unread.is_empty() {
        progress.say("no configuration is called so");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// One configuration: name, how it was read, conversations, differences meant and not.
type Compared = (String, String, [u64; 3]);

/// What the tests left.
#[derive(Default)]
struct Report {
    compared: Vec<Compared>,
    /// Directives that lb does not read yet, and the configurations that want them.
    unread: BTreeMap<String, Vec<String>>,
}

impl Report {
    fn read(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["compared", how, name, cases, meant, count] => {
                    let numbers = [cases, meant, count].map(|number| number.parse().unwrap_or(0));
                    report.compared.push((name.into(), how.into(), numbers));
                }
                ["not read", name, directive] => {
                    let names = report.unread.entry(directive.into()).or_default();
                    names.push(name.into());
                }
                _ => {}
            }
        }
        report.compared.sort();
        report
    }

    fn table(&self) -> String {
        let mut lines = vec![row(
            "configuration",
            "read by lb",
            ["conversations", "meant", "not"],
        )];
        let mut sum = [0; 3];
        for (name, how, numbers) in &self.compared {
            for (sum, number) in sum.iter_mut().zip(numbers) {
                *sum += number;
            }
            lines.push(row(name, how, numbers.map(|n| n.to_string())));
        }
        let mut names: Vec<&String> = self.compared.iter().map(|(name, ..)| name).collect();
        // Of the corpus each is there twice: as it is, and as imported.
        names.dedup();
        let all = format!("{} configurations", names.len());
        lines.push(row(&all, "", sum.map(|n| n.to_string())));
        if !self.unread.is_empty() {
            let mut names: Vec<&String> = self.unread.values().flatten().collect();
            names.sort();
            names.dedup();
            lines.push(format!(
                "\nnot read yet, of {} further configurations:",
                names.len()
            ));
            let mut unread: Vec<_> = self.unread.iter().collect();
            unread.sort_by_key(|(directive, names)| (usize::MAX - names.len(), *directive));
            for (directive, names) in unread {
                lines.push(format!("{:4}  {directive}", names.len()));
            }
        }
        lines.join("\n") + "\n"
    }
}

fn row(name: &str, how: &str, numbers: [impl AsRef<str>; 3]) -> String {
    let [cases, meant, count] = &numbers;
    let (cases, meant, count) = (cases.as_ref(), meant.as_ref(), count.as_ref());
    format!("{name:36} {how:16} {cases:>13} {meant:>6} {count:>4}")
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn configurations_are_added_up_and_directives_sorted_by_need() {
        let report = Report::read(
            "compared\tas it is\tb\t2\t1\t0\ncompared\tas imported\tb\t2\t1\t0\nnot read\tc\tx\nnot read\tc\ty\nnot read\td\ty\n\
             compared\tbeside its YAML\ta\t3\t0\t4\n",
        );
        let table = report.table();
        let words: Vec<Vec<&str>> = table
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(words[1][0], "a");
        assert_eq!(words[4], ["2", "configurations", "7", "2", "4"]);
        assert_eq!(
            words[6].join(" "),
            "not read yet, of 2 further configurations:"
        );
        assert_eq!([&words[7][..], &words[8][..]], [["2", "y"], ["1", "x"]]);
    }
}
