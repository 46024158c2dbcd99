//! Another configuration for the running daemon.
//!
//! All that may be refused is had first: the file is read and checked, certificates, binds and log targets are opened.
//! Until then nothing has changed. Then the new configuration takes the place of the old one step by step, and each step
//! leaves what runs as it is: listeners that stay are never closed, connections go on.

use std::sync::Arc;

use super::{
    StartError, amend::Amendments, fast_path, files, fixed_descriptors, notify, running::Running,
    signals::Request, stop::STOPPING, watch,
};
use crate::{
    admin::wish::Again,
    config::{
        self, Config, Report,
        host::ThisHost,
        model::{Attach, Bind, Global},
        outline::Change,
    },
    observe::{
        log::{bridge, sink::Opened},
        stats::endpoint,
    },
    proxy::{Listeners, Proxy},
    topology::Topology,
};

/// So many differences are told one by one.
const MOST_TOLD: usize = 50;

/// Why a configuration was not taken; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The file is not valid: all that is wrong with it.
    #[error("{0}")]
    Invalid(String),
    /// Something that it asks for cannot be had.
    #[error(transparent)]
    Refused(#[from] StartError),
    /// It is not waited for.
    #[error("{STOPPING}")]
    Stopping,
    /// A thread ended without a word.
    #[error("the file could not be read: {0}")]
    Reading(#[from] tokio::task::JoinError),
}

/// What a file comes to.
struct Read {
    config: Arc<Config>,
    topology: Arc<Topology>,
    warnings: Vec<String>,
}

/// What was had before anything changed.
pub(super) struct Prepared {
    config: Arc<Config>,
    topology: Arc<Topology>,
    maxconn: u32,
    listeners: Vec<Listeners>,
    stats: Vec<(Bind, std::net::TcpListener)>,
    log: Option<Opened>,
    warnings: Vec<String>,
}

/// What files of servers are called in the log.
const SERVERS: &str = "servers";

impl Prepared {
    /// What needs nothing else than what there is.
    pub(super) fn bare(
        config: Arc<Config>,
        topology: Arc<Topology>,
        maxconn: u32,
        listeners: Vec<Listeners>,
    ) -> Self {
        Self {
            config,
            topology,
            maxconn,
            listeners,
            stats: Vec::new(),
            log: None,
            warnings: Vec::new(),
        }
    }
}

impl Running {
    /// Reads the configuration again and runs it. Says what has changed, or why nothing has; both are logged. `stop`
    /// resolves with what it is given up for as long as nothing has changed, since reading may take minutes: names are
    /// asked for.
    pub(super) async fn reload(
        &mut self,
        what: Again,
        stop: impl Future<Output = Request>,
    ) -> (Result<String, String>, Option<Request>) {
        let name = match what {
            Again::All => self.origin.path.display().to_string(),
            Again::Servers => SERVERS.to_owned(),
        };
        tracing::info!("reloading {name}");
        notify::reloading();
        let (prepared, asked) = tokio::select! {
            biased;
            prepared = self.prepare(what) => (prepared, None),
            request = stop => (Err(ReloadError::Stopping), Some(request)),
        };
        let result = self.finish_reload(&name, prepared).await;
        let process = &self.sources.process;
        match (what, &result) {
            (Again::All, result) => process.count_reload(result.is_ok()),
            // A stop is no fault of theirs.
            (Again::Servers, Err(why)) if why.contains(STOPPING) => {}
            (Again::Servers, Err(why)) => {
                let errors = why.lines().filter(|line| line.contains(": error: "));
                let errors: Vec<String> = errors.map(str::to_owned).collect();
                process.set_servers_refused(match errors.is_empty() {
                    true => vec![why.clone()],
                    false => errors,
                });
            }
            (Again::Servers, Ok(_)) => {}
        }
        if result.is_ok() {
            process.set_servers_refused(Vec::new());
        }
        notify::ready("serving");
        (result, asked)
    }

    async fn finish_reload(
        &mut self,
        name: &str,
        prepared: Result<Prepared, ReloadError>,
    ) -> Result<String, String> {
        match prepared {
            Ok(prepared) => {
                let said = self.take(prepared).await;
                for line in said.lines() {
                    match line.strip_prefix("warning: ") {
                        Some(warning) => tracing::warn!("reloaded {name}: {warning}"),
                        None => tracing::info!("reloaded {name}: {line}"),
                    }
                }
                Ok(said)
            }
            Err(error) => {
                let said = error.to_string();
                let lines: Vec<&str> = match &error {
                    ReloadError::Invalid(_) => {
                        said.lines().filter(|l| l.contains(": error: ")).collect()
                    }
                    _ => vec![said.as_str()],
                };
                let are = if name == SERVERS { "are" } else { "is" };
                tracing::error!("{name} {are} not taken, the running configuration stays");
                for line in lines {
                    tracing::error!("{line}");
                }
                Err(format!(
                    "{}\nThe running configuration stays.",
                    said.trim_end()
                ))
            }
        }
    }

    /// Reads and checks the file, and has all that it asks for. Whoever waits may give that up.
    async fn prepare(&mut self, what: Again) -> Result<Prepared, ReloadError> {
        if what == Again::All {
            self.origin.seen = watch::look(&self.origin.path);
        }
        let (origin, running) = (self.origin.clone(), Arc::clone(self.config()));
        let before = Arc::clone(&self.shared.topology);
        let mut amendments = self.amendments.clone();
        // A large file takes its time, and so do certificates; others wait on this thread.
        let read = tokio::task::spawn_blocking(move || {
            let (path, environment) = (&origin.path, &config::process_environment);
            let host = ThisHost::holding(before.tls_files());
            let main = running.server_files.main.as_deref();
            let report = match main.filter(|_| what == Again::Servers) {
                Some(main) => config::check_again(&host, path, main, environment, &origin.options),
                None => config::check_on(&host, path, environment, &origin.options),
            };
            read(report, &running, &before, &mut amendments).map(|read| (read, amendments))
        });
        let (read, amendments) = read.await??;
        let Read {
            config,
            topology,
            warnings,
        } = read;
        let workers = self.proxy.workers();
        let global = &config.global;
        let maxconn = files::raise(global.maxconn, fixed_descriptors(&config, workers))
            .map_err(StartError::from)?;
        let binds = config.stats.iter().flat_map(|stats| &stats.binds);
        let missing = self.stats.missing(&binds.cloned().collect::<Vec<_>>());
        let stats = endpoint::listen(&missing).map_err(StartError::from)?;
        let before = self.config();
        let log = match global.log == before.global.log && config.logs == before.logs {
            true => None,
            false => {
                let opened = Opened::open_all(&bridge::targets(&global.log), &config.logs);
                Some(opened.map_err(StartError::from)?)
            }
        };
        if let Some(fast_path) = &self.fast_path {
            let (config, topology) = (Arc::clone(&config), Arc::clone(&topology));
            let can = fast_path.can_follow(config, topology).await;
            can.map_err(StartError::from)?;
        }
        // The last: who connects to one from now on is to be served.
        let listeners = match what {
            Again::All => self.proxy.open_again(&topology),
            // Whoever writes files of servers knows nothing of binds, and is not to be refused for one.
            Again::Servers => self.proxy.open_more(&topology),
        };
        let listeners = listeners.map_err(StartError::from)?;
        self.amendments = amendments;
        Ok(Prepared {
            config,
            topology,
            maxconn,
            listeners,
            stats,
            log,
            warnings,
        })
    }

    /// Runs it from now on. Says what has changed.
    pub(super) async fn take(&mut self, prepared: Prepared) -> String {
        let Prepared {
            config,
            topology,
            maxconn,
            listeners,
            stats,
            log,
            mut warnings,
        } = prepared;
        let before = Arc::clone(self.config());
        topology.take_over(&self.shared.topology);
        let sink = self.sources.log.clone();
        let shared = self
            .shared
            .next(Arc::clone(&topology), Arc::clone(&config), sink, maxconn);
        let shared = Arc::new(shared);
        self.sources.process.set_hard_maxconn(Some(maxconn));
        let maxconn = self.amendments.maxconn(config.global.maxconn, maxconn);
        shared.sessions.set_max(Some(maxconn));
        self.sources.set_topology(Arc::clone(&topology));
        self.sources.process.set_maxconn(Some(maxconn));
        shared.show(&self.sources);
        // Userspace listens wherever the kernel forwards: new binds come before the kernel path, old ones go after it.
        self.proxy.install(&shared, listeners).await;
        if let Err(error) = Proxy::give_files(&self.shared, &shared) {
            warnings.push(error.to_string());
        }
        self.change(Arc::clone(&shared));
        if let Some(log) = log {
            self.sources.log.retarget(log);
        }
        self.answer(stats);
        self.attend();
        if let Some(fast_path) = &self.fast_path {
            let followed = fast_path
                .follow(Arc::clone(&config), Arc::clone(&topology))
                .await;
            if let Err(error) = followed {
                warnings.push(format!(
                    "the kernel path does not follow yet, and tries again: {error}"
                ));
            }
        } else {
            fast_path::follow_without(&config, &topology, &self.sources.path);
        }
        self.proxy.close_removed(&shared).await;
        let reloaded = tokio::task::spawn_blocking(move || topology.reload_tls()).await;
        if let Ok(Err((whose, error))) = reloaded {
            warnings.push(format!("{whose}: {error}; {}", error.mend()));
        }
        told(&before.outline.changes(&config.outline), &warnings)
    }
}

/// What is made of a file that was read: the configuration to run, its model, and what is to be said of it.
fn read(
    report: Report,
    running: &Config,
    before: &Topology,
    amendments: &mut Amendments,
) -> Result<Read, ReloadError> {
    let valid = report.is_valid();
    let found = report.diagnostics.render(false);
    let Some(mut config) = report.config.filter(|_| valid) else {
        return Err(ReloadError::Invalid(found));
    };
    let mut warnings: Vec<String> = found
        .lines()
        .filter(|line| line.contains(": warning: "))
        .map(|line| line.replacen(": warning: ", ": ", 1))
        .collect();
    warnings.extend(keep_fixed(&mut config.global, &running.global));
    warnings.extend(amendments.apply(&mut config));
    let topology = before.next(&config);
    topology
        .load_tls()
        .map_err(|(whose, error)| StartError::Tls(whose, error))?;
    Ok(Read {
        config: Arc::new(config),
        topology: Arc::new(topology),
        warnings,
    })
}

/// What only a start can give: keeps it as it is, and says so of each key that says something else.
fn keep_fixed(new: &mut Global, running: &Global) -> Vec<String> {
    let mut changed = Vec::new();
    macro_rules! keep {
        ($($name:literal $($field:ident).+),* $(,)?) => {
            $(if new.$($field).+ != running.$($field).+ {
                changed.push($name);
                new.$($field).+ = running.$($field).+.clone();
            })*
        };
    }
    keep!(
        "threads" threads,
        "user" user,
        "group" group,
        "pidfile" pidfile,
        "admin_socket" admin_sockets,
        "stats_file" stats_file,
        "fast_path.pin_path" fast_path.pin_path,
        "fast_path.max_flows" fast_path.max_flows,
        "fast_path.snat_ports" fast_path.snat_ports,
    );
    new.admin_socket.clone_from(&running.admin_socket);
    // From one way to attach to another is a step like others; whether there is a kernel path at all is not.
    let off = |global: &Global| global.fast_path.attach == Attach::Off;
    if off(new) != off(running) {
        changed.push("fast_path.attach");
        new.fast_path.attach = running.fast_path.attach;
    }
    let kept =
        |key| format!("global.{key} has changed, which takes a restart; the running value stays");
    changed.into_iter().map(kept).collect()
}

/// What has changed, a line each.
fn told(changes: &[Change], warnings: &[String]) -> String {
    let mut lines: Vec<String> = changes
        .iter()
        .take(MOST_TOLD)
        .map(ToString::to_string)
        .collect();
    if changes.len() > MOST_TOLD {
        lines.push(format!("and {} more", changes.len() - MOST_TOLD));
    }
    if changes.is_empty() {
        lines.push("nothing has changed".to_owned());
    }
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::fixtures;

    #[test]
    fn what_takes_a_restart_is_kept_and_named() {
        let running = fixtures::config(Vec::new(), Vec::new()).global;
        let mut new = running.clone();
        assert_eq!(keep_fixed(&mut new, &running), [""; 0]);
        new.pidfile = Some("/run/x.pid".into());
        new.fast_path.pin_path = "/sys/fs/bpf/x".into();
        new.grace = std::time::Duration::from_secs(77);
        new.fast_path.attach = match running.fast_path.attach {
            Attach::Off => Attach::Auto,
            _ => Attach::Off,
        };
        let warnings = keep_fixed(&mut new, &running);
        let named = |key: &str| warnings.iter().filter(|w| w.contains(key)).count();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert_eq!(
            [
                named("global.pidfile"),
                named("fast_path.pin_path"),
                named("fast_path.attach")
            ],
            [1, 1, 1]
        );
        assert_eq!(new.pidfile, running.pidfile);
        assert_eq!(new.fast_path.attach, running.fast_path.attach);
        assert_eq!(new.grace.as_secs(), 77, "this one is taken");
    }

    #[test]
    fn many_differences_are_counted() {
        let changes = vec![Change::Added("frontend x".into()); MOST_TOLD + 3];
        let said = told(&changes, &["hm".into()]);
        assert_eq!(said.lines().count(), MOST_TOLD + 2);
        assert!(said.ends_with("and 3 more\nwarning: hm"), "{said}");
        assert_eq!(told(&[], &[]), "nothing has changed");
    }
}
