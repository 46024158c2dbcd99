//! Text to checked [`Config`]. Knows nothing of sockets.
//!
//! A file goes through four steps: `tree` (YAML with places), the section readers (`global`, `frontend`, …: a
//! `draft` of values in range), `cross` (what only holds between sections) and `resolve` (inheritance and
//! defaults). No step stops at its first finding. [`host`] is apart: it asks the machine, and `lb check` runs it last.

mod accepting;
mod actions;
mod address;
mod admin;
mod answers;
mod backend;
mod balance;
mod build;
mod capture;
mod check;
mod check_text;
mod conditions;
mod connections;
mod cookie;
mod cross;
mod decode;
mod defaults;
mod diagnostic;
mod draft;
mod dynamic_cookie;
mod elsewhere;
mod errorfiles;
mod expect;
mod fields;
mod forwarding;
mod frontend;
mod global;
pub mod haproxy;
mod health;
pub mod host;
mod http_options;
mod identity;
mod inspect;
mod introduction;
mod limits;
mod listening;
mod log_format;
mod logging;
pub mod model;
mod monitor;
mod observe;
pub mod outline;
pub mod path;
mod patience;
mod patterns;
mod plain;
mod process;
#[cfg(test)]
mod record;
mod references;
mod resolve;
mod resolvers;
mod retry_on;
mod rules;
mod servers_from;
mod sieve;
mod sockets;
mod source;
mod stats;
mod stick;
mod stick_table;
mod suites;
mod table;
mod timeouts;
mod tls;
mod tracking;
mod traps;
mod tree;
mod udp;
mod unique_id;
mod units;
mod unix;
mod users;
mod variables;
mod verified;

#[cfg(test)]
mod tests;

use std::{fs::File, io::Read, path::Path};

pub(crate) use address::is_host;
pub use check::{Format, Report, check, check_again, check_command, check_on};
pub use decode::Environment;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub(crate) use dynamic_cookie::value as dynamic_cookie;
#[cfg(test)]
pub(crate) use identity::number as number_proxies;
pub use model::Config;
pub use source::{Position, Source, Span};

use decode::Decoder;
use draft::{Draft, Places};

use crate::rules::Registry;

/// Largest file that is read, in bytes: some hundred thousand servers.
const MAX_FILE: u64 = 16 << 20;

/// The JSON Schema of the configuration, as it lies in `conf/`; a test makes it of what the readers ask.
pub const SCHEMA: &str = include_str!("../../../conf/lb.schema.json");

/// A file that may be run.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is worth saying about it; no errors among them.
    pub warnings: Diagnostics,
    /// The file itself.
    pub source: Source,
    /// For [`host`] to point to.
    places: Places,
}

/// Reads and checks a file. Relative paths in it begin at its folder.
///
/// # Errors
/// Everything that is wrong with it, warnings included, in the order of the file.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Loaded, Diagnostics> {
    load_with(path, environment, &haproxy::Options::default())
}

/// The same, of HAProxy's files as `options` say.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: &Path,
    environment: Environment<'_>,
    options: &haproxy::Options,
) -> Result<Loaded, Diagnostics> {
    load_all(path, environment, options, None).map_err(|rejected| rejected.diagnostics)
}

/// What is wrong with a file that may not be run, and what it asks of this host nonetheless.
struct Rejected {
    diagnostics: Diagnostics,
    tls: Vec<tls::Wanted>,
}

impl From<Diagnostics> for Box<Rejected> {
    fn from(diagnostics: Diagnostics) -> Self {
        Box::new(Rejected {
            diagnostics,
            tls: Vec::new(),
        })
    }
}

/// `given` stands for the text of the file, which is then not read.
fn load_all(
    path: &Path,
    environment: Environment<'_>,
    options: &haproxy::Options,
    given: Option<&Source>,
) -> Result<Loaded, Box<Rejected>> {
    // The daemon may change its folder later.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let of_haproxy = haproxy::is_haproxy(path);
    let source = match (given, of_haproxy) {
        (Some(given), _) => given.clone(),
        (None, true) => haproxy::read(path)?,
        (None, false) => read(path)?,
    };
    let parsed = match of_haproxy {
        true => haproxy::parse(&source, environment, options),
        false => tree::parse(&source),
    };
    let base = match path.is_dir() {
        true => absolute.as_path(),
        false => absolute.parent().unwrap_or(Path::new("/")),
    };
    decode(source, parsed, base, environment)
}

/// A file's text.
///
/// # Errors
/// That it cannot be read, is too large or is not UTF-8.
pub fn read(path: &Path) -> Result<Source, Diagnostics> {
    let name = path.display().to_string();
    let unread = |message: String, mend: &str| {
        let diagnostic = Diagnostic::unplaced(Severity::Error, message).mend(mend);
        Diagnostics::new(Source::new(&name, ""), vec![diagnostic])
    };
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| {
        unread(
            format!("cannot be read: {error}"),
            "name a readable file: `--config FILE`",
        )
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unread(
            format!("is larger than {} MiB", MAX_FILE >> 20),
            "name a configuration file: `--config FILE`",
        ));
    }
    let text = decode_utf8(&name, &bytes)?;
    Ok(Source::new(&name, text))
}

/// Checks a text. Relative paths in it begin at the folder of `name`.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, text: &str, environment: Environment<'_>) -> Result<Loaded, Diagnostics> {
    let source = Source::new(name, text);
    let parsed = tree::parse(&source);
    let base = Path::new(name).parent().unwrap_or(Path::new(""));
    decode(source, parsed, base, environment).map_err(|rejected| rejected.diagnostics)
}

/// Looks variables up in the process's environment: what the daemon passes to [`load`].
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn decode(
    source: Source,
    parsed: tree::Parsed,
    base: &Path,
    environment: Environment<'_>,
) -> Result<Loaded, Box<Rejected>> {
    let mut d = Decoder {
        environment,
        base,
        complete: parsed.complete,
        registry: Registry::new(base),
        named_tables: Vec::new(),
        live: Vec::new(),
        captures: None,
        facts: Vec::new(),
        diagnostics: parsed.diagnostics,
        tls: Vec::new(),
        default_check: None,
        log_files: Vec::new(),
        files: Vec::new(),
        resolvers: Vec::new(),
    };
    let (root, source, server_files) = servers_from::graft(&mut d, parsed.root, source);
    d.files = source.files();
    #[cfg(test)]
    root.iter().for_each(record::root);
    let mut draft = match &root {
        Some(root) => sections(&mut d, root),
        None => {
            if d.diagnostics.is_empty() {
                d.error(
                    Span::at(1, 1, 1),
                    "the file is empty",
                    "write at least `frontends:` and `backends:`; `conf/` has examples",
                );
            }
            None
        }
    };
    if let Some(draft) = &mut draft
        && parsed.complete
    {
        listening::divide(draft);
        let broken = d
            .diagnostics
            .iter()
            .any(|found| found.severity == Severity::Error);
        d.diagnostics.extend(cross::check(draft, broken));
        tracking::check(draft, &mut d.diagnostics);
        introduction::check(draft, &mut d.diagnostics);
        if !broken {
            stick_table::check(&mut d, draft);
        }
    }
    let found = Diagnostics::new(source.clone(), d.diagnostics);
    match draft {
        Some(draft) if found.errors() == 0 => {
            let mut places = draft.places.clone();
            places.tls = d.tls;
            places.log_files = d.log_files;
            places.names = host::names::places(&draft);
            Ok(Loaded {
                config: Config {
                    server_files,
                    resolvers: d.resolvers.clone(),
                    outline: root.as_deref().map(outline::of).unwrap_or_default(),
                    ..resolve::resolve(draft, &d.registry)
                },
                warnings: found,
                source,
                places,
            })
        }
        _ => Err(Box::new(Rejected {
            diagnostics: found,
            tls: d.tls,
        })),
    }
}

fn sections(d: &mut Decoder<'_>, root: &tree::Node) -> Option<Draft> {
    let mut table = d.table(root, Span::at(1, 1, 1), "the configuration")?;
    let mut places = Places::default();
    let global = global::decode(d, table.take("global"), &mut places);
    resolvers::decode(d, &mut table);
    let defaults = defaults::decode(d, table.take("defaults"));
    rules::userlists(d, &mut table);
    let frontends = table.take("frontends");
    let backends = table.take("backends");
    let stats = table.take("stats");
    if frontends.is_none() && stats.is_none() {
        d.missing(
            &table,
            "frontends",
            "write `frontends:` with a `bind` and a `default_backend` each",
        );
    }
    places.stats = stats.map(|e| e.key_span);
    let draft = Draft {
        global,
        places,
        defaults,
        frontends: frontend::decode(d, frontends),
        backends: backend::decode(d, backends),
        stats: stats.and_then(|e| stats::decode(d, e)),
    };
    table.finish(d, &[], elsewhere::FILE);
    Some(draft)
}

/// The text, or where it stops being UTF-8.
fn decode_utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Diagnostics> {
    let lossy = |bytes: &[u8]| Source::new(name, &String::from_utf8_lossy(bytes));
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let diagnostic =
            Diagnostic::error(Span::at(1, 1, 1), "the file is UTF-16").mend("save it as UTF-8");
        return Err(Diagnostics::new(Source::new(name, ""), vec![diagnostic]));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let source = lossy(bytes);
        let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let at = Source::new(name, good);
        let place = at.position(at.text().len());
        let byte = bytes[error.valid_up_to()];
        let diagnostic = Diagnostic::error(
            Span::at(place.line, place.column, 1),
            format!("the byte 0x{byte:02x} is not UTF-8"),
        )
        .mend("save the file as UTF-8");
        Diagnostics::new(source, vec![diagnostic])
    })
}
