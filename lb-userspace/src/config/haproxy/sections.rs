//! Sections that others refer to: `userlist`, `http-errors`.

use super::{
    assemble::Section,
    says::Says,
    value::{Map, Value},
};

/// `http-errors NAME`
pub(super) fn http_errors(section: &Section<'_>, says: &mut Says) {
    let Some(name) = says.need(section.head, 1, "a name") else {
        return;
    };
    let mut pages = Map::default();
    for line in &section.lines {
        match (line.keyword(), line.text(2)) {
            ("errorfile", file) if !file.is_empty() => {
                let value = Value::text(file, line.span_of(2));
                pages.set_at(line.text(1), line.span_of(1), value);
            }
            (other, _) => says.unsupported(line.span(), &format!("{other} in http-errors")),
        }
    }
    says.bases.pages.insert(name.to_owned(), pages);
}

/// `userlist NAME`
pub(super) fn userlist(section: &Section<'_>, lists: &mut Map, says: &mut Says) {
    let Some(name) = says.need(section.head, 1, "a name") else {
        return;
    };
    let mut users = Map::default();
    for line in &section.lines {
        match (line.keyword(), line.text(2)) {
            ("user", "password" | "insecure-password") => {
                users.set_at(
                    line.text(1),
                    line.span_of(1),
                    Value::text(line.text(3), line.span_of(3)),
                );
                if !line.text(4).is_empty() {
                    says.warn(line.span_of(4), "groups are left out: lb knows users alone");
                }
            }
            ("group", _) => says.warn(line.span(), "groups are left out: lb knows users alone"),
            _ => says.unsupported(line.span(), line.keyword()),
        }
    }
    lists.set(name, Value::map(users, section.head.span_of(1)));
}
