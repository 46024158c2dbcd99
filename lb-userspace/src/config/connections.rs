//! `connection_mode`, `http_reuse`, `persist`, `all_backups`: how connections are kept and shared.

use http::HeaderName;

use super::{
    cookie,
    decode::Decoder,
    fields,
    model::{ConnectionMode, Connections, Mode, Reuse},
    sockets::{self, Source},
    source::Spanned,
    table::Table,
};

/// What a section says of them.
#[derive(Debug, Default, Clone)]
pub(super) struct ConnectionsDraft {
    /// Of requests, with its key.
    reuse: Option<Spanned<Reuse>>,
    persist: Option<Spanned<bool>>,
    rdp_cookie: Option<Spanned<String>>,
    all_backups: Option<bool>,
    abort_on_close: Option<Spanned<bool>>,
    pub(super) fullconn: Option<Spanned<u32>>,
    name_header: Option<Spanned<HeaderName>>,
    prefer_last: Option<Spanned<bool>>,
    source: Option<Source>,
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
        reuse: table.take("http_reuse").and_then(|e| {
            let choices = [
                ("never", Reuse::Never),
                ("safe", Reuse::Safe),
                ("always", Reuse::Always),
            ];
            let reuse = d.choice(&e.value, "`http_reuse`", &choices, &[])?;
            Some(Spanned::new(reuse, e.key_span))
        }),
        persist: table.take("persist").and_then(|e| {
            let on = d.boolean(&e.value, "`persist`")?;
            Some(Spanned::new(on, e.key_span))
        }),
        rdp_cookie: table.take("persist_rdp_cookie").and_then(|e| {
            let name = d.text(&e.value, "`persist_rdp_cookie`")?;
            if !cookie::is_token(&name) {
                let message = format!("`{name}` cannot be the name of a cookie");
                d.error(e.value.span, message, "write `msts`");
                return None;
            }
            Some(Spanned::new(name, e.key_span))
        }),
        all_backups: table
            .take("all_backups")
            .and_then(|e| d.boolean(&e.value, "`all_backups`")),
        abort_on_close: table.take("abort_on_close").and_then(|e| {
            let on = d.boolean(&e.value, "`abort_on_close`")?;
            Some(Spanned::new(on, e.key_span))
        }),
        fullconn: table.take("fullconn").and_then(|e| {
            d.number(&e.value, "`fullconn`", 1..=u32::MAX)
                .map(|full| Spanned::new(full, e.key_span))
        }),
        name_header: table.take("send_name_header").and_then(|e| {
            let name = d.text(&e.value, "`send_name_header`")?;
            let name = fields::header_name(d, &name, e.value.span)?;
            Some(Spanned::new(name, e.key_span))
        }),
        prefer_last: table.take("prefer_last_server").and_then(|e| {
            let on = d.boolean(&e.value, "`prefer_last_server`")?;
            Some(Spanned::new(on, e.key_span))
        }),
        source: sockets::source(d, table),
    }
}

impl ConnectionsDraft {
    /// Where connections to its servers come from, where they do not say so themselves.
    pub(super) fn source(&self, defaults: &Self) -> Option<Source> {
        self.source.clone().or_else(|| defaults.source.clone())
    }

    /// Where keys stand that are about requests.
    pub(super) fn of_requests(&self) -> impl Iterator<Item = (super::source::Span, &'static str)> {
        let reuse = self.reuse.map(|key| (key.span, "http_reuse"));
        let persist = self.persist.map(|key| (key.span, "persist"));
        let name = self.name_header.as_ref();
        let name = name.map(|key| (key.span, "send_name_header"));
        let leave = self.abort_on_close.map(|key| (key.span, "abort_on_close"));
        let last = self.prefer_last.map(|key| (key.span, "prefer_last_server"));
        let all = reuse.into_iter().chain(persist).chain(name);
        all.chain(leave).chain(last)
    }

    /// Where the key stands that is about RDP.
    pub(super) fn of_rdp(&self) -> Option<super::source::Span> {
        self.rdp_cookie.as_ref().map(|name| name.span)
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
            reuse: (self.reuse.or(defaults.reuse))
                .filter(|_| http)
                .map_or(Reuse::default(), |reuse| reuse.value),
            persist: value(self.persist, defaults.persist),
            rdp_cookie: (self.rdp_cookie.clone())
                .or_else(|| defaults.rdp_cookie.clone())
                .filter(|_| !http)
                .map(|name| name.value),
            prefer_last: value(self.prefer_last, defaults.prefer_last),
            abort_on_close: value(self.abort_on_close, defaults.abort_on_close),
            fullconn: self.fullconn.or(defaults.fullconn).map(|full| full.value),
            name_header: self
                .name_header
                .clone()
                .or_else(|| defaults.name_header.clone())
                .filter(|_| http)
                .map(|name| name.value),
            all_backups: self.all_backups.or(defaults.all_backups).unwrap_or(false),
        }
    }
}
