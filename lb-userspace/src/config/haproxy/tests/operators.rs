//! `stats admin`.

use super::reread;
use crate::config::model::StatsAdmin;

#[test]
fn who_may_change_servers_is_read_where_it_comes_to_addresses() {
    let admin = |lines: &str| {
        let text =
            format!("listen stats\n    mode http\n    bind *:1080\n    stats enable\n{lines}");
        match reread(&text).stats.expect("it is there").admin {
            StatsAdmin::Nobody => "nobody".to_owned(),
            StatsAdmin::Everybody => "everybody".to_owned(),
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
    assert_eq!(
        admin("    stats admin if METH_GET\n"),
        "nobody",
        "left out, with a warning"
    );
}
