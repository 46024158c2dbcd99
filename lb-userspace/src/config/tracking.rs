//! `track`: servers whose state follows another's.

use std::collections::HashMap;

use super::{
    diagnostic::Diagnostic,
    draft::{Draft, ServerDraft},
};
use crate::rules::suggest;

/// The backend and the server that `text` names in `backend`.
pub(super) fn named(text: &str, backend: &str) -> (String, String) {
    let (backend, server) = text.split_once('/').unwrap_or((backend, text));
    (backend.to_owned(), server.to_owned())
}

/// Whether each follows a server that there is, and that has a state of its own in the end.
pub(super) fn check(draft: &Draft, found: &mut Vec<Diagnostic>) {
    let mut servers: HashMap<(String, String), &ServerDraft> = HashMap::new();
    let mut checked: HashMap<&str, bool> = HashMap::new();
    for backend in &draft.backends {
        let own = backend.proxy.health_check.as_ref();
        let check = own.or(draft.defaults.proxy.health_check.as_ref());
        checked.insert(
            &backend.name.value,
            check.is_some_and(|check| check.value.is_some()),
        );
        for server in &backend.servers {
            let key = (backend.name.value.clone(), server.name.value.clone());
            servers.entry(key).or_insert(server);
        }
    }
    for backend in &draft.backends {
        let here = backend.name.value.as_str();
        for server in &backend.servers {
            let Some(track) = &server.track else { continue };
            let mut error = |message: String, mend: String| {
                found.push(Diagnostic::error(track.span, message).mend(mend));
            };
            let on = server.keys.check.as_ref().is_some_and(|check| check.value);
            if on || server.health_check.is_some() {
                error(
                    format!(
                        "server `{}` has a check and follows another",
                        server.name.value
                    ),
                    "remove one of both: its state is either its own or the other's".to_owned(),
                );
                continue;
            }
            let (of, name) = named(&track.value, here);
            let Some(tracked) = servers.get(&(of.clone(), name.clone())) else {
                let among = servers.keys().filter(|(backend, _)| *backend == of);
                let near = suggest::nearest(&name, among.map(|(_, server)| server.as_str()));
                error(
                    match checked.contains_key(of.as_str()) {
                        true => format!("there is no server `{name}` in backend `{of}`"),
                        false => format!("there is no backend `{of}`"),
                    },
                    match near {
                        Some(near) => format!("did you mean `{of}/{near}`?"),
                        None => "name a server as `BACKEND/SERVER`".to_owned(),
                    },
                );
                continue;
            };
            if let Some(way) = circle(&servers, (here, &server.name.value)) {
                error(
                    format!("`{}` follows itself: {way}", server.name.value),
                    "let one of them have a check of its own".to_owned(),
                );
                continue;
            }
            let is_checked = tracked.track.is_some()
                || tracked.keys.agent_check.is_some()
                || match &tracked.health_check {
                    Some(own) => own.value.is_some(),
                    None => {
                        checked.get(of.as_str()) == Some(&true)
                            && tracked.keys.check.as_ref().is_none_or(|check| check.value)
                    }
                };
            if !is_checked {
                error(
                    format!("`{of}/{name}` is not checked, so it has no state to follow"),
                    format!("give backend `{of}` a `health_check`"),
                );
            }
        }
    }
}

/// The way from a server back to itself, if there is one.
fn circle(servers: &HashMap<(String, String), &ServerDraft>, from: (&str, &str)) -> Option<String> {
    let (mut backend, mut server) = (from.0.to_owned(), from.1.to_owned());
    let mut way = format!("{backend}/{server}");
    // No way is longer than there are servers.
    for _ in 0..=servers.len() {
        let track = servers
            .get(&(backend.clone(), server.clone()))?
            .track
            .as_ref()?;
        (backend, server) = named(&track.value, &backend);
        way.push_str(&format!(" → {backend}/{server}"));
        if (backend.as_str(), server.as_str()) == from {
            return Some(way);
        }
    }
    None
}
