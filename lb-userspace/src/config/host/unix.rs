//! What unix sockets to listen on need of a host: a folder, users and groups.

use super::Host;
use crate::config::{diagnostic::Diagnostic, diagnostic::Severity, model::Config};

pub(super) fn check(config: &Config, host: &dyn Host, found: &mut Vec<Diagnostic>) {
    for frontend in &config.frontends {
        for bind in &frontend.binds {
            let Some(path) = bind.address.path() else {
                continue;
            };
            let mut complain = |message: String, mend: String| {
                let message = format!("frontend {}: {}: {message}", frontend.name, bind.text);
                found.push(Diagnostic::unplaced(Severity::Error, message).mend(mend));
            };
            if let Some(folder) = path.parent().filter(|folder| !host.has_folder(folder)) {
                let folder = folder.display();
                complain(
                    format!("there is no folder `{folder}`"),
                    format!("create it: `mkdir -p {folder}`"),
                );
            }
            let names = &bind.permissions;
            let is_number = |name: &&String| name.parse::<u32>().is_ok();
            if let Some(user) = names.user.as_ref().filter(|user| !is_number(user))
                && !host.has_user(user)
            {
                complain(
                    format!("this host has no user `{user}`"),
                    format!("create it: `useradd --system {user}`"),
                );
            }
            if let Some(group) = names.group.as_ref().filter(|group| !is_number(group))
                && !host.has_group(group)
            {
                complain(
                    format!("this host has no group `{group}`"),
                    format!("create it: `groupadd --system {group}`"),
                );
            }
        }
    }
}
