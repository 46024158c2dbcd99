//! `stats:`

use std::time::Duration;

use super::{decode::Decoder, draft::StatsDraft, frontend, model::Transport, tree::Entry};

/// Reads `stats:`.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry) -> Option<StatsDraft> {
    let mut table = d.table(&entry.value, entry.key_span, "`stats`")?;
    let binds = frontend::binds(d, &mut table, "*:1080");
    for bind in binds
        .iter()
        .filter(|bind| bind.value.transport == Transport::Udp)
    {
        let mend = format!("write `\"{}\"`", bind.value.text.replacen("udp:", "", 1));
        d.error(bind.span, "statistics are read by TCP", mend);
    }
    for bind in binds.iter().filter(|bind| bind.value.has_preamble()) {
        d.error(
            bind.span,
            "unsupported: `tls` and `accept_proxy` of the statistics are not built yet",
            "bind to `127.0.0.1` and let a frontend in mode http bring clients there",
        );
    }
    let uri = table.take("uri").and_then(|e| {
        let uri = d.line(&e.value, "`uri`")?;
        if uri.starts_with('/')
            && uri
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b';'))
        {
            if matches!(uri.as_str(), "/metrics" | "/healthz") {
                d.error(
                    e.value.span,
                    format!("`{uri}` is taken by another page"),
                    "write `/stats`",
                );
            }
            return Some(uri);
        }
        d.error(
            e.value.span,
            format!("`{uri}` is no path: it begins with `/` and has no blanks, `?`, `#` or `;`"),
            "write `/stats`",
        );
        None
    });
    let refresh = table
        .take("refresh")
        .and_then(|e| d.duration(&e.value, "`refresh`", Duration::from_secs(1)));
    let realm = table.take("realm").and_then(|e| {
        let realm = d.line(&e.value, "`realm`")?;
        if realm.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Some(realm);
        }
        d.error(
            e.value.span,
            "`realm` has characters that no header can carry",
            "write printable ASCII",
        );
        None
    });
    let auth = table.take("auth").map_or_else(Vec::new, |e| users(d, e));
    let metrics_auth = table.take("metrics").is_some_and(|e| {
        let Some(mut metrics) = d.table(&e.value, e.key_span, "`metrics`") else {
            return false;
        };
        let auth = metrics.take("auth").and_then(|e| {
            let on = d.boolean(&e.value, "`auth`")?;
            if on && auth.is_empty() {
                d.error(
                    e.key_span,
                    "`metrics.auth` needs users",
                    "write `auth: { USER: PASSWORD }` below `stats`",
                );
            }
            Some(on)
        });
        metrics.finish(d, &[], &[]);
        auth == Some(true)
    });
    table.finish(
        d,
        &["admin"],
        &[
            ("user", "write `auth: { USER: PASSWORD }`"),
            ("password", "write `auth: { USER: PASSWORD }`"),
        ],
    );
    Some(StatsDraft {
        binds,
        uri: uri.unwrap_or_else(|| "/stats".to_owned()),
        refresh,
        realm: realm.unwrap_or_else(|| "LB Statistics".to_owned()),
        auth,
        metrics_auth,
    })
}

/// `auth:` user by user. No message repeats a password.
fn users(d: &mut Decoder<'_>, entry: &Entry) -> Vec<(String, String)> {
    let Some(table) = d.table(&entry.value, entry.key_span, "`auth`") else {
        return Vec::new();
    };
    if table.entries().is_empty() {
        d.error(
            entry.key_span,
            "`auth` names no user",
            "write `auth: { USER: PASSWORD }`, or remove it to leave it open",
        );
    }
    let mut users = Vec::new();
    for e in table.entries() {
        if e.key.contains(':') || e.key.chars().any(char::is_control) {
            d.error(
                e.key_span,
                format!(
                    "`{}` cannot be a user: basic authentication has no `:` in it",
                    e.key
                ),
                "choose another name",
            );
        }
        let what = format!("the password of `{}`", e.key);
        let Some(password) = d.secret(&e.value, &what) else {
            continue;
        };
        if password.is_empty() {
            d.error(e.value.span, format!("{what} is empty"), "choose one");
        } else if is_hash(&password) {
            d.error(
                e.value.span,
                format!("unsupported: {what} is a hash, which is not built yet"),
                "write the password itself, or take it from the environment: `${STATS_PASSWORD}`",
            );
        } else {
            users.push((e.key.clone(), password));
        }
    }
    users
}

/// crypt(5): `$id$…`.
fn is_hash(password: &str) -> bool {
    password
        .strip_prefix('$')
        .and_then(|rest| rest.split_once('$'))
        .is_some_and(|(id, rest)| {
            !rest.is_empty()
                && matches!(
                    id,
                    "1" | "5"
                        | "6"
                        | "2a"
                        | "2b"
                        | "2y"
                        | "y"
                        | "gy"
                        | "7"
                        | "argon2i"
                        | "argon2d"
                        | "argon2id"
                )
        })
}
