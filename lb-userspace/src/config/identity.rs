//! `id`: the numbers that rules and statistics know proxies and servers by.

use std::collections::HashMap;

use super::{
    decode::Decoder,
    diagnostic::Diagnostic,
    draft::{BackendDraft, Draft},
    model::{self, Backend, Frontend},
    source::Spanned,
    table::Table,
};

/// Number of the first proxy; HAProxy counts from 2, since its own socket is 1.
pub(super) const FIRST_PROXY: u32 = 2;

/// `id` of a frontend, a backend or a server.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<u32>> {
    let e = table.take("id")?;
    let id = d.number(&e.value, "`id`", 1..=i32::MAX as u32)?;
    Some(Spanned::new(id, e.value.span))
}

/// No two proxies have the same number but a frontend and a backend of one name, which are one `listen`; nor have two servers
/// of a backend.
pub(super) fn check(draft: &Draft, found: &mut Vec<Diagnostic>) {
    let frontends = draft.frontends.iter();
    let frontends = frontends.filter_map(|f| Some((&f.name.value, f.id.as_ref()?, false)));
    let backends = draft.backends.iter();
    let backends = backends.filter_map(|b| Some((&b.name.value, b.id.as_ref()?, true)));
    let mut before: HashMap<u32, (&String, &Spanned<u32>, bool)> = HashMap::new();
    for (name, id, is_backend) in frontends.chain(backends) {
        match before.get(&id.value) {
            Some((other, first, of_backend)) if *other != name || *of_backend == is_backend => {
                found.push(twice(id, first, "proxy"));
            }
            Some(_) => {}
            None => {
                before.insert(id.value, (name, id, is_backend));
            }
        }
    }
    draft.backends.iter().for_each(|b| servers(b, found));
}

fn servers(backend: &BackendDraft, found: &mut Vec<Diagnostic>) {
    let mut before: HashMap<u32, &Spanned<u32>> = HashMap::new();
    for id in backend.servers.iter().filter_map(|s| s.id.as_ref()) {
        if let Some(first) = before.get(&id.value) {
            found.push(twice(id, first, "server of this backend"));
        }
        before.entry(id.value).or_insert(id);
    }
}

fn twice(id: &Spanned<u32>, first: &Spanned<u32>, what: &str) -> Diagnostic {
    let message = format!("another {what} has the `id` {} as well", id.value);
    Diagnostic::error(id.span, message)
        .also(first.span, "the first one is here")
        .mend("give each a number of its own")
}

/// Numbers the proxies that have none, as HAProxy does: by their places, past what is taken. Frontends come first.
pub(crate) fn number(frontends: &mut [Frontend], backends: &mut [Backend]) {
    let frontends = frontends.iter_mut().map(|frontend| &mut frontend.id);
    let backends = backends.iter_mut().map(|backend| &mut backend.id);
    let mut all: Vec<&mut u32> = frontends.chain(backends).collect();
    let mut given: Vec<u32> = all.iter().map(|id| **id).collect();
    model::number(&mut given, FIRST_PROXY);
    all.iter_mut()
        .zip(given)
        .for_each(|(id, given)| **id = given);
}
