use std::time::Duration;

use super::{
    super::{csv, fixture},
    *,
};
use crate::{
    config::model::Balance,
    topology::{AdminState, Topology, fixtures},
};

// Rows of HAProxy 2.6's `show stat`, up to where the columns of its protocol modules begin.
const HTTP_FRONTEND: &str = "http-in,FRONTEND,,,0,1,100,5,252,1358,0,0,2,,,,,OPEN,,,,,,,,,1,2,0,,,,0,0,0,4,,,,0,1,0,3,1,0,,0,4,5,,,0,0,0,0,,,,,,,,,,,,,,,,,,,,,http,,0,4,5,0,0,0,0,,,0,0,,,,,,,0,,,,,,,,,";
const TCP_FRONTEND: &str = "tcp-in,FRONTEND,,,0,1,100,1,79,642,0,0,0,,,,,OPEN,,,,,,,,,1,5,0,,,,0,0,0,1,,,,,,,,,,,0,0,0,,,0,0,0,0,,,,,,,,,,,,,,,,,,,,,tcp,,0,1,1,,0,0,0,,,,,,,,,,,0,,,,,,,,,";
const HTTP_BACKEND: &str = "def,BACKEND,0,0,0,1,10,2,167,1141,0,0,,0,0,0,0,UP,1,1,0,,0,6,0,,1,3,0,,2,,1,0,,2,,,,0,1,0,1,0,0,,,,2,0,0,0,0,0,0,3,,,0,0,2,2,,,,,,,,,,,,,HA,http,roundrobin,,,,,,,0,2,0,0,0,,,0,0,3,3,0,,,,,1,0,0,0,";
const CHECKED_SERVER: &str = "def,s1,0,0,0,1,,2,167,1141,,0,,0,0,0,0,UP,1,1,0,0,0,6,0,,1,3,1,,2,,2,0,,2,L7OK,200,1,0,1,0,1,0,0,,,,2,0,0,,,,,3,,,0,0,2,2,,,,Layer7 check passed,,2,3,4,,,,127.0.0.1:19101,s1,http,,,,,,,,0,2,0,,,0,,0,0,3,3,0,0,0,0,1,1,,,,";
const UNCHECKED_SERVER: &str = "tdef,t1,0,0,0,1,,1,79,642,,0,,0,0,0,0,no check,1,1,0,,,22,,,1,6,1,,1,,2,0,,1,,,,,,,,,,,,,,0,0,,,,,18,,,0,0,0,1,,,,,,,,,,,,127.0.0.1:19101,,tcp,,,,,,,,0,1,0,,,0,,0,0,0,1,0,0,0,0,1,1,,,,";

/// What HAProxy fills in and nothing here measures.
const NOT_MEASURED: &[&str] = &[
    "cache_lookups",
    "cache_hits",
    "srv_icur",
    "idle_conn_cur",
    "safe_conn_cur",
    "need_conn_est",
    "agg_server_status",
    "agg_server_check_status",
    "agg_check_status",
];

fn row(snapshot: &super::super::Snapshot, proxy: &str, name: &str) -> Row {
    snapshot
        .rows()
        .find(|row| row.pxname.as_deref() == Some(proxy) && row.svname.as_deref() == Some(name))
        .expect("the row is there")
        .clone()
}

/// The columns where one of two lines has a value and the other has none.
fn differences(haproxy: &str, row: &Row) -> Vec<&'static str> {
    let table = csv::write([row]);
    // The fixture's one text with a comma.
    let ours = table
        .lines()
        .nth(1)
        .expect("a row")
        .replace("\"said, so\"", "said");
    let (ours, _modules) = ours.rsplit_once("-,").expect("the dash");
    assert_eq!(haproxy.split(',').count(), ours.split(',').count());
    Row::COLUMNS
        .iter()
        .zip(haproxy.split(',').zip(ours.split(',')))
        .filter(|(column, (haproxy, ours))| {
            let missing_by_design = ours.is_empty() && NOT_MEASURED.contains(column);
            haproxy.is_empty() != ours.is_empty() && !missing_by_design
        })
        .map(|(column, _)| *column)
        .collect()
}

#[test]
fn rows_fill_the_columns_that_haproxys_fill() {
    let snapshot = fixture::snapshot();
    let differ = |haproxy, proxy, name| differences(haproxy, &row(&snapshot, proxy, name));
    let none: [&str; 0] = [];
    assert_eq!(differ(HTTP_FRONTEND, "http-in", "FRONTEND"), none);
    assert_eq!(differ(TCP_FRONTEND, "tcp-in", "FRONTEND"), none);
    // A backend has no limit of its own (HAProxy shows `fullconn`), and how long it was down is not kept.
    assert_eq!(differ(HTTP_BACKEND, "web", "BACKEND"), ["slim", "downtime"]);
    // HAProxy's server had a check without a text of its own.
    assert_eq!(differ(CHECKED_SERVER, "web", "w1"), ["last_chk"]);
}

#[test]
fn a_server_that_is_not_checked_has_no_figures_of_checks() {
    let row = row(&fixture::snapshot(), "web", "w4");
    let extra: Vec<_> = differences(UNCHECKED_SERVER, &row)
        .into_iter()
        .filter(|column| !column.starts_with("hrsp_") && *column != "req_tot")
        .collect();
    assert!(extra.is_empty(), "{extra:?}");
    assert_eq!(row.status.as_deref(), Some("no check"));
}

#[test]
fn kernel_and_userspace_traffic_are_one_row() {
    let snapshot = fixture::snapshot();
    let frontend = row(&snapshot, "tcp-in", "FRONTEND");
    assert_eq!(frontend.stot, Some(901));
    assert_eq!(frontend.bin, Some(9_000_100));
    assert_eq!(frontend.scur, Some(20));
    let backend = row(&snapshot, "tcp_servers", "BACKEND");
    assert_eq!((backend.stot, backend.scur), (Some(900), Some(20)));
}

#[test]
fn an_agent_and_connections_have_their_columns() {
    let mut backend = fixtures::backend(
        "b",
        Balance::RoundRobin,
        vec![fixtures::server("s1", "192.0.2.1:80")],
    );
    backend.servers[0].agent_check = Some(fixtures::tcp_check());
    let topology = Topology::new(&fixtures::config(Vec::new(), vec![backend]));
    let b = topology.backend("b").expect("it is there");
    let own = || super::backend(b, &topology.clock).servers[0].row.clone();
    assert_eq!(own().agent_status.as_deref(), Some("INI"));
    b.servers[0].set_last_agent(&crate::topology::CheckResult {
        status: crate::topology::CheckStatus::L7Sts,
        code: None,
        duration: Duration::from_millis(3),
        info: "is being mended".into(),
        at: std::time::Instant::now(),
    });
    b.set_agent(&b.servers[0], false);
    let counters = &b.servers[0].counters;
    counters.connections.add(7);
    counters.connects.add(3);
    counters.kernel.connections.set(10);
    let row = own();
    assert_eq!(row.agent_status.as_deref(), Some("L7STS"));
    assert_eq!(row.last_agt.as_deref(), Some("is being mended"));
    assert_eq!(
        (row.agent_rise, row.agent_fall, row.agent_health),
        (Some(1), Some(1), Some(0))
    );
    assert_eq!((row.connect, row.reuse), (Some(13), Some(4)));
}

#[test]
fn states_read_as_haproxys() {
    let snapshot = fixture::snapshot();
    let status = |name| {
        row(&snapshot, "web", name)
            .status
            .expect("a status")
            .into_owned()
    };
    assert_eq!(
        ["w1", "w2", "w3", "w4", "w5"].map(status),
        ["UP", "DOWN", "DRAIN 1/3", "no check", "UP 1/3"]
    );
    let down = row(&snapshot, "web", "w2");
    assert_eq!(down.check_status.as_deref(), Some("L4CON"));
    assert_eq!(
        down.check_desc.as_deref(),
        Some("Layer4 connection problem")
    );
}

#[test]
fn a_slow_start_shows_in_weight_and_throttle() {
    let mut slow = fixtures::server("s", "192.0.2.1:80");
    (slow.weight, slow.slowstart) = (100, Some(Duration::from_secs(3600)));
    let backend = fixtures::backend("b", Balance::RoundRobin, vec![slow]);
    let topology = Topology::new(&fixtures::config(Vec::new(), vec![backend]));
    let backend = &topology.backends[0];
    let shown = || {
        let row = server(backend, &backend.servers[0], 2, 0).row;
        (row.throttle, row.weight, row.uweight)
    };
    assert_eq!(shown(), (None, Some(100), Some(100)));
    for admin in [AdminState::Maint, AdminState::Ready] {
        backend.set_admin(&backend.servers[0], admin);
    }
    assert_eq!(shown(), (Some(5), Some(5), Some(100)));
}
