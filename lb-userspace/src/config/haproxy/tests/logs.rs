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
fn each_proxy_has_what_it_says() {
    let (one, two) = (
        " log 192.0.2.8 local0\n",
        " log 192.0.2.9 local1 info err\n",
    );
    let logs = |global: &str, a: &str, c: &str| -> Vec<String> {
        let (yaml, said) = imported(&text(global, a, c));
        assert_eq!(said, [""; 0], "{yaml}");
        let lines = yaml.lines().map(str::trim);
        let logs = lines.filter(|line| line.contains("log:") || line.contains("target:"));
        logs.map(str::to_owned).collect()
    };
    let (eight, nine) = (
        "- { target: \"udp://192.0.2.8\" }",
        "- { target: \"udp://192.0.2.9\", facility: local1, level: info, min_level: err }",
    );
    assert_eq!(
        logs("", one, two),
        ["log:", eight, "log:", nine, "log: false"]
    );
    let both = format!(" log global\n{two}");
    assert_eq!(
        logs(one, &both, " log global\n"),
        ["log:", eight, "log:", nine, "log: false"],
    );
    let shared = format!("{one}defaults\n{two}");
    assert_eq!(
        logs(&shared, "", " no log\n log global\n"),
        ["log:", eight, "log:", nine, "log: true"]
    );
}

#[test]
fn words_of_a_target_are_kept() {
    let of = |line: &str| {
        let (yaml, said) = imported(&text(
            &format!(" {line}\n"),
            " log global\n",
            " log global\n",
        ));
        let found = yaml.lines().find(|line| line.contains("target:"));
        found.map_or(said.join("\n"), |line| line.trim().to_owned())
    };
    for (line, yaml) in [
        (
            "log stdout format raw local0 info",
            "- { target: stdout, format: raw, level: info }",
        ),
        ("log stderr local0", "- { target: stderr, format: local }"),
        (
            "log fd@4 format short daemon",
            "- { target: \"fd@4\", format: short, facility: daemon }",
        ),
        ("log /dev/log local0", "- { target: \"unix:/dev/log\" }"),
        (
            "log tcp@192.0.2.1:601 len 8192 format rfc5424 local2",
            "- { target: \"tcp://192.0.2.1:601\", len: 8192, format: rfc5424, facility: local2 }",
        ),
        (
            "log udp4@192.0.2.1:514 sample 1-3,5:8 local2",
            "- { target: \"udp://192.0.2.1:514\", sample: \"1-3,5:8\", facility: local2 }",
        ),
    ] {
        assert_eq!(of(line), yaml, "{line}");
    }
    assert!(
        of("log 192.0.2.1").contains("`log` without a facility"),
        "{}",
        of("log 192.0.2.1")
    );
}

#[test]
fn tags_and_the_hosts_name_are_carried_over() {
    let config = reread(&text(
        " log 192.0.2.1 local0\n log-tag edge\n log-send-hostname gate\n",
        " log global\n log-tag a\n",
        " log global\n",
    ));
    let of = |target: &crate::config::model::LogTarget| {
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        (text(&target.tag), text(&target.host))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(&config.global.log[0]), (some("edge"), some("gate")));
    // The backend's is silent.
    let own: Vec<_> = config
        .logs
        .iter()
        .flat_map(|log| &log.targets)
        .map(of)
        .collect();
    assert_eq!(own, [(some("a"), some("gate"))]);
}
