//! Users and passwords, wherever the file has them.

use super::{
    decode::Decoder,
    tree::{Entry, Kind},
};
use crate::rules::Users;

/// `{ NAME: PASSWORD }`. No message repeats a password.
pub(super) fn users(d: &mut Decoder<'_>, entry: &Entry) -> Option<Users> {
    let what = format!("`{}`", entry.key);
    let mend = format!("write `{}: {{ USER: PASSWORD }}`", entry.key);
    let table = d.table_or(&entry.value, entry.key_span, what.as_str(), mend)?;
    if table.entries().is_empty() {
        let mend = match entry.key.as_str() {
            "auth" => "write `auth: { USER: PASSWORD }`, or remove it to leave it open",
            _ => "write `{ NAME: PASSWORD }`",
        };
        d.error(entry.key_span, format!("{what} names no user"), mend);
    }
    let (mut users, mut joined) = (Vec::new(), Vec::new());
    for e in table.entries() {
        if e.key.contains(':') || e.key.chars().any(char::is_control) {
            let message = format!(
                "`{}` cannot be a user: basic authentication has no `:` in it",
                e.key
            );
            d.error(e.key_span, message, "choose another name");
        }
        let what = format!("the password of `{}`", e.key);
        let password = match &e.value.kind {
            Kind::Mapping(_) => member(d, e, &mut joined),
            _ => d.secret(&e.value, &what),
        };
        let Some(password) = password else {
            continue;
        };
        let user = (e.key.clone(), password);
        if user.1.is_empty() {
            d.error(e.value.span, format!("{what} is empty"), "choose one");
        } else if let Err(problem) = Users::new(vec![user.clone()]) {
            d.wrong(e.value.span, problem);
        } else {
            users.push(user);
        }
    }
    let mut users = Users::new(users).ok()?;
    for (name, groups) in joined {
        users.join(&name, &groups);
    }
    Some(users)
}

/// `{ password: …, groups: […] }`
fn member(
    d: &mut Decoder<'_>,
    entry: &Entry,
    joined: &mut Vec<(String, Vec<String>)>,
) -> Option<String> {
    let mut table = d.table(
        &entry.value,
        entry.key_span,
        format!("user `{}`", entry.key),
    )?;
    let what = format!("the password of `{}`", entry.key);
    let password = match table.take("password") {
        Some(e) => d.secret(&e.value, &what),
        None => {
            d.missing(&table, "password", "write `{ password: …, groups: [ … ] }`");
            None
        }
    };
    if let Some(e) = table.take("groups") {
        let nodes = d.one_or_more(&e.value).iter();
        let groups = nodes.filter_map(|node| d.text(node, "`groups`")).collect();
        joined.push((entry.key.clone(), groups));
    }
    table.finish(d, &[], &[]);
    password
}
