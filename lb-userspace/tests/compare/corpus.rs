//! HAProxy configurations as people write them, each read by both, with the same asked of both.
//!
//! `corpus/GROUP/NAME.cfg` is one, `NAME.talk` beside it what is asked ([`script`]); `corpus/files` is copied to `{dir}`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use lb::config;

use crate::{
    case::Setup,
    process, report,
    run::{World, compare_read},
    script::{self, Script, keep},
};

/// How many configurations of a group run at a time.
const TOGETHER: usize = 6;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compare/corpus")
}

/// Names and files of a group.
pub(crate) fn group(group: &str) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder().join(group)).unwrap();
    let mut found: Vec<(String, PathBuf)> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "cfg"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (format!("{group}-{name}"), path)
        })
        .filter(|(name, _)| report::is_wanted(name))
        .collect();
    found.sort();
    found
}

/// Carries a group out; panics with all that is wrong.
fn carry_out(name: &str) {
    if Command::new("haproxy").arg("-v").output().is_err() {
        eprintln!("skipped: haproxy is not installed");
        return;
    }
    let waiting = Mutex::new(group(name).into_iter());
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some((name, path)) = next else { return };
                    let said = std::panic::catch_unwind(|| one(&name, &path));
                    let panicked = |said: Box<dyn std::any::Any + Send>| {
                        let text = said.downcast_ref::<String>().cloned();
                        Err(text.unwrap_or_else(|| "  it panicked".to_owned()))
                    };
                    if let Err(said) = said.unwrap_or_else(panicked) {
                        wrong.lock().unwrap().push(format!("{name}:\n{said}"));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One configuration; what is wrong.
fn one(name: &str, path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    let talk = path.with_extension("talk");
    let Script {
        cases,
        deviations,
        not_read,
        settle,
    } = script::read(
        &talk.display().to_string(),
        &fs::read_to_string(&talk).unwrap(),
    );
    let setup = Setup {
        name: keep(name),
        yaml: "",
        cfg: keep(&text),
        files: &[],
        cases,
        parallel: false,
        deviations: Vec::leak(deviations),
    };
    assert!(!setup.cases.is_empty(), "{name}: nothing is asked");
    let world = World::new(&setup, Some(&folder().join("files")));
    let file = world.write(&setup);
    let unread = unread(&file);
    if unread != not_read {
        return Err(format!(
            "  not read, says the list: {not_read:?}\n  not read, says lb:       {unread:?}\n"
        ));
    }
    if !not_read.is_empty() {
        report::not_read(name, &not_read);
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-c").arg("-f").arg(&file);
        return said(&mut haproxy, "HAProxy does not take it");
    }
    imported(&file)?;
    let verdicts = compare_read(&setup, &world, &settle);
    let mut told = String::new();
    for (how, verdict) in ["as it is", "as imported"].iter().zip(verdicts) {
        eprintln!(
            "{name}: {how}, {} cases, {} differences meant, {} not",
            setup.cases.len(),
            verdict.meant,
            verdict.count
        );
        report::compared(how, &setup, &verdict);
        if verdict.count > 0 {
            told.push_str(&format!("  {how}:\n{}", verdict.told));
        }
    }
    match told.is_empty() {
        true => Ok(()),
        false => Err(told),
    }
}

/// Runs a command that has to succeed.
fn said(command: &mut Command, otherwise: &str) -> Result<(), String> {
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "  {otherwise}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// What `lb check` cannot read, sorted.
pub(crate) fn unread(file: &Path) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_lb"))
        .arg("check")
        .arg("--config")
        .arg(file)
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = file.parent().map(|folder| folder.display().to_string());
    let text = text.replace(&folder.unwrap_or_default(), "{dir}");
    let errors = text
        .lines()
        .filter_map(|line| Some(line.split_once(" error: ")?.1));
    let named = errors.map(|message| {
        let of = |start: &str| Some(message.strip_prefix(start)?.split_once('`')?.0);
        of("unsupported: `").map_or_else(|| message.to_owned(), |named| named.trim().to_owned())
    });
    let mut named: Vec<String> = named.collect();
    named.sort();
    named.dedup();
    named
}

/// `lb import` has to print what means the same.
fn imported(file: &Path) -> Result<(), String> {
    let lb = || Command::new(env!("CARGO_BIN_EXE_lb"));
    let yaml = process::import(file);
    let text = fs::read_to_string(&yaml).unwrap();
    said(
        lb().arg("check").arg("--config").arg(&yaml),
        "what is imported is wrong",
    )?;
    let load = |path: &Path| {
        let loaded = config::load(path, &|name| std::env::var(name).ok());
        loaded.map(|mut loaded| {
            // How it is written is not what it means.
            loaded.config.outline = Default::default();
            format!("{:#?}", loaded.config)
        })
    };
    let (read, written) = (load(file), load(&yaml));
    let (Ok(read), Ok(written)) = (read, written) else {
        return Err("  it cannot be loaded".to_owned());
    };
    // What is looked up by hash is in no order.
    let sorted = |text: &str| {
        // Nor do numbers mean the same by which parts of one configuration are known.
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("id: "));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (read, written) = (sorted(&read), sorted(&written));
    let different = read
        .iter()
        .zip(&written)
        .find(|(read, written)| read != written);
    match different {
        None => Ok(()),
        Some((read, written)) => Err(format!(
            "  what is imported is something else:\n    .cfg {read}\n    YAML {written}\n{text}"
        )),
    }
}

macro_rules! groups {
    ($($name:ident),*) => {
        /// Folders of the corpus.
        pub(crate) const GROUPS: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { carry_out(stringify!($name)); })*
    };
}

groups!(
    routing, tls, headers, limits, answers, logging, balancing, sticky, timing, checks, tcp,
    syntax, lives, snippets
);
