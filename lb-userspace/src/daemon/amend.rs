//! What operators have made of the configuration while it runs: servers that were added and deleted, and the process's bound
//! of connections. A reload keeps it as long as the file does not say something else of the same.

use std::{collections::HashSet, sync::Arc};

use serde::{Deserialize, Serialize};

use settings::Settings;

use super::{reload::Prepared, running::Running};
use crate::{
    admin::{
        added, deletable,
        setting::{Of, Setting},
        wish::Amendment,
    },
    config::{Config, model},
    topology::{AdminState, Topology, carried::FileSays},
};

mod settings;

/// A server that operators have added.
#[derive(Debug, Clone)]
struct Added {
    backend: String,
    server: model::Server,
    words: Vec<String>,
}

/// What operators have made of the file, for the process that takes this one's place. Fields that it does not know it must
/// not leave out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Carried {
    /// The version of lb, which words of [`CarriedAway::exactly`] are told by.
    version: String,
    /// Backend, server and the words of `add server`.
    added: Vec<(String, String, Vec<String>)>,
    deleted: Vec<CarriedAway>,
    maxconn: Option<(u32, Option<u32>)>,
    /// What the configuration says otherwise, each with what the file said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settings: Vec<(Setting, String)>,
    /// Connections, sessions and those with TLS in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rates: Option<[u32; 3]>,
}

impl Carried {
    /// How many connections, sessions and those with TLS are accepted in a second.
    pub(super) fn rates(&self) -> Option<[u32; 3]> {
        self.rates
    }
}

/// A server that was deleted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CarriedAway {
    backend: String,
    server: String,
    /// What the file said of it, as far as every version has words for it.
    file: FileSays,
    /// All that it said, in the words of one version.
    exactly: String,
}

/// What operators have made of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Amendments {
    added: Vec<Added>,
    /// What the file said of those that were deleted, by backend.
    deleted: Vec<(String, model::Server)>,
    /// The bound, and what the file said of it then.
    maxconn: Option<(u32, Option<u32>)>,
    settings: Settings,
}

impl Amendments {
    /// Has `config`, which was read from the file, be as it was made; says what cannot be kept. Where the file speaks of a
    /// server that was added, or says of one that was deleted something new, the file it is.
    pub(super) fn apply(&mut self, config: &mut Config) -> Vec<String> {
        let mut lost = Vec::new();
        let servers = config.backends.iter().flat_map(|backend| &backend.servers);
        let followed: HashSet<(String, String)> = servers.filter_map(|s| s.track.clone()).collect();
        self.deleted.retain(|(name, was)| {
            // Whoever follows it by now would be up whatever it is.
            if followed.contains(&(name.clone(), was.name.clone())) {
                return false;
            }
            let backend = config
                .backends
                .iter_mut()
                .find(|backend| backend.name == *name);
            let Some(backend) = backend else { return false };
            let same = backend.servers.iter().any(|server| server == was);
            if same {
                edit(backend, |servers| servers.retain(|server| server != was));
            }
            same
        });
        self.added.retain(
            |Added {
                 backend: name,
                 server,
                 ..
             }| {
                let backend = config
                    .backends
                    .iter_mut()
                    .find(|backend| backend.name == *name);
                let Some(backend) = backend else {
                    lost.push(gone(name, &server.name));
                    return false;
                };
                let known = backend
                    .servers
                    .iter()
                    .any(|known| known.name == server.name);
                if !known {
                    edit(backend, |servers| servers.push(server.clone()));
                }
                !known
            },
        );
        lost.extend(self.settings.apply(config));
        lost
    }

    /// What the process that takes this one's place is told; `None` if there is nothing to tell.
    pub(super) fn carried(&self, rates: [u32; 3]) -> Option<Carried> {
        let Self {
            added,
            deleted,
            maxconn,
            settings,
        } = self;
        let rates = Some(rates).filter(|all| *all != [0; 3]);
        let nothing = added.is_empty()
            && deleted.is_empty()
            && maxconn.is_none()
            && settings.0.is_empty()
            && rates.is_none();
        let added = added
            .iter()
            .map(|a| (a.backend.clone(), a.server.name.clone(), a.words.clone()));
        let deleted = deleted.iter().map(|(backend, server)| CarriedAway {
            backend: backend.clone(),
            server: server.name.clone(),
            file: FileSays::of(server),
            exactly: exactly(server),
        });
        (!nothing).then(|| Carried {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            added: added.collect(),
            deleted: deleted.collect(),
            maxconn: *maxconn,
            settings: settings.0.clone(),
            rates,
        })
    }

    /// What was made of the file in the process whose place this one takes, as far as that concerns `config`, which was
    /// read from the file by now.
    ///
    /// # Errors
    /// A server that was added there cannot be had.
    pub(super) fn of(carried: &Carried, config: &Config) -> Result<(Self, Vec<String>), String> {
        let backend = |name: &str| config.backends.iter().find(|backend| backend.name == name);
        let (mut all, mut lost) = (Self::default(), Vec::new());
        for (name, server, words) in &carried.added {
            let Some(of) = backend(name) else {
                lost.push(gone(name, server));
                continue;
            };
            // Where the file speaks of it by now, the file it is.
            if of.servers.iter().any(|known| known.name == *server) {
                continue;
            }
            let said: Vec<&str> = words.iter().map(String::as_str).collect();
            let added = added(of, server, &said).map_err(|complaint| {
                format!(
                    "server {name}/{server} was added by the runtime socket, and cannot be had as `{}`: {complaint}; write \
                     it into the file and reload, or delete it (`del server {name}/{server}`), and upgrade then",
                    said.join(" ")
                )
            })?;
            all.added.push(Added {
                backend: name.clone(),
                server: added,
                words: words.clone(),
            });
        }
        let same_words = carried.version == env!("CARGO_PKG_VERSION");
        for away in &carried.deleted {
            let server = backend(&away.backend)
                .and_then(|of| of.servers.iter().find(|known| known.name == away.server));
            let same = |server: &&model::Server| match same_words {
                true => exactly(server) == away.exactly,
                false => FileSays::of(server) == away.file,
            };
            if let Some(server) = server.filter(same) {
                all.deleted.push((away.backend.clone(), server.clone()));
            }
        }
        all.maxconn = carried.maxconn;
        all.settings = Settings(carried.settings.clone());
        Ok((all, lost))
    }

    /// The bound of connections that holds, where the file and the limit of file descriptors allow `hard`.
    pub(super) fn maxconn(&mut self, file: Option<u32>, hard: u32) -> u32 {
        self.maxconn = self.maxconn.filter(|(_, was)| *was == file);
        self.maxconn.map_or(hard, |(max, _)| max.min(hard))
    }
}

fn gone(backend: &str, server: &str) -> String {
    format!("server {backend}/{server} was added by the runtime socket, and its backend is gone")
}

/// All that the file says of a server, and not what DNS says of its name.
fn exactly(server: &model::Server) -> String {
    let server = model::Server {
        initial: None,
        ..server.clone()
    };
    format!("{server:?}")
}

fn edit(backend: &mut Arc<model::Backend>, change: impl FnOnce(&mut Vec<model::Server>)) {
    let mut new = model::Backend::clone(backend);
    change(&mut new.servers);
    *backend = Arc::new(new);
}

impl Running {
    /// Amends what runs; says what has become of it.
    pub(super) async fn amend(&mut self, amendment: Amendment) -> Result<String, String> {
        match amendment {
            Amendment::Add {
                backend,
                server,
                words,
            } => self.add(backend, *server, words).await,
            Amendment::Delete { backend, server } => self.delete(&backend, &server).await,
            Amendment::Maxconn(max) => {
                self.bound(max);
                Ok(String::new())
            }
            Amendment::Set(setting) => self.set(setting).await,
        }
    }

    async fn add(
        &mut self,
        backend: String,
        server: model::Server,
        words: Vec<String>,
    ) -> Result<String, String> {
        let name = server.name.clone();
        self.change_servers(&backend, |servers| {
            if servers.iter().any(|known| known.name == server.name) {
                return Err("Already exists a server with the same name in backend.".to_owned());
            }
            servers.push(server.clone());
            Ok(())
        })
        .await?;
        let topology = self.sources.topology();
        if let Some(there) = topology.backend(&backend)
            && let Some(server) = there.server(&name)
        {
            there.set_admin(server, AdminState::Maint);
            // As with HAProxy, `enable health` and `enable agent` begin them.
            server.enable_checks(false);
            server.enable_agent(false);
        }
        tracing::info!("server {backend}/{name} was added by the runtime socket");
        let kept = &mut self.amendments;
        kept.added.push(Added {
            backend,
            server,
            words,
        });
        Ok("New server registered.\n".to_owned())
    }

    async fn delete(&mut self, backend: &str, name: &str) -> Result<String, String> {
        let mut was = None;
        let topology = self.sources.topology();
        if let Some(server) = topology.server(backend, name) {
            deletable(server)?;
            // What it has in the kernel is read now and then: it may have got a flow since.
            self.sources.path.look().await?;
            deletable(server)?;
        }
        self.change_servers(backend, |servers| {
            let at = servers.iter().position(|server| server.name == name);
            was = Some(servers.remove(at.ok_or("No such server.")?));
            Ok(())
        })
        .await?;
        tracing::info!("server {backend}/{name} was deleted by the runtime socket");
        let kept = &mut self.amendments;
        let before = kept.added.len();
        kept.added
            .retain(|added| added.backend != backend || added.server.name != name);
        if before == kept.added.len()
            && let Some(was) = was
        {
            kept.deleted.push((backend.to_owned(), was));
        }
        Ok("Server deleted.\n".to_owned())
    }

    /// Runs the present configuration with other servers.
    async fn change_servers(
        &mut self,
        backend: &str,
        change: impl FnOnce(&mut Vec<model::Server>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.change_backend(backend, |backend| change(&mut backend.servers))
            .await
    }

    /// Has the configuration say something else.
    async fn set(&mut self, setting: Setting) -> Result<String, String> {
        let topology = self.sources.topology();
        let (mut file, mut told) = (None, String::new());
        self.change_backend(&setting.backend, |backend| {
            file = setting.said(backend);
            told = setting.apply(backend)?;
            if let Of::Name { server, .. } = &setting.of
                && let Some(running) = topology.server(&backend.name, server)
                && let Some(known) = backend.servers.iter_mut().find(|s| s.name == *server)
            {
                // It stays where it is until the name has led elsewhere.
                known.initial = running.address().inet();
            }
            Ok(())
        })
        .await?;
        if let Some(file) = file {
            self.amendments.settings.keep(setting, file);
        }
        Ok(told)
    }

    /// Runs the present configuration with another backend in the place of one.
    async fn change_backend(
        &mut self,
        backend: &str,
        change: impl FnOnce(&mut model::Backend) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut config = Config::clone(self.config());
        let known = config
            .backends
            .iter_mut()
            .find(|known| known.name == *backend);
        let known = known.ok_or("No such backend.")?;
        let mut new = model::Backend::clone(known);
        change(&mut new)?;
        *known = Arc::new(new);
        let config = Arc::new(config);
        let topology: Topology = self.shared.topology.next(&config);
        topology
            .load_tls()
            .map_err(|(whose, error)| format!("{whose}: {error}; {}", error.mend()))?;
        let topology = Arc::new(topology);
        let listeners = self
            .proxy
            .open_more(&topology)
            .map_err(|error| error.to_string())?;
        let maxconn = self.sources.process.hard_maxconn().unwrap_or(u32::MAX);
        let prepared = Prepared::bare(config, topology, maxconn, listeners);
        self.take(prepared).await;
        Ok(())
    }

    /// Another bound of connections holds for the process.
    fn bound(&mut self, max: u32) {
        let hard = self.sources.process.hard_maxconn().unwrap_or(u32::MAX);
        // 0 is as much as there may be.
        let max = if max == 0 { hard } else { max.min(hard) };
        self.amendments.maxconn = Some((max, self.config().global.maxconn));
        self.shared.sessions.set_max(Some(max));
        self.sources.process.set_maxconn(Some(max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::model::Balance, topology::fixtures};

    #[test]
    fn who_was_deleted_comes_back_if_somebody_follows_it() {
        let one = fixtures::server("one", "192.0.2.1:80");
        let mut two = fixtures::server("two", "192.0.2.2:80");
        let config = |two: &model::Server| {
            let servers = vec![one.clone(), two.clone()];
            let backend = fixtures::backend("b", Balance::RoundRobin, servers);
            fixtures::config(Vec::new(), vec![backend])
        };
        let mut amendments = Amendments {
            deleted: vec![("b".to_owned(), one.clone())],
            ..Amendments::default()
        };
        let mut there = |two: &model::Server| {
            let mut config = config(two);
            assert!(amendments.apply(&mut config).is_empty());
            config.backends[0].servers.len()
        };
        assert_eq!(there(&two), 1);
        two.track = Some(("b".to_owned(), "one".to_owned()));
        assert_eq!(there(&two), 2);
        two.track = None;
        assert_eq!(there(&two), 2, "it is the file's again");
    }
}
