use super::*;
use crate::observe::stats::fixture;

#[test]
fn weights_answer_as_haproxys() {
    let sources = fixture::sources();
    for (command, expected) in [
        ("get weight web/w1", "1 (initial 1)\n\n"),
        (
            "set weight web/w1 0;get weight web/w1",
            "\n0 (initial 1)\n\n",
        ),
        ("set server web/w1 weight 50", "\n"),
        ("get weight web/w1", "50 (initial 1)\n\n"),
        (
            "set weight web/w1 100%; get weight web/w1",
            "\n1 (initial 1)\n\n",
        ),
        (
            "set weight web/w1 300",
            "Absolute weight can only be between 0 and 256 inclusive.\n\n",
        ),
        (
            "set weight web/w1 abc",
            "Empty weight string empty or preceded by garbage\n\n",
        ),
        ("set weight web/w1", "Require <weight> or <weight%>.\n\n"),
        (
            "set server web/w1 weight",
            "Require <weight> or <weight%>.\n\n",
        ),
        ("get weight x/y", "No such backend.\n\n"),
        ("get weight web/y", "No such server.\n\n"),
        ("get weight", "Require 'backend/server'.\n\n"),
        ("set server nope", "Require 'backend/server'.\n\n"),
    ] {
        assert_eq!(answer(&sources, command), expected, "{command}");
    }
}

#[test]
fn states_change_and_answer_an_empty_line() {
    let sources = fixture::sources();
    let admin = || {
        sources
            .topology()
            .server("web", "w1")
            .expect("it is there")
            .admin()
    };
    for (state, expected) in [
        ("drain", AdminState::Drain),
        ("maint", AdminState::Maint),
        ("ready", AdminState::Ready),
    ] {
        assert_eq!(
            answer(&sources, &format!("set server web/w1 state {state}")),
            "\n"
        );
        assert_eq!(admin(), expected);
    }
    assert_eq!(
        answer(&sources, "set server web/w1 state foo"),
        "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n"
    );
}

#[test]
fn stat_is_the_csv_and_takes_haproxys_filter() {
    let sources = fixture::sources();
    let lines = |command: &str| answer(&sources, command).lines().count();
    let (header, end) = (1, 1);
    assert_eq!(lines("show stat"), header + 2 + 3 + 6 + end);
    assert_eq!(lines("show stat -1 4 -1"), header + 7 + end);
    assert_eq!(lines("show stat web 6 -1"), header + 6 + end);
    assert_eq!(lines("show stat web 4 2"), header + 1 + end);
    assert_eq!(lines("@1 show stat 2 1 -1"), header + 1 + end);
    assert_eq!(answer(&sources, "show stat nope 1 1"), "No such proxy.\n\n");
}

#[test]
fn info_has_the_fields_that_tools_read() {
    let text = answer(&fixture::sources(), "show info");
    for name in [
        "Version",
        "Pid",
        "Uptime_sec",
        "Maxconn",
        "CurrConns",
        "Stopping",
    ] {
        let prefix = format!("{name}: ");
        assert!(
            text.lines().any(|line| line.starts_with(&prefix)),
            "{name}\n{text}"
        );
    }
    assert!(text.ends_with("\n\n"));
}

#[test]
fn an_unknown_command_is_told_what_there_is() {
    let sources = fixture::sources();
    let near = answer(&sources, "show nothing");
    assert!(near.starts_with("Unknown command, but maybe"), "{near}");
    assert!(near.contains("show stat") && !near.contains("get weight"));
    assert!(near.ends_with("\n\n") && !near.ends_with("\n\n\n"));
    assert!(answer(&sources, "bogus").contains("get weight"));
    assert_eq!(answer(&sources, " ; ;"), "");
}

#[test]
fn nothing_that_is_typed_panics() {
    let sources = fixture::sources();
    for line in [
        "\\",
        "\\;",
        "@",
        "@1",
        "set",
        "set server",
        "set server web/w1",
        "set weight /",
        "set weight web/w1 %",
        "set weight web/w1 99999999999999999999",
        "set weight web/w1 -1%",
        "show stat 1",
        "show stat é 1 1",
        "set weight web/w1 é",
        "help \u{0}",
    ] {
        answer(&sources, line);
    }
}
