//! `lb check`: everything about a file in one answer.

use std::{
    io::{self, Write},
    path::Path,
};

use serde_json::json;

use super::{
    Config, Diagnostics, Environment, Loaded, Rejected, Source, haproxy,
    host::{self, Host},
    load_all,
    model::{Attach, Frontend},
    path::{kernel_path, remark, unlike_kernel},
};

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For people, in colours.
    Colour,
    /// For tools: one JSON object.
    Json,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Errors and warnings in the order of the file.
    pub diagnostics: Diagnostics,
    /// What the file says, if it may be run.
    pub config: Option<Config>,
}

impl Report {
    /// Whether the daemon would take the file.
    pub fn is_valid(&self) -> bool {
        self.config.is_some() && self.diagnostics.errors() == 0
    }

    /// Exit code of `lb check`: 0 valid, 1 not.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_valid())
    }

    /// Writes it down.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, format: Format, out: &mut impl Write) -> io::Result<()> {
        if format == Format::Json {
            let answer =
                json!({ "valid": self.is_valid(), "diagnostics": self.diagnostics.to_json() });
            return writeln!(out, "{answer:#}");
        }
        out.write_all(self.diagnostics.render(format == Format::Colour).as_bytes())?;
        for line in self.paths() {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{}", self.summary())
    }

    /// Which path each frontend takes, and why: `frontend http-in: userspace (mode http needs userspace)`.
    fn paths(&self) -> Vec<String> {
        let Some(config) = self.config.as_ref().filter(|_| self.is_valid()) else {
            return Vec::new();
        };
        let off = config.global.fast_path.attach == Attach::Off;
        let line = |frontend: &Frontend| {
            let path = match kernel_path(config, frontend) {
                Err(why) => format!("userspace ({why})"),
                Ok(backend) if off => {
                    let whose = unlike_kernel(backend.forward);
                    let whose = whose.map_or(String::new(), |how| format!(", {how}"));
                    format!("userspace (fast_path.attach is off){whose}")
                }
                Ok(backend) => {
                    let remark = remark(frontend, backend);
                    let remark =
                        remark.map_or(String::new(), |remark| format!("; {}", remark.text));
                    format!(
                        "kernel, where the program can be attached; userspace elsewhere{remark}"
                    )
                }
            };
            format!("frontend {}: {path}", frontend.name)
        };
        config
            .frontends
            .iter()
            .map(|frontend| line(frontend))
            .collect()
    }

    /// The last line: `lb.yaml: valid (2 frontends, 2 backends, 4 servers), 1 warning`.
    fn summary(&self) -> String {
        let name = self.diagnostics.source().name();
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let warnings = match self.diagnostics.warnings() {
            0 => String::new(),
            n => format!(", {}", count(n, "warning")),
        };
        match &self.config {
            Some(config) if self.is_valid() => {
                let servers = config
                    .backends
                    .iter()
                    .map(|backend| backend.servers.len())
                    .sum();
                format!(
                    "{name}: valid ({}, {}, {}){warnings}",
                    count(config.frontends.len(), "frontend"),
                    count(config.backends.len(), "backend"),
                    count(servers, "server"),
                )
            }
            _ => format!(
                "{name}: not valid: {}{warnings}",
                count(self.diagnostics.errors(), "error")
            ),
        }
    }
}

/// Checks a file, then what it asks of this host: all of it, or, of a file that is not valid, the files of TLS, which are
/// wrong or right whatever else is.
pub fn check(path: &Path, environment: Environment<'_>, options: &haproxy::Options) -> Report {
    check_on(&host::ThisHost::default(), path, environment, options)
}

/// The same on another host.
pub fn check_on(
    host: &dyn Host,
    path: &Path,
    environment: Environment<'_>,
    options: &haproxy::Options,
) -> Report {
    checked(host, load_all(path, environment, options, None))
}

/// The same, where the file says what it has said before: files that it names are read anew, it is not.
pub fn check_again(
    host: &dyn Host,
    path: &Path,
    main: &Source,
    environment: Environment<'_>,
    options: &haproxy::Options,
) -> Report {
    checked(host, load_all(path, environment, options, Some(main)))
}

fn checked(host: &dyn Host, loaded: Result<Loaded, Box<Rejected>>) -> Report {
    match loaded {
        Ok(mut loaded) => {
            let mut diagnostics = loaded.warnings.clone();
            diagnostics.extend(host::names::resolve(&mut loaded, host));
            diagnostics.extend(host::check(&loaded, host));
            Report {
                diagnostics,
                config: Some(loaded.config),
            }
        }
        Err(mut rejected) => {
            let files = host::check_tls(&rejected.tls, host);
            rejected.diagnostics.extend(files);
            Report {
                diagnostics: rejected.diagnostics,
                config: None,
            }
        }
    }
}

/// The whole of `lb check --config FILE`; answers the exit code.
///
/// # Errors
/// Those of `out`.
pub fn check_command(
    path: &Path,
    environment: Environment<'_>,
    options: &haproxy::Options,
    format: Format,
    out: &mut impl Write,
) -> io::Result<u8> {
    let report = check(path, environment, options);
    report.write(format, out)?;
    Ok(report.exit_code())
}
