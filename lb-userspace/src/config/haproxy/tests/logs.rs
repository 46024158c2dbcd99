//! Where lines go.

use super::{imported, reread};

const PROXIES: &str = "frontend a\n bind :80\n option tcplog\n default_backend b\n{a}frontend c\n bind :81\n option tcplog\n default_backend \
                       b\n{c}backend b\n server s 192.0.2.1:80\n";

fn text(global: &str, a: &str, c: &str) -> String {
    let proxies = PROXIES.replace("{a}", a).replace("{c}", c);
    format!("global\n maxconn 100\n{global}{proxies}")
}

#[test]
fn what_proxies_agree_on_is_what_global_would_say() {
    let one = " log 192.0.2.9 local1 notice\n";
    let config = reread(&text("", one, " log global\n"));
    let global = reread(&text(one, " log global\n", ""));
    assert_eq!(config.global.log, global.global.log);
    let off = |config: &crate::config::Config| {
        let all = config.frontends.iter();
        all.map(|f| f.log_options.off).collect::<Vec<_>>()
    };
    assert_eq!(off(&config), [false, true], "`log global` is nowhere there");
    assert_eq!(off(&global), [false, true]);
    assert_eq!(off(&reread(&text("", one, one))), [false, false]);
}

#[test]
fn what_they_do_not_agree_on_is_told() {
    let told = |global: &str, a: &str, c: &str| -> Vec<String> {
        let said = imported(&text(global, a, c)).1;
        said.into_iter()
            .filter(|line| line.contains("own `log` is left out"))
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect()
    };
    let (one, two) = (" log 192.0.2.8 local0\n", " log 192.0.2.9 local0\n");
    assert_eq!(told("", one, two), ["7:2", "12:2"]);
    assert_eq!(told(one, one, " log global\n"), [""; 0], "it is the same");
    assert_eq!(told(one, two, " log global\n"), ["8:2"]);
    let shared = format!("{one}defaults\n{two}");
    assert_eq!(told(&shared, "", ""), ["5:2"], "once");
}
