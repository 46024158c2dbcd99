//! `global.admin_socket`: where runtime commands are taken, and what whoever sends them may do.

use std::path::Path;

use super::{
    address,
    decode::Decoder,
    model::{Address, AdminLevel, AdminSocket, Global, Permissions},
    tree::{Entry, Kind, Node},
    unix,
};

/// HAProxy's names of levels.
const LEVELS: &[(&str, AdminLevel)] = &[
    ("user", AdminLevel::User),
    ("operator", AdminLevel::Operator),
    ("admin", AdminLevel::Admin),
];

/// A path, a mapping, or a list of these. The first with a path and the level `admin` is what `lb status` and its like ask;
/// where there is none, they have the default beside those of the file.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry, global: &mut Global) {
    let what = "`admin_socket`";
    let sockets: Vec<AdminSocket> = match &entry.value.kind {
        Kind::Sequence(items) => items.iter().filter_map(|item| one(d, item, what)).collect(),
        _ => one(d, &entry.value, what).into_iter().collect(),
    };
    if let Kind::Sequence(items) = &entry.value.kind {
        for (at, socket) in sockets.iter().enumerate() {
            if sockets
                .get(..at)
                .is_some_and(|before| before.iter().any(|b| b.address == socket.address))
                && let Some(item) = items.get(at)
            {
                d.error(
                    item.span,
                    format!("`{}` is listened on twice", socket.address),
                    "remove one of them",
                );
            }
        }
    }
    let own = sockets
        .iter()
        .filter(|socket| socket.level == AdminLevel::Admin)
        .find_map(|socket| socket.address.path());
    match own {
        Some(path) => {
            global.admin_socket = path.to_owned();
            global.admin_sockets = sockets;
        }
        None => global.admin_sockets.extend(sockets),
    }
}

/// The socket that there is where the file says nothing else.
pub(super) fn default(path: &Path) -> AdminSocket {
    AdminSocket {
        address: Address::Unix(path.into()),
        level: AdminLevel::Admin,
        permissions: Permissions::default(),
    }
}

fn one(d: &mut Decoder<'_>, node: &Node, what: &str) -> Option<AdminSocket> {
    if let Kind::Scalar(_) = node.kind {
        return Some(default(&d.path(node, what)?));
    }
    let mut table = d.table(node, node.span, what)?;
    let Some(e) = table.take("bind") else {
        d.missing(
            &table,
            "bind",
            "write `bind: unix:PATH`, or an address with a port",
        );
        table.finish(d, &[], &[]);
        return None;
    };
    let base = d.base;
    let bind = d.parsed(&e.value, "`bind`", |text| {
        // A path needs no telling here, as where nothing but a path is written.
        let bind = match text.starts_with('/') {
            true => address::bind(&format!("unix:{text}"))?,
            false => address::bind(text)?,
        };
        Ok(super::model::Bind {
            address: address::below(base, bind.address)?,
            ..bind
        })
    });
    let level = table
        .take("level")
        .and_then(|e| d.choice(&e.value, "`level`", LEVELS, &[]));
    // Of one that cannot be read nothing else is said.
    let mut bind = bind?.value;
    unix::permissions(d, &mut table, &mut bind);
    table.finish(d, &[], &[]);
    Some(AdminSocket {
        address: bind.address,
        level: level.unwrap_or(AdminLevel::Operator),
        permissions: bind.permissions,
    })
}
