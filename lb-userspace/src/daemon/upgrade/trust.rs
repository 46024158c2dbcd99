//! Whose binary the process is whom this one has started in its place: it runs with lb's rights.

use crate::admin::upgrade::Asked;

/// Who may do everything.
const ROOT: u32 = 0;

/// What whoever has a binary started as this process gains by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights {
    user: u32,
    capabilities: bool,
}

impl Rights {
    /// Those of this process.
    pub(super) fn own() -> Self {
        let none = rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.permitted.is_empty() && sets.effective.is_empty());
        Self {
            user: rustix::process::geteuid().as_raw(),
            capabilities: !none,
        }
    }

    /// Whether they can run whatever they like with these rights as it is.
    pub(super) fn may_name(self, peer: Option<u32>) -> bool {
        match peer {
            Some(ROOT) => true,
            Some(peer) => peer == self.user && !self.capabilities,
            None => false,
        }
    }

    /// Whether whoever asks may have a binary of this owner and mode started: not if that is a way to rights that they have
    /// not. To use the admin socket is no right to run anything.
    pub(super) fn trust(self, asked: &Asked, owner: u32, mode: u32) -> bool {
        // Of the user's own capabilities a file that the user can write would be a way to get them.
        let well_owned = owner == ROOT || owner == self.user && !self.capabilities;
        // A program of root's that reads what it is to do somewhere is none of lb.
        self.may_name(asked.peer) || asked.binary.is_none() && well_owned && mode & 0o022 == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_who_has_lbs_rights_names_a_binary() {
        const LB: u32 = 990;
        const OTHER: u32 = 1000;
        let may = |capabilities, peer, named: bool, owner, mode| {
            let asked = Asked {
                binary: named.then(|| "/opt/other".into()),
                timeout: Duration::ZERO,
                peer,
            };
            let user = LB;
            Rights { user, capabilities }.trust(&asked, owner, mode)
        };
        for capabilities in [false, true] {
            assert!(may(capabilities, Some(ROOT), true, OTHER, 0o777));
            // Nobody is known over TCP.
            for peer in [Some(OTHER), None] {
                assert!(!may(capabilities, peer, true, ROOT, 0o755), "{peer:?}");
                assert!(may(capabilities, peer, false, ROOT, 0o755), "{peer:?}");
                assert!(!may(capabilities, peer, false, ROOT, 0o775), "{peer:?}");
                assert!(!may(capabilities, peer, false, OTHER, 0o755), "{peer:?}");
            }
        }
        assert!(may(false, Some(LB), true, OTHER, 0o777));
        assert!(!may(true, Some(LB), true, ROOT, 0o755));
        assert!(may(false, Some(OTHER), false, LB, 0o755));
        assert!(!may(true, Some(LB), false, LB, 0o755));
    }
}
