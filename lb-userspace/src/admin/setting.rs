//! What operators have the configuration say otherwise of a backend or a server, beside which servers there are:
//! `enable|disable dynamic-cookie`, `set dynamic-cookie-key`, `set server … fqdn|ssl`.

use serde::{Deserialize, Serialize};

use super::{
    operate,
    wish::{Amendment, What, Wishes, wish},
};
use crate::{
    config::{
        self,
        model::{self, Address},
    },
    observe::stats::Sources,
};

/// Something that the configuration is to say otherwise. What it does not know of it another version must not leave out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The backend's name.
    pub backend: String,
    /// What of it.
    pub of: Of,
}

/// What is said of a backend or a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Of {
    /// Servers without a cookie's value get one that is computed.
    DynamicCookie {
        /// Whether they do.
        enabled: Option<bool>,
        /// Of this key.
        key: Option<String>,
    },
    /// A server's name in the DNS.
    Name {
        /// The server's name in the file.
        server: String,
        /// The one that is followed.
        name: String,
    },
    /// Whether a server is reached by TLS.
    Tls {
        /// The server's name.
        server: String,
        /// Whether it is.
        enabled: bool,
    },
}

/// A name that is not changed, in HAProxy's words.
const BY: &str = "by 'stats socket command'";

/// The answer to one of these; `None` if it is none.
pub(super) async fn answer(
    sources: &Sources,
    wishes: &Wishes,
    words: &[&str],
) -> Option<Result<String, String>> {
    let setting = match *words {
        [
            verb @ ("enable" | "disable"),
            "dynamic-cookie",
            "backend",
            ref rest @ ..,
        ] => backend(sources, rest).map(|backend| {
            let (enabled, key) = (Some(verb == "enable"), None);
            Setting {
                backend,
                of: Of::DynamicCookie { enabled, key },
            }
        }),
        ["set", "dynamic-cookie-key", "backend", ref rest @ ..] => cookie_key(sources, rest),
        ["set", "server", ref server, "fqdn", ref rest @ ..] => name(sources, server, rest),
        ["set", "server", ref server, "ssl", ref rest @ ..] => tls(sources, server, rest),
        _ => return None,
    };
    Some(match setting {
        Ok(setting) => wish(wishes, What::Amend(Amendment::Set(setting))).await,
        Err(complaint) => Err(complaint),
    })
}

fn backend(sources: &Sources, words: &[&str]) -> Result<String, String> {
    let name = words.first().ok_or("A backend name is expected.")?;
    match sources.topology().backend(name) {
        Some(_) => Ok((*name).to_owned()),
        None => Err("No such backend.".to_owned()),
    }
}

fn cookie_key(sources: &Sources, words: &[&str]) -> Result<Setting, String> {
    let backend = backend(sources, words)?;
    let key = words.get(1).ok_or("String value expected.")?;
    let (enabled, key) = (None, Some((*key).to_owned()));
    Ok(Setting {
        backend,
        of: Of::DynamicCookie { enabled, key },
    })
}

fn name(sources: &Sources, server: &&str, words: &[&str]) -> Result<Setting, String> {
    let (backend, server) = operate::find(sources, Some(server))?;
    let name = words
        .first()
        .ok_or("set server <b>/<s> fqdn requires a FQDN.")?;
    let (Some(_), Address::Name(before, Some(_))) =
        (&server.config.resolve, &server.config.address)
    else {
        return Err(
            "set server <b>/<s> fqdn failed because no resolution is configured.".to_owned(),
        );
    };
    if !config::is_host(name) {
        return Err(format!("invalid fqdn '{name}' {BY}"));
    }
    if **before == **name {
        return Err(format!("no need to change the FDQN {BY}"));
    }
    Ok(Setting {
        backend: backend.name.to_string(),
        of: Of::Name {
            server: server.name.to_string(),
            name: (*name).to_owned(),
        },
    })
}

fn tls(sources: &Sources, server: &&str, words: &[&str]) -> Result<Setting, String> {
    let (backend, server) = operate::find(sources, Some(server))?;
    if server.config.tls.is_none() && server.config.tls_off.is_none() {
        return Err(
            "'set server <srv> ssl' cannot be set.  default-server should define ssl settings"
                .to_owned(),
        );
    }
    let enabled = match words.first() {
        Some(&"on") => true,
        Some(&"off") => false,
        _ => return Err("'set server <srv> ssl' expects 'on' or 'off'.".to_owned()),
    };
    Ok(Setting {
        backend: backend.name.to_string(),
        of: Of::Tls {
            server: server.name.to_string(),
            enabled,
        },
    })
}

impl Setting {
    /// Whether the other is about the same, and so takes its place.
    pub(crate) fn is_about_the_same(&self, other: &Self) -> bool {
        let server = |setting: &Self| match &setting.of {
            Of::DynamicCookie { .. } => (0, String::new()),
            Of::Name { server, .. } => (1, server.clone()),
            Of::Tls { server, .. } => (2, server.clone()),
        };
        self.backend == other.backend && server(self) == server(other)
    }

    /// Takes what the other says, which came later and is about the same.
    pub(crate) fn take(&mut self, later: Self) {
        match (&mut self.of, later.of) {
            (
                Of::DynamicCookie { enabled, key },
                Of::DynamicCookie {
                    enabled: now,
                    key: new,
                },
            ) => {
                *enabled = now.or(*enabled);
                *key = new.or(key.take());
            }
            (of, later) => *of = later,
        }
    }

    /// What a configuration says of the same, in words that every version has; `None` if it speaks of no such thing.
    pub(crate) fn said(&self, backend: &model::Backend) -> Option<String> {
        let server = |name: &str| backend.servers.iter().find(|server| server.name == name);
        Some(match &self.of {
            Of::DynamicCookie { .. } => match &backend.cookie {
                Some(cookie) => cookie.dynamic_key.clone().unwrap_or_default(),
                None => String::new(),
            },
            Of::Name { server: name, .. } => server(name)?.address.to_string(),
            Of::Tls { server: name, .. } => match server(name)?.tls {
                Some(_) => "on",
                None => "off",
            }
            .to_owned(),
        })
    }

    /// Has a configuration say it. Says what has become of it.
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn apply(&self, backend: &mut model::Backend) -> Result<String, String> {
        let gone = || "No such server.".to_owned();
        let mut servers = backend.servers.iter_mut();
        match &self.of {
            Of::DynamicCookie { enabled, key } => {
                dynamic_cookie(backend, *enabled, key.as_ref());
                Ok(String::new())
            }
            Of::Name { server, name } => {
                let server = servers.find(|known| known.name == *server);
                let server = server.ok_or_else(gone)?;
                let Address::Name(before, port) = &server.address else {
                    return Err(gone());
                };
                let said = format!(
                    "{}/{} changed its FQDN from {before} to {name} {BY}\n",
                    backend.name, server.name
                );
                server.address = Address::Name(name.as_str().into(), *port);
                // What the other name has led to says nothing of this one.
                server.initial = None;
                Ok(said)
            }
            Of::Tls { server, enabled } => {
                let server = servers.find(|known| known.name == *server);
                let server = server.ok_or_else(gone)?;
                if server.tls.is_some() != *enabled {
                    std::mem::swap(&mut server.tls, &mut server.tls_off);
                }
                Ok("server ssl setting updated.\n".to_owned())
            }
        }
    }
}

fn dynamic_cookie(backend: &mut model::Backend, enabled: Option<bool>, key: Option<&String>) {
    // Without a cookie there is nobody whom a value could be sent to.
    let Some(cookie) = &mut backend.cookie else {
        return;
    };
    let before = cookie.dynamic_key.take();
    let enabled = enabled.unwrap_or(before.is_some());
    let key = key.cloned().or(before.clone()).or(cookie.unused_key.take());
    let computed = |key: &Option<String>, server: &model::Server| {
        let key = key.as_ref()?;
        config::dynamic_cookie(key, &server.address)
    };
    match enabled {
        true => cookie.dynamic_key = key,
        false => cookie.unused_key = key,
    }
    for server in &mut backend.servers {
        // One of its own stays.
        if server.cookie.is_none() || server.cookie == computed(&before, server) {
            server.cookie = computed(&cookie.dynamic_key, server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::model::Balance, topology::fixtures};

    fn backend() -> model::Backend {
        let mut own = fixtures::server("own", "192.0.2.2:80");
        own.cookie = Some("mine".to_owned());
        let servers = vec![fixtures::server("s1", "192.0.2.1:80"), own];
        let mut backend = fixtures::backend("b", Balance::RoundRobin, servers);
        backend.cookie = Some(model::Cookie {
            dynamic_key: Some("one".to_owned()),
            ..model::Cookie::default()
        });
        backend
    }

    fn cookie(enabled: Option<bool>, key: Option<&str>) -> Setting {
        let key = key.map(str::to_owned);
        Setting {
            backend: "b".to_owned(),
            of: Of::DynamicCookie { enabled, key },
        }
    }

    #[test]
    fn values_are_computed_anew_of_servers_that_have_none_of_their_own() {
        let mut backend = backend();
        let values = |setting: Setting, backend: &mut model::Backend| {
            setting.apply(backend).expect("it can");
            let values = backend.servers.iter().map(|s| s.cookie.clone());
            values.map(Option::unwrap_or_default).collect::<Vec<_>>()
        };
        let first = values(cookie(Some(true), None), &mut backend);
        assert_eq!(first[1], "mine");
        assert_eq!(first[0].len(), 16);
        let second = values(cookie(None, Some("two")), &mut backend);
        assert_ne!(second[0], first[0]);
        assert_eq!(
            values(cookie(Some(false), None), &mut backend),
            ["", "mine"]
        );
        assert_eq!(
            values(cookie(None, Some("one")), &mut backend),
            ["", "mine"]
        );
        assert_eq!(values(cookie(Some(true), None), &mut backend), first);
    }

    #[test]
    fn a_later_word_completes_an_earlier_one() {
        let mut kept = cookie(Some(false), None);
        assert!(kept.is_about_the_same(&cookie(None, None)));
        kept.take(cookie(None, Some("k")));
        assert_eq!(kept, cookie(Some(false), Some("k")));
        kept.take(cookie(Some(true), None));
        assert_eq!(kept, cookie(Some(true), Some("k")));
    }
}
