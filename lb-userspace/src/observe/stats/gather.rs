//! From the running model to rows. Which columns a kind of row leaves empty is HAProxy's choice, kept because scrapers
//! rely on it.

use std::{borrow::Cow, time::Duration};

use super::{
    process::Process,
    row::Row,
    snapshot::{BackendStats, FrontendStats, KernelShare, Member, seconds},
};
use crate::{
    config::model::Mode,
    observe::path::{PathKind, PathStatus},
    topology::{
        Backend, Clock, Frontend, Server,
        counters::{HttpCounters, KernelTraffic, Times},
    },
};

/// `type` of a frontend's row.
const TYPE_FRONTEND: u64 = 0;
/// `type` of a backend's row.
const TYPE_BACKEND: u64 = 1;
/// `type` of a server's row.
const TYPE_SERVER: u64 = 2;

/// A frontend's figures.
pub(super) fn frontend(
    frontend: &Frontend,
    path: &PathStatus,
    clock: &Clock,
    process: &Process,
) -> FrontendStats {
    let now = clock.now_ms();
    let counters = &frontend.counters;
    let kernel = share(&counters.kernel);
    let current = u64::from(frontend.current()) + kernel.active;
    counters.max_current.raise(current);
    let limit = frontend.maxconn().or(process.maxconn());
    let status = if process.is_stopping() {
        "STOP"
    } else if let Some(word) = frontend.gate().word() {
        word
    } else if limit.is_some_and(|limit| frontend.current() >= limit) {
        "FULL"
    } else {
        "OPEN"
    };
    let connections = counters.connections.value() + kernel.connections;
    let rate = Some(counters.connection_rate.per_second(now));
    let rate_max = Some(counters.connection_rate.max());
    let mut row = Row {
        pxname: text(&frontend.name),
        svname: Some("FRONTEND".into()),
        scur: Some(current),
        smax: Some(counters.max_current.value()),
        slim: limit.map(u64::from),
        stot: Some(connections),
        bin: Some(counters.bytes_in.value() + kernel.bytes_in),
        bout: Some(counters.bytes_out.value() + kernel.bytes_out),
        dreq: Some(counters.denied_requests.value()),
        dresp: Some(counters.denied_responses.value()),
        ereq: Some(counters.request_errors.value()),
        status: Some(status.into()),
        pid: Some(1),
        iid: Some(frontend.config.id.into()),
        sid: Some(0),
        r#type: Some(TYPE_FRONTEND),
        rate,
        rate_lim: Some(u64::from(frontend.config.accepting.rate.unwrap_or(0))),
        rate_max,
        mode: Some(mode(frontend.config.mode)),
        req_rate: Some(counters.http.request_rate.per_second(now)),
        req_rate_max: Some(counters.http.request_rate.max()),
        req_tot: Some(counters.http.requests.value()),
        conn_rate: rate,
        conn_rate_max: rate_max,
        conn_tot: Some(connections),
        dcon: Some(0),
        dses: Some(counters.denied_sessions.value()),
        ssl_sess: Some(counters.tls_sessions.value()),
        ssl_reused_sess: Some(counters.reused_tls_sessions.value()),
        ssl_failed_handshake: Some(counters.failed_handshakes.value()),
        wrew: Some(0),
        eint: Some(0),
        ..no_compression()
    };
    if frontend.config.mode == Mode::Http {
        responses(&mut row, &counters.http);
        row.intercepted = Some(counters.intercepted.value());
        row.cache_lookups = Some(0);
        row.cache_hits = Some(0);
    }
    let (path, path_reason) = match path.of(&frontend.name) {
        Some(known) => (known.path, known.reason.clone()),
        None if frontend.config.mode == Mode::Http => (PathKind::Userspace, "mode http".to_owned()),
        None => (
            PathKind::Userspace,
            "the fast path is not attached".to_owned(),
        ),
    };
    FrontendStats {
        row,
        binds: frontend
            .config
            .binds
            .iter()
            .map(|bind| bind.text.clone())
            .collect(),
        path,
        path_reason,
        kernel,
        history: None,
    }
}

/// A backend's figures and its servers'.
pub(super) fn backend(backend: &Backend, clock: &Clock) -> BackendStats {
    let now = clock.now_ms();
    let iid = u64::from(backend.config.id);
    let servers: Vec<Member> = backend
        .servers
        .iter()
        .map(|server| self::server(backend, server, iid, now))
        .collect();
    let kernel = servers
        .iter()
        .map(|member| member.kernel)
        .fold(KernelShare::default(), add);
    let counters = &backend.counters;
    let (active, backups) = backend.servers_up();
    let current = u64::from(backend.current()) + kernel.active;
    counters.max_current.raise(current);
    let weight: u64 = backend
        .servers_in_use()
        .map(|server| u64::from(server.effective_weight()))
        .sum();
    let up = backend.is_up() || backend.servers.is_empty();
    let mut row = Row {
        pxname: text(&backend.name),
        svname: Some("BACKEND".into()),
        qcur: Some(u64::from(backend.queue.len())),
        qmax: Some(backend.queue.max()),
        scur: Some(current),
        smax: Some(counters.max_current.value()),
        stot: Some(counters.connections.value() + kernel.connections),
        bin: Some(counters.bytes_in.value() + kernel.bytes_in),
        bout: Some(counters.bytes_out.value() + kernel.bytes_out),
        dreq: Some(counters.denied_requests.value()),
        dresp: Some(counters.denied_responses.value()),
        econ: Some(counters.connect_errors.value()),
        eresp: Some(counters.response_errors.value()),
        wretr: Some(counters.retries.value()),
        wredis: Some(counters.redispatches.value()),
        status: Some(if up { "UP" } else { "DOWN" }.into()),
        weight: Some(weight),
        act: Some(number(active)),
        bck: Some(number(backups)),
        chkdown: Some(counters.times_down.value()),
        lastchg: Some(since(now, backend.last_change_ms())),
        pid: Some(1),
        iid: Some(iid),
        sid: Some(0),
        lbtot: Some(counters.balanced.value() + kernel.connections),
        r#type: Some(TYPE_BACKEND),
        rate: Some(counters.connection_rate.per_second(now)),
        rate_max: Some(counters.connection_rate.max()),
        cli_abrt: Some(counters.client_aborts.value()),
        srv_abrt: Some(counters.server_aborts.value()),
        lastsess: Some(last_session(
            now,
            backend
                .servers
                .iter()
                .filter_map(|server| server.last_session_ms())
                .max(),
        )),
        cookie: backend
            .config
            .cookie
            .as_ref()
            .and_then(|cookie| text(&cookie.name)),
        mode: Some(mode(backend.config.mode)),
        algo: Some(backend.config.balance.name().into()),
        wrew: Some(0),
        eint: Some(0),
        uweight: Some(weight),
        ..no_compression()
    };
    times(&mut row, &counters.times);
    let of_servers = backend.servers.iter().map(|server| connects(server));
    let (made, spared) = of_servers.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    (row.connect, row.reuse) = (Some(made), Some(spared));
    if backend.config.mode == Mode::Http {
        responses(&mut row, &counters.http);
    }
    BackendStats {
        forward: (backend.config.mode == Mode::Tcp).then_some(backend.config.forward.name().into()),
        own: Member { row, kernel },
        servers,
        history: None,
    }
}

fn server(backend: &Backend, server: &Server, iid: u64, now: u64) -> Member {
    let counters = &server.counters;
    let kernel = share(&counters.kernel);
    let current = u64::from(server.active());
    counters.max_current.raise(current);
    let mut row = Row {
        pxname: text(&backend.name),
        svname: text(&server.name),
        qcur: Some(u64::from(server.queue.len())),
        qmax: Some(server.queue.max()),
        scur: Some(current),
        smax: Some(counters.max_current.value()),
        slim: server.maxconn().map(u64::from),
        qlimit: server.config.max_queue.map(u64::from),
        stot: Some(counters.connections.value() + kernel.connections),
        bin: Some(counters.bytes_in.value() + kernel.bytes_in),
        bout: Some(counters.bytes_out.value() + kernel.bytes_out),
        dresp: Some(counters.denied_responses.value()),
        econ: Some(counters.connect_errors.value()),
        eresp: Some(counters.response_errors.value()),
        wretr: Some(counters.retries.value()),
        wredis: Some(counters.redispatches.value()),
        status: Some(server.status().into()),
        // One that takes nobody new reads the weight that it will come back with.
        weight: Some(u64::from(server.current_weight())),
        throttle: server.throttle().map(u64::from),
        tracked: server.tracked().map(Into::into),
        act: Some(u64::from(!server.config.backup)),
        bck: Some(u64::from(server.config.backup)),
        lastchg: Some(since(now, server.last_change_ms())),
        pid: Some(1),
        iid: Some(iid),
        sid: Some(u64::from(server.id)),
        lbtot: Some(counters.balanced.value() + kernel.connections),
        r#type: Some(TYPE_SERVER),
        rate: Some(counters.connection_rate.per_second(now)),
        rate_max: Some(counters.connection_rate.max()),
        cli_abrt: Some(counters.client_aborts.value()),
        srv_abrt: Some(counters.server_aborts.value()),
        lastsess: Some(last_session(now, server.last_session_ms())),
        addr: Some(match server.address().inet() {
            Some(address) => address.to_string().into(),
            None if server.config.address.is_name() => "".into(),
            None if server.config.address.asked().is_some() => {
                server.config.address.to_string().into()
            }
            None => "unix".into(),
        }),
        cookie: server.config.cookie.as_deref().and_then(text),
        mode: Some(mode(backend.config.mode)),
        wrew: Some(0),
        eint: Some(0),
        used_conn_cur: Some(u64::from(server.userspace_active())),
        uweight: Some(u64::from(server.weight())),
        ..Row::default()
    };
    times(&mut row, &counters.times);
    if backend.config.mode == Mode::Http {
        responses(&mut row, &counters.http);
    }
    check(&mut row, server, now);
    agent(&mut row, server);
    (row.connect, row.reuse) = (Some(connects(server).0), Some(connects(server).1));
    Member { row, kernel }
}

/// The columns of a server that is checked.
fn check(row: &mut Row, server: &Server, now: u64) {
    let Some(health) = server.health() else {
        return;
    };
    row.chkfail = Some(server.counters.checks_failed.value());
    let observed = server.observe().is_some();
    row.hanafail = observed.then(|| server.counters.observed_failures.value());
    row.chkdown = Some(server.counters.times_down.value());
    row.downtime = Some(seconds(server.downtime(now)));
    row.check_rise = Some(u64::from(health.rise));
    row.check_fall = Some(u64::from(health.fall));
    row.check_health = Some(u64::from(health.level));
    match server.last_check() {
        Some(result) => {
            row.check_status = Some(result.status.name().into());
            row.check_code = result.code.map(u64::from);
            row.check_duration = Some(millis(result.duration));
            row.check_desc = Some(result.status.description().into());
            row.last_chk = text(&result.info).filter(|info| !info.is_empty());
        }
        // HAProxy's word for "no result yet".
        None => row.check_status = Some("INI".into()),
    }
}

/// The columns of a server that has an agent.
fn agent(row: &mut Row, server: &Server) {
    if server.config.agent_check.is_none() || !server.agent_enabled() {
        return;
    }
    // One word of it is enough.
    row.agent_rise = Some(1);
    row.agent_fall = Some(1);
    row.agent_health = Some(u64::from(!server.is_down_by_agent()));
    match server.last_agent() {
        Some(result) => {
            row.agent_status = Some(result.status.name().into());
            row.agent_code = result.code.map(u64::from);
            row.agent_duration = Some(millis(result.duration));
            row.agent_desc = Some(result.status.description().into());
            row.last_agt = text(&result.info).filter(|info| !info.is_empty());
        }
        None => row.agent_status = Some("INI".into()),
    }
}

/// Attempts to connect to a server, and how often that was not necessary.
fn connects(server: &Server) -> (u64, u64) {
    let counters = &server.counters;
    let (sessions, made) = (counters.connections.value(), counters.connects.value());
    let kernel = counters.kernel.connections.value();
    (made + kernel, sessions.saturating_sub(made))
}

fn responses(row: &mut Row, http: &HttpCounters) {
    let [r1, r2, r3, r4, r5, other] = http.responses();
    row.hrsp_1xx = Some(r1);
    row.hrsp_2xx = Some(r2);
    row.hrsp_3xx = Some(r3);
    row.hrsp_4xx = Some(r4);
    row.hrsp_5xx = Some(r5);
    row.hrsp_other = Some(other);
    row.req_tot = Some(http.requests.value());
}

fn times(row: &mut Row, times: &Times) {
    row.qtime = Some(times.queue.mean());
    row.ctime = Some(times.connect.mean());
    row.rtime = Some(times.response.mean());
    row.ttime = Some(times.total.mean());
    row.qtime_max = Some(times.queue.max());
    row.ctime_max = Some(times.connect.max());
    row.rtime_max = Some(times.response.max());
    row.ttime_max = Some(times.total.max());
}

/// HAProxy says 0, not nothing, where compression is off.
fn no_compression() -> Row {
    Row {
        comp_in: Some(0),
        comp_out: Some(0),
        comp_byp: Some(0),
        comp_rsp: Some(0),
        ..Row::default()
    }
}

fn share(kernel: &KernelTraffic) -> KernelShare {
    KernelShare {
        active: kernel.active.value(),
        connections: kernel.connections.value(),
        bytes_in: kernel.bytes_in.value(),
        bytes_out: kernel.bytes_out.value(),
        packets_in: kernel.packets_in.value(),
        packets_out: kernel.packets_out.value(),
    }
}

fn add(a: KernelShare, b: KernelShare) -> KernelShare {
    KernelShare {
        active: a.active + b.active,
        connections: a.connections + b.connections,
        bytes_in: a.bytes_in + b.bytes_in,
        bytes_out: a.bytes_out + b.bytes_out,
        packets_in: a.packets_in + b.packets_in,
        packets_out: a.packets_out + b.packets_out,
    }
}

fn mode(mode: Mode) -> Cow<'static, str> {
    match mode {
        Mode::Tcp => "tcp",
        Mode::Http => "http",
    }
    .into()
}

/// Seconds from `then` to `now`, both in milliseconds.
fn since(now: u64, then: u64) -> u64 {
    now.saturating_sub(then) / 1000
}

fn last_session(now: u64, last: Option<u64>) -> i64 {
    last.map_or(-1, |last| {
        i64::try_from(since(now, last)).unwrap_or(i64::MAX)
    })
}

fn text(value: &str) -> Option<Cow<'static, str>> {
    Some(value.to_owned().into())
}

fn number(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
