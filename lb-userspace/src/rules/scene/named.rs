//! What a request, or a connection of mode tcp, is called: made when that is first asked, and the same from then on.

use std::cell::{Cell, OnceCell};

use super::{Scene, State};

/// A name, once it is made.
#[derive(Debug, Default)]
pub(super) struct Named {
    id: OnceCell<Box<[u8]>>,
    /// Being made: a text that asks for itself finds nothing.
    making: Cell<bool>,
}

impl<'a> Scene<'a> {
    /// Its unique id, of what can be seen here if nobody has asked for it before; `None` where there are none.
    pub fn unique_id(&self) -> Option<&'a [u8]> {
        let Named { id, making } = &self.state.name;
        if let Some(id) = id.get() {
            return Some(id);
        }
        let format = self.world.unique_format()?;
        if making.replace(true) {
            return None;
        }
        let made = format.render(self);
        making.set(false);
        Some(id.get_or_init(|| made.into()))
    }
}

impl State {
    /// Its unique id, if one has been made.
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.name.id.get().map(|id| &**id)
    }
}
