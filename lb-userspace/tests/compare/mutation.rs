//! Whether each line of the corpus, and each option in it, makes a difference that its conversations show: lb reads the file without it, HAProxy
//! as it is, and the comparison has to fail.
//!
//! `cargo nextest run -p lb-userspace --test compare --run-ignored only mutation` says what nobody would miss;
//! `LB_COMPARE_ONLY` looks at some of the files alone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    case::Setup,
    corpus::{GROUPS, folder, group, unread},
    run::{World, compare_otherwise},
    script::{self, keep},
};

/// How many are looked at at a time.
const TOGETHER: usize = 6;

/// Words of `bind`, `server`, `cookie` and `option` lines that stand alone, without a value.
const ALONE: &[&str] = &[
    "check",
    "no-check",
    "backup",
    "no-backup",
    "disabled",
    "enabled",
    "ssl",
    "no-ssl",
    "check-ssl",
    "agent-check",
    "send-proxy",
    "send-proxy-v2",
    "check-send-proxy",
    "accept-proxy",
    "insert",
    "rewrite",
    "prefix",
    "indirect",
    "nocache",
    "postonly",
    "preserve",
    "httponly",
    "secure",
    "dynamic",
    "if-none",
    "proto",
    "host",
    "by",
    "by_port",
    "for",
    "for_port",
    "transparent",
    "non-stick",
    "v4v6",
    "strict-sni",
    "allow-0rtt",
];

/// Words whose second word says what they are.
const OF_TWO: &[&str] = &[
    "option",
    "no",
    "timeout",
    "http-request",
    "http-response",
    "http-after-response",
    "http-check",
    "tcp-check",
    "stats",
    "stick",
    "capture",
    "balance",
    "hash-type",
    "monitor",
];

const SECTIONS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "userlist",
    "http-errors",
    "resolvers",
    "peers",
    "cache",
    "ring",
    "mailers",
];

/// What may be left out of a line: all of it, and each option of those that have some; with what that is called.
fn variants(line: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some(first) = words.first() else {
        return Vec::new();
    };
    if first.starts_with(['#', '.']) || SECTIONS.contains(first) || !line.starts_with([' ', '\t']) {
        return Vec::new();
    }
    let word = |at: usize| {
        words
            .get(at)
            .map_or("", |word| word.split(['(', ',']).next().unwrap_or_default())
    };
    let named = match *first {
        "tcp-request" | "tcp-response" => format!("{first} {} {}", word(1), word(2)),
        "acl" => format!("acl {}", word(2)),
        _ if OF_TWO.contains(first) => format!("{first} {}", word(1)),
        _ => (*first).to_owned(),
    };
    // Without its acl a condition would not be read at all: this one never holds.
    let never = match *first {
        "acl" => format!("    acl {} always_false", words.get(1).unwrap_or(&"")),
        _ => String::new(),
    };
    let mut found = vec![(named.clone(), never)];
    let (from, named) = match *first {
        "server" => (3, "server".to_owned()),
        "server-template" => (4, "server".to_owned()),
        "bind" | "cookie" => (2, named),
        "default-server" => (1, "server".to_owned()),
        "option" if ["forwardfor", "forwarded", "originalto"].contains(&word(1)) => (2, named),
        _ => return found,
    };
    let mut at = from;
    while let Some(word) = words.get(at).filter(|word| !word.starts_with('#')) {
        let to = at + if ALONE.contains(word) { 1 } else { 2 };
        let rest = words
            .iter()
            .enumerate()
            .filter(|(index, _)| !(at..to).contains(index));
        let rest: Vec<&str> = rest.map(|(_, word)| *word).collect();
        if !rest.iter().any(|word| word.contains(['"', '\\', '\''])) {
            found.push((format!("{named} {word}"), format!("    {}", rest.join(" "))));
        }
        at = to;
    }
    found
}

/// Whether the conversations of a file tell that a line is missing.
fn is_missed(name: &str, path: &Path, text: &str, number: usize, rest: &str) -> bool {
    let talk = fs::read_to_string(path.with_extension("talk")).unwrap();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let setup = |cfg: &str| {
        let script = script::read(name, &talk);
        let setup = Setup {
            name: keep(&format!(
                "{name}-{number}-{}",
                NEXT.fetch_add(1, Ordering::Relaxed)
            )),
            yaml: "",
            cfg: keep(cfg),
            files: &[],
            cases: script.cases,
            parallel: false,
            deviations: Vec::leak(script.deviations),
        };
        (setup, script.settle)
    };
    let without: Vec<&str> = text
        .lines()
        .enumerate()
        .map(|(at, line)| if at == number { rest } else { line })
        .collect();
    let (whole, settle) = setup(text);
    let (less, _) = setup(&without.join("\n"));
    let world = World::new(&whole, Some(&folder().join("files")));
    if !unread(&world.write(&less)).is_empty() {
        return true;
    }
    compare_otherwise(&whole, &less, &world, &settle).count > 0
}

/// What a process of its own is to look at: a file, and from which of its variants on.
const PART: &str = "LB_COMPARE_MUTATION";

/// How many variants a process looks at: servers of a comparison live as long as it does.
const AT_ONCE: usize = 12;

#[test]
#[ignore = "takes some minutes, and says where conversations could ask for more"]
fn mutation() {
    if Command::new("haproxy").arg("-v").output().is_err() {
        eprintln!("skipped: haproxy is not installed");
        return;
    }
    let files: Vec<(String, PathBuf)> = GROUPS.iter().flat_map(|name| group(name)).collect();
    if let Ok(part) = std::env::var(PART) {
        let (wanted, from) = part.split_once(':').unwrap();
        let (name, path) = files.iter().find(|(name, _)| name == wanted).unwrap();
        return one(name, path, from.parse().unwrap());
    }
    let mut parts = Vec::new();
    for (name, path) in &files {
        let talk = fs::read_to_string(path.with_extension("talk")).unwrap();
        if script::read(name, &talk).not_read.is_empty() {
            let text = fs::read_to_string(path).unwrap();
            let count = text.lines().flat_map(variants).count();
            parts.extend(
                (0..count)
                    .step_by(AT_ONCE)
                    .map(|from| format!("{name}:{from}")),
            );
        }
    }
    let waiting = Mutex::new(parts.into_iter());
    // Of each directive: how often it is missed, and how often it stands there.
    let directives: Mutex<BTreeMap<String, (usize, usize)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some(part) = next else { return };
                    let mut child = Command::new(std::env::current_exe().unwrap());
                    child.args(["--ignored", "--exact", "mutation::mutation", "--nocapture"]);
                    let output = child.env(PART, &part).output().unwrap();
                    assert!(
                        output.status.success(),
                        "{part}: {}",
                        String::from_utf8_lossy(&output.stderr)
                    );
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    for said in text
                        .lines()
                        .filter_map(|line| line.strip_prefix("looked at\t"))
                    {
                        let (verdict, rest) = said.split_once('\t').unwrap();
                        let (called, place) = rest.split_once('\t').unwrap();
                        if verdict != "missed" {
                            eprintln!("{verdict}: {place}: {called}");
                        }
                        let mut directives = directives.lock().unwrap();
                        let counts = directives.entry(called.to_owned()).or_default();
                        counts.0 += usize::from(verdict == "missed");
                        counts.1 += 1;
                    }
                }
            });
        }
    });
    let directives = directives.into_inner().unwrap();
    let missed: usize = directives.values().map(|(missed, _)| missed).sum();
    let all: usize = directives.values().map(|(_, there)| there).sum();
    eprintln!("{missed} of {all} are missed");
    for (called, (_, there)) in directives.iter().filter(|(_, (missed, _))| *missed == 0) {
        eprintln!("never missed: {called} ({there} times)");
    }
}

/// Some of the variants of a file; tells the process that asked on its output.
fn one(name: &str, path: &Path, from: usize) {
    let text = fs::read_to_string(path).unwrap();
    let all = text.lines().enumerate().flat_map(|(number, line)| {
        variants(line)
            .into_iter()
            .map(move |variant| (number, line, variant))
    });
    for (number, line, (called, rest)) in all.skip(from).take(AT_ONCE) {
        let verdict = match std::panic::catch_unwind(|| is_missed(name, path, &text, number, &rest))
        {
            Ok(true) => "missed",
            Ok(false) => "not missed",
            // One that does not start, or never gets ready, is missed too.
            Err(said) => match said.downcast_ref::<String>() {
                Some(said)
                    if [" ended: ", " does not accept: ", " was not seen"]
                        .iter()
                        .any(|part| said.contains(part)) =>
                {
                    "missed"
                }
                _ => "unclear",
            },
        };
        println!(
            "looked at\t{verdict}\t{called}\t{name}:{}: {}",
            number + 1,
            line.trim()
        );
    }
}
