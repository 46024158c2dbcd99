//! `global.admin_socket`: where runtime commands are taken, and what whoever sends them may do.

use std::path::Path;

use super::{
    address,
    decode::Decoder,
    model::{Address, AdminLevel, AdminSocket, Global, Permissions},
    source::Span,
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
    let sockets: Vec<(AdminSocket, Span)> = d
        .one_or_more(&entry.value)
        .iter()
        .filter_map(|item| Some((one(d, item, what)?, item.span)))
        .collect();
    let own = sockets
        .iter()
        .filter(|(socket, _)| socket.level == AdminLevel::Admin)
        .find_map(|(socket, _)| socket.address.path());
    match own {
        Some(path) => {
            global.admin_socket = path.to_owned();
            global.admin_sockets.clear();
        }
        None => {
            let taken = |socket: &AdminSocket| {
                let mut defaults = global.admin_sockets.iter();
                defaults.any(|default| default.address == socket.address)
            };
            for (socket, span) in sockets.iter().filter(|(socket, _)| taken(socket)) {
                let message = format!(
                    "`{}` is where lb listens by itself, with the level `admin`, as long as no other socket has that level",
                    socket.address
                );
                d.error(*span, message, "write `level: admin`, or another path");
            }
        }
    }
    for (at, (socket, span)) in sockets.iter().enumerate() {
        let mut before = sockets.iter().take(at);
        if before.any(|(other, _)| other.address == socket.address) {
            let message = format!("`{}` is listened on twice", socket.address);
            d.error(*span, message, "remove one of them");
        }
    }
    let sockets = sockets.into_iter().map(|(socket, _)| socket);
    global.admin_sockets.extend(sockets);
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
