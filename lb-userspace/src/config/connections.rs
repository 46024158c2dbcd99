//! `connection_mode`, `http_reuse`, `persist`, `all_backups`: how connections are kept and shared.

use super::{
    decode::Decoder,
    model::{ConnectionMode, Connections, Mode},
    source::Spanned,
    table::Table,
};

/// What a section says of them.
#[derive(Debug, Default, Clone)]
pub(super) struct ConnectionsDraft {
    /// Of requests, with its key.
    never_shared: Option<Spanned<bool>>,
    persist: Option<Spanned<bool>>,
    all_backups: Option<bool>,
}

/// `connection_mode`, which frontends have too.
pub(super) fn mode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<ConnectionMode>> {
    let e = table.take("connection_mode")?;
    let choices = [
        ("keep-alive", ConnectionMode::KeepAlive),
        ("server-close", ConnectionMode::ServerClose),
        ("close", ConnectionMode::Close),
    ];
    let mode = d.choice(&e.value, "`connection_mode`", &choices, &[])?;
    Some(Spanned::new(mode, e.key_span))
}

/// Keys of backends and `defaults`.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> ConnectionsDraft {
    ConnectionsDraft {
        never_shared: table.take("http_reuse").and_then(|e| {
            let choices = [("never", true), ("always", false)];
            let never = d.choice(&e.value, "`http_reuse`", &choices, &[])?;
            Some(Spanned::new(never, e.key_span))
        }),
        persist: table.take("persist").and_then(|e| {
            let on = d.boolean(&e.value, "`persist`")?;
            Some(Spanned::new(on, e.key_span))
        }),
        all_backups: table
            .take("all_backups")
            .and_then(|e| d.boolean(&e.value, "`all_backups`")),
    }
}

impl ConnectionsDraft {
    /// Where keys stand that are about requests.
    pub(super) fn of_requests(&self) -> impl Iterator<Item = (super::source::Span, &'static str)> {
        let never = self.never_shared.map(|key| (key.span, "http_reuse"));
        let persist = self.persist.map(|key| (key.span, "persist"));
        never.into_iter().chain(persist)
    }

    /// A backend's own, else what `defaults` says.
    pub(super) fn resolve(
        &self,
        defaults: &Self,
        of_requests: Option<ConnectionMode>,
        mode: Mode,
    ) -> Connections {
        let http = mode == Mode::Http;
        let value = |own: Option<Spanned<bool>>, inherited: Option<Spanned<bool>>| {
            http && own.or(inherited).is_some_and(|on| on.value)
        };
        Connections {
            mode: of_requests.filter(|_| http).unwrap_or_default(),
            never_shared: value(self.never_shared, defaults.never_shared),
            persist: value(self.persist, defaults.persist),
            all_backups: self.all_backups.or(defaults.all_backups).unwrap_or(false),
        }
    }
}
