//! `stick_table:` of frontends and backends.

use std::{sync::Arc, time::Duration};

use super::{
    actions::MOST_PLACES,
    decode::Decoder,
    diagnostic::Diagnostic,
    draft::Draft,
    model::Mode,
    resolve::{backend_mode, frontend_mode},
    source::{Span, Spanned},
    table::Table,
    tree::Node,
    units::{self, Problem},
};
use crate::rules::{Data, Kind, Layout, Named, suggest};

/// Reads `stick_table:`; `owner` is the proxy's name, and so the table's.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>, owner: &str) {
    let Some(e) = table.take("stick_table") else {
        return;
    };
    let handle = d.registry.table(owner);
    d.note(e.key_span);
    let Some(mut inner) = d.table(&e.value, e.key_span, "`stick_table`") else {
        return;
    };
    let kinds = [
        ("ip", Kind::Ip),
        ("integer", Kind::Int),
        ("string", Kind::Str),
        ("binary", Kind::Bin),
    ];
    let key = inner
        .take("key")
        .map_or(Some(Kind::Ip), |e| d.choice(&e.value, "`key`", &kinds, &[]));
    let key_length = inner
        .take("length")
        .map_or(Some(32), |e| d.number(&e.value, "`length`", 1..=1024_usize));
    let size = match inner.take("size") {
        Some(e) => d.size(&e.value, "`size`", 1..=16 << 20),
        None => Some(100 << 10),
    };
    let expire = inner.take("expire").map_or(Some(Duration::ZERO), |e| {
        d.duration(&e.value, "`expire`", Duration::from_millis(1))
    });
    let store: Option<Vec<(Data, u64)>> = match inner.take("store") {
        None => {
            d.missing(
                &inner,
                "store",
                "say what is counted: `store: [\"http_req_rate(10s)\", conn_cur]`",
            );
            None
        }
        Some(e) => {
            let nodes = d.one_or_more(&e.value).iter();
            let all: Option<Vec<_>> = nodes.map(|node| stored(d, node)).collect();
            all.map(|all| all.concat())
        }
    };
    inner.finish(
        d,
        &[],
        &[("type", "it is `key`"), ("len", "it is `length`")],
    );
    if let (Some(key), Some(key_length), Some(size), Some(expire), Some(store)) =
        (key, key_length, size, expire, store)
    {
        handle.make(Layout {
            key,
            key_length,
            size,
            expire_ms: u64::try_from(expire.as_millis()).unwrap_or(u64::MAX),
            store,
        });
    }
}

/// What is stored, in as many places as it has.
fn stored(d: &mut Decoder<'_>, node: &Node) -> Option<Vec<(Data, u64)>> {
    let read = |text: &str| match array(text) {
        Some(array) => array,
        None => counter(text).map(|one| vec![one]),
    };
    d.parsed(node, "`store`", read).map(|stored| stored.value)
}

/// `gpc(4)`, `gpt(2)`, `gpc_rate(4,10s)`; `None` where it is none of these.
fn array(text: &str) -> Option<Result<Vec<(Data, u64)>, Problem>> {
    let (name, rest) = match text.split_once('(') {
        Some((name, rest)) => (name.trim(), rest.trim_end_matches(')')),
        None => (text.trim(), ""),
    };
    let first = Data::of_array_named(name, 0)?;
    let (places, period) = match rest.split_once(',') {
        Some((places, period)) => (places.trim(), Some(period.trim())),
        None => (rest.trim(), None),
    };
    let bad = |message: String| {
        let mend = match first.is_rate() {
            true => {
                format!("write `\"{name}(4,10s)\"`: how many, up to {MOST_PLACES}, and a period")
            }
            false => format!("write `\"{name}(4)\"`: how many, up to {MOST_PLACES}"),
        };
        Some(Err(Problem::new(message, mend)))
    };
    let count = places.parse::<u8>().ok();
    let Some(count) = count.filter(|count| (1..=MOST_PLACES).contains(count)) else {
        return bad(format!("`{name}` needs a number of places"));
    };
    let period = match (first.is_rate(), period) {
        (false, None) => 0,
        (true, Some(period)) => match units::duration(period) {
            Ok(period) => u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
            Err(problem) => return Some(Err(problem)),
        },
        (false, Some(_)) => return bad(format!("`{name}` has no period")),
        (true, None) => return bad(format!("`{name}` needs a period")),
    };
    if first.is_rate() && period == 0 {
        return bad("a period of no time".to_owned());
    }
    let places = (0..count).filter_map(|index| Data::of_array_named(name, index));
    Some(Ok(places.map(|data| (data, period)).collect()))
}

/// `conn_cur`, `http_req_rate(10s)`.
fn counter(text: &str) -> Result<(Data, u64), Problem> {
    let (name, period) = match text.split_once('(') {
        Some((name, rest)) => (name, Some(rest.trim_end_matches(')'))),
        None => (text, None),
    };
    let Some(data) = Data::by_name(name.trim()) else {
        let names = Data::ALL.iter().map(|data| data.name());
        return Err(match suggest::nearest(name, names) {
            Some(near) => Problem::new(
                format!("`{name}` is not counted"),
                format!("did you mean `{near}`?"),
            ),
            None => Problem::new(
                format!("`{name}` is not counted"),
                "see docs/configuration.md for what is",
            ),
        });
    };
    match (data.is_rate(), period) {
        (true, Some(period)) => {
            let period = units::duration(period)?.as_millis();
            match u64::try_from(period) {
                Ok(period) if period > 0 => Ok((data, period)),
                _ => Err(Problem::new(
                    "a period of no time",
                    format!("write `{name}(10s)`"),
                )),
            }
        }
        (true, None) => Err(Problem::new(
            format!("`{name}` needs a period"),
            format!("write `\"{name}(10s)\"`"),
        )),
        (false, Some(_)) => Err(Problem::new(
            format!("`{name}` has no period"),
            format!("write `{name}`"),
        )),
        (false, None) => Ok((data, 0)),
    }
}

impl Decoder<'_> {
    /// What an expression at `span` refers to is kept, to be looked for once all of the file is read.
    pub(super) fn note(&mut self, span: Span) {
        let tables = self.registry.tables().len();
        self.named_tables.resize(tables, span);
        let facts = self.registry.take_facts();
        self.facts
            .extend(facts.into_iter().map(|fact| Spanned::new(fact, span)));
    }
}

/// The mode of the frontend or backend that a table is written in.
fn owner_mode(name: &str, draft: &Draft) -> Option<Mode> {
    let frontend = draft.frontends.iter().find(|f| f.name.value == name);
    let backend = draft.backends.iter().find(|b| b.name.value == name);
    frontend
        .map(|frontend| frontend_mode(frontend, &draft.defaults))
        .or_else(|| backend.map(|backend| backend_mode(backend, draft)))
}

/// Finds a named one among all, and tells it where it is; where there is none of that name, the mend.
fn place<'a>(
    named: &Named,
    names: impl Iterator<Item = &'a Spanned<String>> + Clone,
    else_mend: &str,
) -> Result<usize, String> {
    match names.clone().position(|name| name.value == named.name()) {
        Some(at) => {
            named.is_at(at);
            Ok(at)
        }
        None => Err(
            match suggest::nearest(named.name(), names.map(|name| name.value.as_str())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => else_mend.into(),
            },
        ),
    }
}

/// Tables, proxies and servers that expressions name exist; they learn where they stand.
pub(super) fn check(d: &mut Decoder<'_>, draft: &Draft) {
    let mut found = Vec::new();
    for (handle, span) in d.registry.tables().iter().zip(&d.named_tables) {
        let declared =
            d.diagnostics.iter().any(|found| found.is_error()) || handle.table().is_some();
        if !declared {
            let message = format!("there is no table `{}`", handle.name());
            let mend = "declare it in the frontend or backend of that name: `stick_table: { store: [ … ] }`";
            found.push(Diagnostic::error(*span, message).mend(mend));
        }
        // Whatever a rule says of a table keeps its handle; nobody's own rules do in mode tcp.
        if handle.table().is_some()
            && Arc::strong_count(handle) == 1
            && owner_mode(handle.name(), draft) == Some(Mode::Tcp)
        {
            let message = format!(
                "`stick_table` has no effect in mode tcp, and no rule of mode http names `{}`",
                handle.name()
            );
            found.push(Diagnostic::error(*span, message).mend("remove it"));
        }
    }
    for live in &d.live {
        if !live.value.connect(d.registry.maps()) {
            let message = "nothing is looked up in this file, so that there is nothing to change";
            let mend = "name it in a condition, or in `map(FILE)`, as it is written there";
            found.push(Diagnostic::error(live.span, message).mend(mend));
        }
    }
    for stick in draft.backends.iter().flat_map(|backend| &backend.sticks) {
        let table = stick.value.table.table();
        if table.is_some_and(|table| !table.remembers_servers()) {
            let name = stick.value.table.name();
            let message = format!("the table `{name}` remembers no servers");
            let mend = "write `server_id` into its `store`";
            found.push(Diagnostic::error(stick.span, message).mend(mend));
        }
    }
    for fact in &d.facts {
        if let Some(named) = fact.value.frontend() {
            let names = draft.frontends.iter().map(|f| &f.name);
            if let Err(mend) = place(named, names, "name one below `frontends`") {
                let message = format!("there is no frontend `{}`", named.name());
                found.push(Diagnostic::error(fact.span, message).mend(mend));
            }
        }
        let (Some(backend), server) = fact.value.backend() else {
            continue;
        };
        let names = draft.backends.iter().map(|b| &b.name);
        let at = match place(backend, names, "name one below `backends`") {
            Ok(at) => at,
            Err(mend) => {
                let message = format!("there is no backend `{}`", backend.name());
                found.push(Diagnostic::error(fact.span, message).mend(mend));
                continue;
            }
        };
        if let Some(server) = server
            && let Err(mend) = place(
                server,
                draft.backends[at].servers.iter().map(|s| &s.name),
                "name one of its `servers`",
            )
        {
            let message = format!(
                "there is no server `{}` in the backend `{}`",
                server.name(),
                backend.name()
            );
            found.push(Diagnostic::error(fact.span, message).mend(mend));
        }
    }
    d.diagnostics.extend(found);
}
