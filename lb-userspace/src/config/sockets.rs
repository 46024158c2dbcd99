//! What is said of sockets beside their addresses: of a bind's, of clients' connections, and of those to servers.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{
    address,
    decode::Decoder,
    fields,
    model::{Address, Bind, Habits, KeepAlive, Sockets, Spoof, Transport},
    source::Span,
    table::Table,
    tree::{Entry, Kind},
    units::Problem,
};
use crate::rules::Edit;

/// Most that listen(2) takes.
const MOST_BACKLOG: u32 = i32::MAX as u32;
/// What a segment may be told to hold: tcp(7) takes no less and no more.
const SEGMENTS: std::ops::RangeInclusive<i32> = -32767..=32767;
/// Longest name of an interface.
const LONGEST_NAME: usize = 15;

/// Keys of a bind.
pub(super) fn of_bind(d: &mut Decoder<'_>, table: &mut Table<'_>, bind: &mut Bind) {
    let of_any = ["maxconn", "backlog"].map(|key| table.take(key));
    let of_tcp = [
        "mss",
        "user_timeout",
        "defer_accept",
        "fast_open",
        "interface",
        "transparent",
    ]
    .map(|key| table.take(key));
    let [maxconn, backlog] = of_any;
    let [
        mss,
        user_timeout,
        defer_accept,
        fast_open,
        interface,
        transparent,
    ] = of_tcp;
    bind.sockets = Sockets {
        maxconn: maxconn.and_then(|e| d.number(&e.value, "`maxconn`", 1..=u32::MAX)),
        backlog: backlog.and_then(|e| d.number(&e.value, "`backlog`", 1..=MOST_BACKLOG)),
        mss: mss.and_then(|e| Some(d.parsed(&e.value, "`mss`", segment)?.value)),
        user_timeout: user_timeout
            .and_then(|e| d.duration(&e.value, "`user_timeout`", Duration::from_millis(1))),
        defer_accept: flag(d, defer_accept),
        fast_open: flag(d, fast_open),
        interface: interface.and_then(|e| self::interface(d, e)),
        transparent: flag(d, transparent),
    };
    let mut of_any = of_any.into_iter().flatten();
    let mut of_tcp = of_tcp.into_iter().flatten();
    let wrong = match bind.transport {
        Transport::Udp => of_any.next().or(of_tcp.next()),
        Transport::Tcp if bind.address.is_unix() => of_tcp.next(),
        Transport::Tcp => None,
    };
    if let Some(e) = wrong {
        let message = format!("`{}` is for TCP, and `{}` is none", e.key, bind.text);
        d.error(e.key_span, message, "remove it");
    }
}

fn flag(d: &mut Decoder<'_>, entry: Option<&Entry>) -> bool {
    let read = entry.and_then(|e| d.boolean(&e.value, &format!("`{}`", e.key)));
    read.unwrap_or(false)
}

fn segment(text: &str) -> Result<i32, Problem> {
    let number = text.parse::<i32>().ok();
    number
        .filter(|size| SEGMENTS.contains(size) && !(0..88).contains(size))
        .ok_or_else(|| {
            Problem::new(
                format!("`{text}` is no size of a segment"),
                "write bytes from 88 to 32767, or below 0 how many fewer are sent",
            )
        })
}

/// The name of an interface.
pub(super) fn interface(d: &mut Decoder<'_>, e: &Entry) -> Option<Arc<str>> {
    let name = d.text(&e.value, "`interface`")?;
    if name.len() > LONGEST_NAME || name.contains(['/', ' ']) || name.is_empty() {
        let message = format!("`{name}` cannot be the name of an interface");
        d.error(
            e.value.span,
            message,
            "`ip link` has the names that there are",
        );
        return None;
    }
    Some(name.as_str().into())
}

/// `sockets` of a frontend or a backend.
pub(super) fn habits(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Habits {
    let Some(e) = table.take("sockets") else {
        return Habits::default();
    };
    let Some(mut inner) = d.table(&e.value, e.key_span, "`sockets`") else {
        return Habits::default();
    };
    let habits = Habits {
        keepalive: inner.take("keepalive").and_then(|e| keepalive(d, e)),
        resets: flag(d, inner.take("reset_on_close")),
        independent: flag(d, inner.take("independent_streams")),
    };
    inner.finish(d, &[], &[("linger", "it is `reset_on_close: true`")]);
    habits
}

/// `true`, or how often.
fn keepalive(d: &mut Decoder<'_>, e: &Entry) -> Option<KeepAlive> {
    if let Kind::Scalar(_) = e.value.kind {
        let on = d.boolean(&e.value, "`keepalive`")?;
        return on.then(KeepAlive::default);
    }
    let mut inner = d.table(&e.value, e.key_span, "`keepalive`")?;
    let second = Duration::from_secs(1);
    let time = |d: &mut Decoder<'_>, inner: &mut Table<'_>, key: &'static str| {
        let e = inner.take(key)?;
        d.duration(&e.value, &format!("`{key}`"), second)
    };
    let found = KeepAlive {
        idle: time(d, &mut inner, "idle"),
        interval: time(d, &mut inner, "interval"),
        // tcp(7): no more than that.
        count: inner
            .take("count")
            .and_then(|e| d.number(&e.value, "`count`", 1..=127)),
    };
    inner.finish(d, &[], &[]);
    Some(found)
}

/// `set_mark` and `set_tos` of rules: what is sent to the client.
pub(super) fn packets(d: &mut Decoder<'_>, table: &mut Table<'_>, found: &mut Vec<(Span, Edit)>) {
    let number = |most: u32| {
        move |text: &str| {
            let number = match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            };
            number.filter(|number| *number <= most).ok_or_else(|| {
                Problem::new(
                    format!("`{text}` is no number up to {most}"),
                    "write digits, or `0x` and hexadecimal ones",
                )
            })
        }
    };
    if let Some(e) = table.take("set_mark")
        && let Some(mark) = d.parsed(&e.value, "`set_mark`", number(u32::MAX))
    {
        d.registry.links_mut().socket = true;
        found.push((e.key_span, Edit::SetMark(mark.value)));
    }
    if let Some(e) = table.take("set_tos")
        && let Some(tos) = d.parsed(&e.value, "`set_tos`", number(255))
    {
        d.registry.links_mut().socket = true;
        found.push((e.key_span, Edit::SetTos(tos.value as u8)));
    }
}

/// What `source` says, if it says more than an address: the address, the interface and whose address it is instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) address: Option<SocketAddr>,
    pub(super) interface: Option<Arc<str>>,
    pub(super) spoof: Option<Spoof>,
}

/// `source`: an address of this host, perhaps with a port; or a mapping with `address`, `interface` and `as`.
pub(super) fn source(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Source> {
    let e = table.take("source")?;
    let read = |text: &str| match address::ip(text) {
        Some(ip) => Ok((ip, 0).into()),
        None => address::endpoint(text),
    };
    if let Kind::Scalar(_) = e.value.kind {
        let address = d.parsed(&e.value, "`source`", read)?;
        return Some(Source {
            address: Some(address.value),
            ..Source::default()
        });
    }
    let mut inner = d.table(&e.value, e.key_span, "`source`")?;
    let address = inner
        .take("address")
        .and_then(|e| d.parsed(&e.value, "`address`", read));
    let leaves_by = inner.take("interface").and_then(|e| interface(d, e));
    let spoof = inner.take("as").and_then(|e| {
        if let Kind::Scalar(_) = e.value.kind {
            let spoof = d.parsed(&e.value, "`as`", |text| match text {
                "client" => Ok(Spoof::Client),
                "client-address" => Ok(Spoof::ClientAddress),
                text => read(text).map(Spoof::Address).map_err(|_: Problem| {
                    Problem::new(
                        format!("`{text}` is nobody to speak as"),
                        "write `client`, `client-address`, an address or `{ header: NAME }`",
                    )
                }),
            })?;
            return Some(spoof.value);
        }
        let mut of = d.table(&e.value, e.key_span, "`as`")?;
        let name = match of.take("header") {
            Some(e) => {
                let name = d.text(&e.value, "`header`")?;
                fields::header_name(d, &name, e.value.span)
            }
            None => {
                d.missing(&of, "header", "write `{ header: X-Forwarded-For }`");
                None
            }
        };
        let which = of.take("occurrence").and_then(|e| {
            let read = |text: &str| match text.parse::<i32>() {
                Ok(which) if which != 0 && (-100..=100).contains(&which) => Ok(which),
                _ => Err(Problem::new(
                    format!("`{text}` is no occurrence"),
                    "write 1 for the first, -1 for the last",
                )),
            };
            Some(d.parsed(&e.value, "`occurrence`", read)?.value)
        });
        of.finish(d, &[], &[]);
        Some(Spoof::Field(name?, which.unwrap_or(-1)))
    });
    if inner.entries().is_empty() {
        let message = "`source` says nothing";
        d.error(e.key_span, message, "write an address, `interface` or `as`");
    }
    inner.finish(d, &[], &[("usesrc", "it is `as`")]);
    Some(Source {
        address: address.map(|address| address.value),
        interface: leaves_by,
        spoof,
    })
}

impl Source {
    /// The address of another family than a server's, from which it cannot be reached.
    pub(super) fn stranger_to(&self, server: &Address) -> Option<IpAddr> {
        let ip = server.ip()?;
        let spoofed = match &self.spoof {
            Some(Spoof::Address(address)) => Some(*address),
            _ => None,
        };
        let all = [self.address, spoofed].into_iter().flatten();
        all.map(|address| address.ip())
            .find(|address| address.is_ipv4() != ip.is_ipv4())
    }
}
