//! `show stat`: HAProxy's table, whole or in part, as CSV, typed or as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::typed::{Datum, Form, Tag};
use crate::observe::stats::{Row, Sources, csv, row::Cell};

/// Which rows are wanted.
#[derive(Debug, Default)]
struct Wanted<'a> {
    /// A number, or a name; none is all.
    proxy: Option<Result<i64, &'a str>>,
    kind: Option<i64>,
    sid: Option<i64>,
    /// Only servers that are up.
    up: bool,
    /// No servers in maintenance.
    no_maint: bool,
}

impl Wanted<'_> {
    fn of(&self, row: &Row) -> bool {
        let is = |own: Option<u64>, wanted: i64| {
            wanted < 0 || own.is_some_and(|own| i64::try_from(own) == Ok(wanted))
        };
        let proxy = match self.proxy {
            None => true,
            Some(Ok(iid)) => is(row.iid, iid),
            Some(Err(name)) => row.pxname.as_deref() == Some(name),
        };
        let kind = self.kind.is_none_or(|kind| {
            kind < 0
                || row
                    .r#type
                    .is_some_and(|own| own < 8 && kind & (1 << own) != 0)
        });
        let is_server = row.r#type == Some(2);
        let sid = self.sid.is_none_or(|sid| !is_server || is(row.sid, sid));
        let status = row.status.as_deref().unwrap_or_default();
        let up = !self.up || !is_server || (status != "no check" && status.starts_with("UP"));
        let maint = !self.no_maint || !is_server || !status.starts_with("MAINT");
        proxy && kind && sid && up && maint
    }
}

/// Answers `show stat [{IID|PROXY} TYPE SID] [typed|json|desc] [up|no-maint]`: -1 is any; types are summed, 1 frontend, 2
/// backend, 4 server. As HAProxy, what is neither is not looked at.
///
/// # Errors
/// There is no such proxy.
pub(super) fn show(sources: &Sources, words: &[&str]) -> Result<String, String> {
    let snapshot = sources.snapshot();
    let (mut wanted, mut form) = (Wanted::default(), Form::default());
    let mut words = words;
    if let [proxy, kind, sid, rest @ ..] = words
        && kind.parse::<i64>().is_ok()
        && sid.parse::<i64>().is_ok()
    {
        wanted.proxy = Some(proxy.parse().map_err(|_| *proxy));
        (wanted.kind, wanted.sid) = (kind.parse().ok(), sid.parse().ok());
        words = rest;
    }
    for word in words {
        match *word {
            "up" => wanted.up = true,
            "no-maint" => wanted.no_maint = true,
            word => drop(form.take(word)),
        }
    }
    if let Some(Err(name)) = wanted.proxy
        && !snapshot
            .rows()
            .any(|row| row.pxname.as_deref() == Some(name))
    {
        return Err("No such proxy.".to_owned());
    }
    let rows = snapshot.rows().filter(|row| wanted.of(row));
    Ok(match form {
        Form { json: true, .. } => {
            let rows: Vec<Value> = rows.map(|row| Value::from(as_json(row))).collect();
            format!("{}\n", Value::from(rows))
        }
        Form {
            typed: true, desc, ..
        } => rows.map(|row| typed(row, desc)).collect(),
        Form { .. } => csv::write(rows),
    })
}

/// Hands over each cell that is not empty, with its place.
fn each(row: &Row, mut each: impl FnMut(usize, &'static str, Tag, Datum)) {
    let mut place = 0;
    row.cells(|cell| {
        let datum = match cell {
            Cell::Empty => None,
            Cell::Number(number) => Some(Datum::Number(number.into())),
            Cell::Signed(number) => Some(Datum::Number(number.into())),
            Cell::Text(text) => Some(Datum::Text(text.to_owned())),
        };
        if let (Some(datum), Some(name), Some(tag)) =
            (datum, Row::COLUMNS.get(place), Row::NATURES.get(place))
        {
            let tag = match (row.r#type, *name) {
                (Some(2), "act" | "bck") => Tag("SGP", "u32"),
                (Some(1), "rate" | "rate_max") => Tag("MGP", "u32"),
                _ => Tag(tag.0, tag.1),
            };
            each(place, name, tag, datum);
        }
        place += 1;
    });
}

/// The letter and the name of what a row is of.
fn object(row: &Row) -> (char, &'static str) {
    match row.r#type {
        Some(0) => ('F', "Frontend"),
        Some(1) => ('B', "Backend"),
        _ => ('S', "Server"),
    }
}

/// `F.2.0.0.pxname.1:KNS:str:web`
fn typed(row: &Row, desc: bool) -> String {
    let (letter, _) = object(row);
    let (iid, sid) = (row.iid.unwrap_or(0), row.sid.unwrap_or(0));
    let mut out = String::new();
    each(row, |place, name, tag, datum| {
        // A String takes everything.
        let _ = write!(
            out,
            "{letter}.{iid}.{sid}.{place}.{name}.1:{}:{datum}",
            tag.text()
        );
        if let Some(text) = Row::DESCRIPTIONS.get(place).filter(|_| desc) {
            let _ = write!(out, ":\"{}\"", text.trim());
        }
        out.push('\n');
    });
    out
}

fn as_json(row: &Row) -> Vec<Value> {
    let (_, object) = object(row);
    let (iid, sid) = (row.iid.unwrap_or(0), row.sid.unwrap_or(0));
    let mut fields = Vec::new();
    each(row, |place, name, tag, datum| {
        fields.push(json!({
            "objType": object,
            "proxyId": iid,
            "id": sid,
            "field": {"pos": place, "name": name},
            "processNum": 1,
            "tags": tag.json(),
            "value": tag.value(&datum),
        }));
    });
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_nature() {
        let at = |name| Row::COLUMNS.iter().position(|column| *column == name);
        for (name, tag) in [
            ("status", "SGP"),
            ("lastsess", "MAP"),
            ("agg_check_status", "MGP"),
        ] {
            assert_eq!(at(name).map(|at| Row::NATURES[at].0), Some(tag), "{name}");
        }
    }
}
