//! Clients that stay on their server by what a table remembers of them.

use std::sync::Arc;

use super::{
    condition::Condition,
    expr::Expr,
    scene::Scene,
    table::{Handle, Key},
};

/// When a server is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remember {
    /// Not by this rule.
    Never,
    /// By what the request says.
    OfRequest,
    /// By what the response says.
    OfResponse,
}

/// One of `stick`.
#[derive(Debug, Clone)]
pub struct Stick {
    /// The key.
    pub key: Expr,
    /// Where it is looked for.
    pub table: Arc<Handle>,
    /// When.
    pub condition: Option<Condition>,
    /// Whether the server that is remembered is chosen.
    pub chooses: bool,
    /// Whether the one that is chosen is remembered.
    pub remembers: Remember,
}

/// A place in a table in which a server is to be remembered.
#[derive(Debug)]
pub struct Remembering {
    table: Arc<Handle>,
    key: Key,
}

impl Stick {
    /// What the rule says in `scene`: the key, if it applies.
    fn applies(&self, scene: &Scene<'_>) -> Option<Key> {
        let table = self.table.table()?;
        let holds = self.condition.as_ref().is_none_or(|c| c.holds(scene));
        let value = holds.then(|| self.key.sample(scene)).flatten()?;
        Key::of(value, table.key()).filter(|key| !key.bytes().is_empty())
    }
}

/// Looks through the rules about requests: the first server that is remembered and `usable`, and where to remember the one
/// that is chosen in the end.
pub fn look<S>(
    sticks: &[Stick],
    scene: &Scene<'_>,
    now: u64,
    usable: impl Fn(u32) -> Option<S>,
) -> (Option<S>, Vec<Remembering>) {
    let (mut found, mut remembering) = (None, Vec::new());
    for stick in sticks {
        if stick.remembers == Remember::OfResponse {
            continue;
        }
        let Some(key) = stick.applies(scene) else {
            continue;
        };
        if stick.chooses
            && found.is_none()
            && let Some(table) = stick.table.table()
        {
            found = table.server(&key, now).and_then(&usable);
        }
        if stick.remembers == Remember::OfRequest {
            let table = Arc::clone(&stick.table);
            remembering.push(Remembering { table, key });
        }
    }
    (found, remembering)
}

/// Where rules about responses remember the server.
pub fn look_at_response(sticks: &[Stick], scene: &Scene<'_>) -> Vec<Remembering> {
    let of_response = |stick: &&Stick| stick.remembers == Remember::OfResponse;
    let sticks = sticks.iter().filter(of_response);
    let found = sticks.filter_map(|stick| {
        Some(Remembering {
            key: stick.applies(scene)?,
            table: Arc::clone(&stick.table),
        })
    });
    found.collect()
}

/// Remembers the server of the number `id` in its backend.
pub fn remember(all: Vec<Remembering>, id: u32, now: u64) {
    for Remembering { table, key } in all {
        if let Some(table) = table.table() {
            table.set_server(key, id, now);
        }
    }
}
