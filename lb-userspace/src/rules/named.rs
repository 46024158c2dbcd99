//! Proxies and servers that rules name.

use std::sync::{Arc, OnceLock};

/// A proxy or server by its name. Where it stands among its like is known once all of the file is read, and then nobody
/// looks for the name again. Clones learn it together.
#[derive(Debug, Clone)]
pub struct Named(Arc<(String, OnceLock<usize>)>);

impl Named {
    /// What is called so.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Arc::new((name.into(), OnceLock::new())))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.0
    }

    /// Its place in the order of the file; `None` if there is nothing of that name.
    pub fn index(&self) -> Option<usize> {
        self.0.1.get().copied()
    }

    /// Says its place, once.
    pub fn is_at(&self, index: usize) {
        let _ = self.0.1.set(index);
    }
}
