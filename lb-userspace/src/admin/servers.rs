//! `show servers state` and `show servers conn`: what tools read before they change servers.

use std::fmt::Write;

use crate::{
    config::model::Address,
    topology::{AdminState, Backend, CheckStatus, Server, Topology},
};

/// The version of `show servers state`.
const VERSION: u32 = 1;
/// Its columns.
const STATE: &str = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";
/// Those of `show servers conn`.
const CONN: &str = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb safe_nb idle_lim idle_cur idle_per_thr[0]\n";

/// Answers `show servers state [BACKEND]`.
///
/// # Errors
/// There is no such backend.
pub(super) fn state(topology: &Topology, wanted: Option<&str>) -> Result<String, String> {
    let mut out = format!("{VERSION}\n{STATE}");
    let now_ms = topology.clock.now_ms();
    for (iid, backend) in backends(topology, wanted)? {
        for server in &backend.servers {
            row(&mut out, iid, backend, server, now_ms);
        }
    }
    Ok(out)
}

/// The backends that are wanted, with their numbers.
fn backends<'a>(
    topology: &'a Topology,
    wanted: Option<&str>,
) -> Result<Vec<(u32, &'a Backend)>, String> {
    let all = topology
        .backends
        .iter()
        .map(|backend| (backend.config.id, &**backend));
    let found: Vec<_> = all
        .filter(|(_, backend)| wanted.is_none_or(|name| *backend.name == *name))
        .collect();
    match (wanted, found.is_empty()) {
        (Some(_), true) => Err("Can't find backend.".to_owned()),
        _ => Ok(found),
    }
}

fn row(out: &mut String, iid: u32, backend: &Backend, server: &Server, now_ms: u64) {
    let (check, agent) = (
        backend.config.check_of(&server.config),
        &server.config.agent_check,
    );
    let (check_at, agent_at) = (server.check_elsewhere(), server.agent_elsewhere());
    let fqdn = match &server.config.address {
        Address::Name(host, _) => host,
        _ => "-",
    };
    let service = server.service();
    let record = service.as_ref().map_or("-", |_| fqdn);
    let result = server.last_check();
    let own = |ip: Option<std::net::IpAddr>| ip.map_or_else(|| "-".to_owned(), |ip| ip.to_string());
    // A String takes everything.
    let _ = writeln!(
        out,
        "{iid} {} {} {} {} {} {} {} {} {} {} {} {} {} {} 0 0 {} {} {} {} {} {} {} {}",
        backend.name,
        server.id,
        server.name,
        host_of(server),
        op_state(server),
        admin_state(server),
        server.weight(),
        server.config.weight,
        now_ms.saturating_sub(server.last_change_ms()) / 1000,
        result.as_ref().map_or(
            match check {
                Some(_) => INITIAL,
                None => UNCHECKED,
            },
            |result| number_of(result.status)
        ),
        match (&result, check) {
            (Some(result), _) if result.status == CheckStatus::L7Okc => CONDITIONALLY,
            (Some(result), _) if result.status.passed() => PASSED,
            (Some(_), _) => FAILED,
            (None, _) => NOTHING,
        },
        match server.health() {
            _ if is_in_maintenance(server) => 0,
            Some(health) => health.level,
            None => UNCHECKED_HEALTH,
        },
        match check {
            Some(_) if server.checks_enabled() => CONFIGURED | ENABLED | paused(server),
            Some(_) => CONFIGURED | paused(server),
            None if server.is_disabled_by_file() => PAUSED,
            None => 0,
        },
        match agent {
            Some(_) if server.agent_enabled() => CONFIGURED | ENABLED | AGENT,
            Some(_) => CONFIGURED | AGENT,
            None => 0,
        },
        fqdn,
        server.address().port().unwrap_or(0),
        record,
        u8::from(server.config.tls.is_some()),
        check_at
            .port
            .or(check.and_then(|check| check.port))
            .unwrap_or(0),
        own(check_at.address.or(check.and_then(|check| check.address))),
        own(agent_at
            .address
            .or(agent.as_ref().and_then(|agent| agent.address))),
        agent_at
            .port
            .or(agent.as_ref().and_then(|agent| agent.port))
            .unwrap_or(0),
    );
}

/// HAProxy's bits of `srv_check_state` and `srv_agent_state`.
const CONFIGURED: u8 = 2;
const ENABLED: u8 = 4;
/// It does not check while the server is in maintenance.
const PAUSED: u8 = 8;
const AGENT: u8 = 16;
/// Its numbers of `srv_check_result`.
const NOTHING: u8 = 0;
const FAILED: u8 = 2;
const PASSED: u8 = 3;
const CONDITIONALLY: u8 = 4;
/// Its numbers of `srv_check_status` before the first check, and without one.
const UNCHECKED: u8 = 1;
const INITIAL: u8 = 1;

/// Its health of servers that are not checked: what `rise` is without a word of it.
const UNCHECKED_HEALTH: u32 = 2;

fn paused(server: &Server) -> u8 {
    if is_in_maintenance(server) { PAUSED } else { 0 }
}

fn is_in_maintenance(server: &Server) -> bool {
    server.admin() == AdminState::Maint || server.inherits_maint() || !server.is_resolved()
}

/// HAProxy's number of what a check found.
fn number_of(status: CheckStatus) -> u8 {
    match status {
        CheckStatus::Checked => 3,
        CheckStatus::SockErr => 4,
        CheckStatus::L4Ok => 6,
        CheckStatus::L4Tout => 7,
        CheckStatus::L4Con => 8,
        CheckStatus::L6Ok => 9,
        CheckStatus::L6Tout => 10,
        CheckStatus::L6Rsp => 11,
        CheckStatus::L7Tout => 12,
        CheckStatus::L7Rsp => 13,
        CheckStatus::L7Ok => 15,
        CheckStatus::L7Okc => 16,
        CheckStatus::L7Sts => 17,
        CheckStatus::Hana => 5,
    }
}

/// 0 stopped, 2 running, 3 stopping; a drained one runs.
fn op_state(server: &Server) -> u8 {
    match server.is_up() {
        false => 0,
        true if server.is_stopping() || server.inherits_stop() => 3,
        true => 2,
    }
}

/// 1 maintenance by command, 2 that of the server that it follows, 4 by the file, 8 drain by command, 16 that of the server that
/// it follows, 32 for want of an address.
fn admin_state(server: &Server) -> u8 {
    let admin = match server.admin() {
        AdminState::Ready => 0,
        AdminState::Drain => 8,
        AdminState::Maint if server.is_disabled_by_file() => 1 | 4,
        AdminState::Maint => 1,
    };
    admin
        | if server.inherits_maint() { 2 } else { 0 }
        | if server.inherits_drain() { 16 } else { 0 }
        | if server.is_resolved() { 0 } else { 32 }
}

/// The address alone; HAProxy has `-` for what has none.
fn host_of(server: &Server) -> String {
    let address = server.address();
    address.ip().map_or_else(
        || match &address {
            address if address.is_unix() => address.to_string(),
            _ => "-".to_owned(),
        },
        |ip| ip.to_string(),
    )
}

/// Answers `show servers conn [BACKEND]`. Idle connections are a thread's own and are not counted.
///
/// # Errors
/// There is no such backend.
pub(super) fn conn(topology: &Topology, wanted: Option<&str>) -> Result<String, String> {
    let mut out = CONN.to_owned();
    for (iid, backend) in backends(topology, wanted)? {
        for server in &backend.servers {
            let _ = writeln!(
                out,
                "{}/{} {iid}/{} {} {} - 0 {} {} {} 0 0 -1 0",
                backend.name,
                server.name,
                server.id,
                host_of(server),
                server.address().port().unwrap_or(0),
                server.active(),
                server.counters.max_current.value(),
                server.active(),
            );
        }
    }
    Ok(out)
}
