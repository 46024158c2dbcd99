//! What rules remember of a connection.

use super::{Tracked, Value, VarId};

/// What lives as long as a connection, while no rule of a request looks at it: variables, and entries that it follows.
#[derive(Debug, Default)]
pub struct SessionVars {
    pub(super) vars: Vec<(VarId, Value<'static>)>,
    pub(super) tracked: Vec<(u8, Tracked)>,
}

impl SessionVars {
    /// The same under another configuration, which has `after` for variables where this one had `before`. What it does not
    /// know is forgotten.
    pub fn renamed(mut self, before: &[String], after: &[String]) -> Self {
        if before == after {
            return self;
        }
        self.vars.retain_mut(|(id, _)| {
            let name = before.get(usize::from(id.index));
            let known = name.and_then(|name| after.iter().position(|known| known == name));
            let index = known.and_then(|index| u16::try_from(index).ok());
            id.index = index.unwrap_or_default();
            index.is_some()
        });
        self
    }

    /// The entries that the connection follows.
    pub fn all_tracked(&self) -> impl Iterator<Item = &Tracked> {
        self.tracked.iter().map(|(_, tracked)| tracked)
    }
}
