//! `connection_mode`, `http_reuse`, `persist`, `all_backups`: how connections are kept and shared.

use std::net::SocketAddr;

use http::HeaderName;

use super::{
    address, cookie,
    decode::Decoder,
    fields,
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
    rdp_cookie: Option<Spanned<String>>,
    all_backups: Option<bool>,
    abort_on_close: Option<Spanned<bool>>,
    pub(super) fullconn: Option<Spanned<u32>>,
    name_header: Option<Spanned<HeaderName>>,
    source: Option<SocketAddr>,
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
        source: source(d, table),
    }
}

/// `source`: an address of this host, perhaps with a port.
pub(super) fn source(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<SocketAddr> {
    let e = table.take("source")?;
    let read = d.parsed(&e.value, "`source`", |text| {
        if let Some(ip) = address::ip(text) {
            return Ok((ip, 0).into());
        }
        address::endpoint(text)
    });
    read.map(|address| address.value)
}

impl ConnectionsDraft {
    /// Where connections to its servers come from, where they do not say so themselves.
    pub(super) fn source(&self, defaults: &Self) -> Option<SocketAddr> {
        self.source.or(defaults.source)
    }

    /// Where keys stand that are about requests.
    pub(super) fn of_requests(&self) -> impl Iterator<Item = (super::source::Span, &'static str)> {
        let never = self.never_shared.map(|key| (key.span, "http_reuse"));
        let persist = self.persist.map(|key| (key.span, "persist"));
        let name = self.name_header.as_ref();
        let name = name.map(|key| (key.span, "send_name_header"));
        let leave = self.abort_on_close.map(|key| (key.span, "abort_on_close"));
        never.into_iter().chain(persist).chain(name).chain(leave)
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
            never_shared: value(self.never_shared, defaults.never_shared),
            persist: value(self.persist, defaults.persist),
            rdp_cookie: (self.rdp_cookie.clone())
                .or_else(|| defaults.rdp_cookie.clone())
                .filter(|_| !http)
                .map(|name| name.value),
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
