//! Documents and code say the same, and the house keeps its rules: every key and reason is documented, documents
//! name only what exists, files fit in the head, and arrows between the daemon's folders go one way.

#![expect(
    clippy::unwrap_used,
    reason = "a file that cannot be read fails the test that wants it"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use lb_common::counter::Reason;

/// The daemon's folders and what each may use. ARCHITECTURE.md draws it.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "daemon",
        &[
            "fastpath",
            "proxy",
            "health",
            "names",
            "admin",
            "observe",
            "rules",
            "topology",
            "config",
            "tls",
            "wire",
            "accounts",
            "capabilities",
            "watched",
        ],
    ),
    (
        "fastpath",
        &["observe", "topology", "config", "capabilities"],
    ),
    (
        "proxy",
        &[
            "observe",
            "names",
            "rules",
            "topology",
            "config",
            "tls",
            "wire",
            "accounts",
            "allocator",
            "socket_file",
        ],
    ),
    ("names", &["topology", "config"]),
    (
        "health",
        &["observe", "rules", "topology", "config", "tls", "wire"],
    ),
    (
        "admin",
        &[
            "observe",
            "rules",
            "topology",
            "config",
            "tls",
            "socket_file",
            "accounts",
            "percent",
        ],
    ),
    (
        "observe",
        &["rules", "topology", "config", "tls", "percent"],
    ),
    ("rules", &["watched", "percent"]),
    ("topology", &["config", "rules", "tls"]),
    (
        "config",
        &["watched", "rules", "tls", "capabilities", "accounts"],
    ),
    ("wire", &["config", "tls"]),
    ("tls", &["watched", "accounts"]),
];

/// The files that know aya; the others see maps as lb-common's types at most.
const KNOW_AYA: &[&str] = &[
    "fastpath/error.rs",
    "fastpath/family.rs",
    "fastpath/flows.rs",
    "fastpath/kernel.rs",
    "fastpath/kernel/found.rs",
    "fastpath/kernel/hooks.rs",
    "fastpath/kernel/maps.rs",
    "fastpath/kernel/programs.rs",
    "fastpath/kernel/theirs.rs",
    "fastpath/object.rs",
    "fastpath/packets.rs",
    "fastpath/reaper.rs",
    "fastpath/reset.rs",
    "fastpath/sweep.rs",
    "fastpath/sync.rs",
    "fastpath/sys.rs",
    "fastpath/traffic.rs",
];

/// Files of the configuration's reader that take keys, and the sections of docs/configuration.md about these.
const SECTIONS: &[(&str, &[&str])] = &[
    ("mod.rs", &["The file"]),
    ("admin.rs", &["global"]),
    ("global.rs", &["global"]),
    ("defaults.rs", &["defaults", "backends"]),
    ("frontend.rs", &["frontends"]),
    ("rules.rs", &["rules", "The file", "frontends"]),
    ("inspect.rs", &["rules"]),
    ("patience.rs", &["rules"]),
    ("sieve.rs", &["rules", "frontends"]),
    ("users.rs", &["The file"]),
    ("errorfiles.rs", &["frontends", "backends"]),
    ("actions.rs", &["rules"]),
    ("fields.rs", &["rules"]),
    ("answers.rs", &["rules"]),
    ("stick_table.rs", &["frontends", "rules"]),
    ("conditions.rs", &["rules"]),
    ("patterns.rs", &["rules"]),
    ("backend.rs", &["backends"]),
    ("servers_from.rs", &["backends"]),
    ("identity.rs", &["frontends", "backends"]),
    ("introduction.rs", &["frontends", "backends"]),
    ("capture.rs", &["frontends", "rules"]),
    ("forwarding.rs", &["frontends", "backends"]),
    ("balance.rs", &["backends"]),
    ("timeouts.rs", &["timeouts"]),
    ("cookie.rs", &["cookie"]),
    ("health.rs", &["health_check"]),
    ("logging.rs", &["frontends", "global", "backends"]),
    ("log_format.rs", &["frontends"]),
    ("connections.rs", &["frontends", "backends"]),
    ("http_options.rs", &["frontends", "backends"]),
    ("monitor.rs", &["frontends"]),
    ("unique_id.rs", &["frontends"]),
    ("sockets.rs", &["frontends", "backends", "rules"]),
    ("stick.rs", &["stick", "backends"]),
    ("expect.rs", &["health_check"]),
    ("field.rs", &["health_check"]),
    ("check_text.rs", &["health_check"]),
    ("request.rs", &["health_check"]),
    ("observe.rs", &["health_check"]),
    ("stats.rs", &["stats", "frontends"]),
    ("tls.rs", &["tls"]),
    ("verified.rs", &["tls"]),
    ("suites.rs", &["tls"]),
    ("unix.rs", &["frontends"]),
    ("when.rs", &["health_check"]),
    ("accepting.rs", &["frontends", "defaults"]),
    ("resolvers.rs", &["resolvers", "backends", "rules"]),
];

/// What nobody can hold in the head; most files are far shorter.
const MOST_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder that end in `suffix`, from the root on.
fn files(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().is_some_and(|name| name.ends_with(suffix)) {
                found.push(path.strip_prefix(root()).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<PathBuf> {
    ["lb-common", "lb-ebpf", "lb-userspace", "tests", "xtask"]
        .iter()
        .flat_map(|folder| files(folder, ".rs"))
        .collect()
}

fn documents() -> Vec<PathBuf> {
    let mut found = files("docs", ".md");
    found.extend(["README.md".into(), "ARCHITECTURE.md".into()]);
    found
}

/// Code without its line comments. A `//` in a text cuts a line short, which hides nothing that is looked for here.
fn code(text: &str) -> String {
    let lines = text.lines();
    lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The texts that stand as first argument of calls that end in `call`: `take(` finds `table.take("mode")`.
fn first_texts<'a>(code: &'a str, call: &'a str) -> impl Iterator<Item = &'a str> {
    code.split(call).skip(1).filter_map(|rest| {
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("d,").unwrap_or(rest).trim_start();
        rest.strip_prefix('"')?.split('"').next()
    })
}

/// The part of a document below a heading, up to the next one of its level.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let (_, rest) = document
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("docs/configuration.md has no section `{heading}`"));
    rest.split("\n## ").next().unwrap_or_default()
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_key_of_the_configuration_is_documented_in_its_section() {
    let document = read("docs/configuration.md");
    let mut complaints = Vec::new();
    let mut keys = 0;
    for path in files("lb-userspace/src/config", ".rs") {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let text = code(&read(&path));
        let taken: BTreeSet<&str> = ["take(", "read("]
            .iter()
            .flat_map(|call| first_texts(&text, call))
            .collect();
        if taken.is_empty() {
            continue;
        }
        let Some((_, headings)) = SECTIONS.iter().find(|(file, _)| *file == name) else {
            complaints.push(format!(
                "{} takes keys: say where in SECTIONS",
                path.display()
            ));
            continue;
        };
        for key in taken {
            keys += 1;
            let told = |heading: &&str| section(&document, heading).contains(&format!("`{key}`"));
            if !headings.iter().any(told) {
                complaints.push(format!(
                    "docs/configuration.md does not tell of `{key}` in `{}`",
                    headings.join("` or `")
                ));
            }
        }
    }
    assert!(keys > 70, "only {keys} keys were found");
    assert_none(&complaints);
}

#[test]
fn every_reason_of_the_kernel_is_documented_with_its_sentence() {
    let document = read("docs/counters.md");
    let missing = Reason::ALL.iter().filter_map(|reason| {
        let row = format!("| `{}` | {} |", reason.name(), reason.help());
        (!document.contains(&row)).then(|| format!("docs/counters.md lacks {row}"))
    });
    assert_none(&missing.collect::<Vec<_>>());
}

#[test]
fn documents_name_only_files_that_exist() {
    let names: BTreeSet<String> = sources()
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    let mut complaints = Vec::new();
    for document in documents() {
        let text = read(&document);
        let folder = document.parent().unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = target.split('#').next().unwrap();
            if !target.contains("://")
                && !path.is_empty()
                && !root().join(folder).join(path).exists()
            {
                complaints.push(format!("{} links to {target}", document.display()));
            }
        }
        // Every second part lies between backticks; blocks of code are left out.
        let prose: String = text.split("```").step_by(2).collect();
        for word in prose.split('`').skip(1).step_by(2) {
            let from_root = sources_folders().any(|folder| word.starts_with(folder));
            let unknown = match word.contains('/') {
                true if from_root => !root().join(word).exists(),
                true => false,
                false => word.ends_with(".rs") && !names.contains(word),
            };
            if unknown {
                complaints.push(format!("{} names `{word}`", document.display()));
            }
        }
    }
    assert_none(&complaints);
}

fn sources_folders() -> impl Iterator<Item = &'static str> {
    [
        "lb-common/",
        "lb-ebpf/",
        "lb-userspace/",
        "xtask/",
        "tests/",
        "conf/",
        "docs/",
    ]
    .into_iter()
}

#[test]
fn the_architecture_names_every_step_of_the_kernel_program() {
    let document = read("ARCHITECTURE.md");
    let missing = files("lb-ebpf/src", ".rs")
        .into_iter()
        .filter(|path| !document.contains(&format!("`{}`", path.display())))
        .map(|path| format!("ARCHITECTURE.md does not name {}", path.display()));
    assert_none(&missing.collect::<Vec<_>>());
}

#[test]
fn files_fit_in_the_head() {
    let long = sources().into_iter().filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > MOST_LINES).then(|| format!("{} has {lines} lines", path.display()))
    });
    assert_none(&long.collect::<Vec<_>>());
}

#[test]
fn arrows_between_folders_go_one_way() {
    let mut complaints = Vec::new();
    let folder = Path::new("lb-userspace/src");
    for path in files("lb-userspace/src", ".rs") {
        let inner = path.strip_prefix(folder).unwrap();
        let Some(from) = inner.parent().and_then(|p| p.components().next()) else {
            continue;
        };
        let from = from.as_os_str().to_str().unwrap();
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            complaints.push(format!(
                "{from} is no folder of the house: say so in ARROWS"
            ));
            continue;
        };
        for to in uses(&code(&read(&path))) {
            if to != from && !allowed.contains(&to.as_str()) {
                complaints.push(format!("{} uses crate::{to}", path.display()));
            }
        }
    }
    assert_none(&complaints);
}

/// The crate's top-level modules that a file names: `crate::config::…`, and each of `crate::{config, topology::…}`.
fn uses(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && !c.is_whitespace() => {
                    found.insert(name(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

fn name(text: &str) -> String {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    text.chars().take_while(is_name).collect()
}

#[test]
fn groups_of_uses_are_taken_apart() {
    let code = "use crate::{\n  config::{Config, model::A},\n  topology::B,\n};\nfn f(a: crate::rules::C) {}";
    let found: Vec<_> = uses(code).into_iter().collect();
    assert_eq!(found, ["config", "rules", "topology"]);
}

#[test]
fn aya_is_known_where_the_maps_are_alone() {
    let folder = Path::new("lb-userspace/src");
    let strangers = files("lb-userspace/src", ".rs").into_iter().filter(|path| {
        let inner = path.strip_prefix(folder).unwrap();
        let text = code(&read(path));
        let knows = ["aya::", "use aya", "aya_log::"];
        knows.iter().any(|word| text.contains(word))
            && !KNOW_AYA.iter().any(|known| inner == Path::new(known))
    });
    let complaints: Vec<_> = strangers
        .map(|path| format!("{} knows aya", path.display()))
        .collect();
    assert_none(&complaints);
}
