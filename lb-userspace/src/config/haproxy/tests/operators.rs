//! `stats admin` and `stats socket`.

use super::{imported, reread};
use crate::config::{
    self,
    model::{AdminLevel, StatsAdmin},
};

#[test]
fn who_may_change_servers_is_read_where_it_comes_to_addresses() {
    let admin = |lines: &str| {
        let text =
            format!("listen stats\n    mode http\n    bind *:1080\n    stats enable\n{lines}");
        match reread(&text).stats.expect("it is there").admin {
            StatsAdmin::Nobody => "nobody".to_owned(),
            StatsAdmin::Everybody => "everybody".to_owned(),
            StatsAdmin::If(_) => "whoever a condition lets".to_owned(),
            StatsAdmin::From(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                list.join(" ")
            }
        }
    };
    assert_eq!(admin("    stats admin if TRUE\n"), "everybody");
    assert_eq!(admin("    stats admin unless FALSE\n"), "everybody");
    assert_eq!(admin("    stats admin if FALSE\n"), "nobody");
    assert_eq!(
        admin("    stats admin if LOCALHOST\n"),
        "127.0.0.0/8 ::1/128"
    );
    let named = "    acl ops src 192.0.2.0/24\n    acl ops src 198.51.100.7\n    stats admin if ops or LOCALHOST\n";
    assert_eq!(
        admin(named),
        "192.0.2.0/24 198.51.100.7/32 127.0.0.0/8 ::1/128"
    );
}

#[test]
fn a_page_that_asks_for_more_is_a_frontends() {
    let stats = |lines: &str| {
        let text =
            format!("listen page\n    mode http\n    bind *:1080\n    stats enable\n{lines}");
        let config = reread(&text);
        assert!(
            config.stats.is_none() && config.backends.is_empty(),
            "{lines}"
        );
        config.frontends[0].stats.clone().expect("it is there")
    };
    let page = stats("    stats admin if METH_GET\n");
    assert!(matches!(page.admin, StatsAdmin::If(_)));
    let page =
        stats("    stats http-request deny if METH_GET\n    stats scope .\n    stats scope x\n");
    assert!(!page.rules.is_empty());
    assert_eq!(
        page.shows.scope.as_deref(),
        Some(["page".to_owned(), "x".to_owned()].as_slice())
    );
    let two = "listen a\n mode http\n bind :1\n bind :2\n stats enable\n stats hide-version\n stats show-node n\n stats \
               show-desc of all\nlisten b\n mode http\n bind :3\n stats enable\n stats uri /b\n";
    let config = reread(two);
    let first = config.stats.expect("the first is the endpoint");
    assert_eq!(
        (first.binds.len(), first.uri.as_str()),
        (2, "/haproxy?stats")
    );
    assert!(first.shows.hide_version);
    assert_eq!(first.shows.node.as_deref(), Some("n"));
    assert_eq!(first.shows.description.as_deref(), Some("of all"));
    let second = config.frontends[0]
        .stats
        .as_ref()
        .map(|stats| stats.uri.as_str());
    assert_eq!(second, Some("/b"));
}

#[test]
fn no_password_of_a_page_is_left_out() {
    let text = "frontend f\n mode http\n bind :80\n stats enable\n stats auth a:b\n stats http-request allow if METH_GET\n";
    let (yaml, _) = imported(text);
    let read = config::parse("lb.yaml", &yaml, &|_| None);
    // HAProxy refuses it as well.
    let said = read.err().map(|found| found.to_string());
    let said = said.unwrap_or_default();
    assert!(said.contains("`rules` beside `auth`"), "{said}\n{yaml}");
}

#[test]
fn no_socket_is_open_to_more_than_it_was() {
    let text = |words: &str| {
        format!(
            "global\n    stats socket {words}\nlisten stats\n    mode http\n    bind 127.0.0.1:1080\n    stats enable\n"
        )
    };
    let config = reread(&text(
        "/run/a.sock mode 660 level admin name x severity-output number expose-fd listeners backlog 10 process 1 thread 1 maxconn 5 user www",
    ));
    let [socket] = config.global.admin_sockets.as_slice() else {
        panic!("{:?}", config.global.admin_sockets);
    };
    assert_eq!(socket.level, AdminLevel::Admin);
    assert_eq!(socket.permissions.mode, Some(0o660));
    assert_eq!(socket.permissions.user.as_deref(), Some("www"));
    for (words, place, what) in [
        (
            "*:9999 ssl crt x.pem verify required ca-file y.pem level admin",
            "2:25",
            "ssl",
        ),
        ("*:9999 accept-proxy", "2:25", "accept-proxy"),
        ("*:9999 level admin interface eth0", "2:37", "interface"),
        ("/run/a.sock expose-fd all", "2:30", "expose-fd"),
    ] {
        let (yaml, said) = imported(&text(words));
        assert_eq!(
            said,
            [format!(
                "{place} error: unsupported: `stats socket … {what}` has no counterpart in lb yet"
            )]
        );
        assert!(!yaml.contains("admin_socket"), "{yaml}");
    }
}
