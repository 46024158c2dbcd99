//! What operators have the configuration say otherwise, as long as the file says of it what it said.

use std::sync::Arc;

use crate::{
    admin::setting::Setting,
    config::{Config, model},
};

/// Each with what the file said of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings(pub(super) Vec<(Setting, String)>);

impl Settings {
    /// Keeps one for the next configuration, of which the running one says `said`.
    pub(super) fn keep(&mut self, setting: Setting, said: String) {
        let mut known = self.0.iter_mut();
        match known.find(|(known, _)| known.is_about_the_same(&setting)) {
            // What ran until now was no longer the file's.
            Some((known, _)) => known.take(setting),
            None => self.0.push((setting, said)),
        }
    }

    /// Has `config`, which was read from the file, say the same; where the file says something else than it did, the file it
    /// is. Says what cannot be kept.
    pub(super) fn apply(&mut self, config: &mut Config) -> Vec<String> {
        let mut lost = Vec::new();
        self.0.retain(|(setting, file)| {
            let mut backends = config.backends.iter_mut();
            let backend = backends.find(|backend| backend.name == setting.backend);
            let Some(backend) = backend.filter(|b| setting.said(b).as_ref() == Some(file)) else {
                return false;
            };
            let mut new = model::Backend::clone(backend);
            match setting.apply(&mut new) {
                Ok(_) => *backend = Arc::new(new),
                Err(why) => {
                    lost.push(format!("backend {}: {why}", setting.backend));
                    return false;
                }
            }
            true
        });
        lost
    }
}
