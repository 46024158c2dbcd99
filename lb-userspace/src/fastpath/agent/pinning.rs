//! Pins that somebody removes while the program runs.

use super::Agent;
use crate::fastpath::error::FastPathError;

impl Agent {
    /// Pins again what somebody has removed. Without a pin nothing is attached, so that flows that are spoken on meanwhile are
    /// lost to the host.
    pub(super) fn keep_pins(&mut self) {
        if !self.kernel.is_unpinned(&self.lock) {
            self.unpinned = None;
            return;
        }
        let path = self.kernel.pin_path().display();
        match self.kernel.pin_again(&self.lock) {
            Ok(lock) => {
                tracing::warn!(
                    "somebody has removed what this lb has pinned at {path}: it is pinned again. To end the kernel path, stop lb \
                     or write `attach: off`"
                );
                self.unpinned = None;
                if let Some(lock) = lock {
                    self.lock = lock;
                }
            }
            Err(error) if self.unpinned.is_none() => {
                let error = match error {
                    // Its mend is that of a start.
                    FastPathError::Pin {
                        action,
                        path,
                        source,
                    } => format!("cannot {action} {}: {source}", path.display()),
                    error => error.to_string(),
                };
                let why = format!(
                    "somebody has removed what this lb has pinned at {path}, and it cannot be pinned again ({error}): restart lb"
                );
                tracing::error!("userspace serves all: {why}");
                self.unpinned = Some(why);
            }
            // That has been said.
            Err(_) => {}
        }
    }
}
