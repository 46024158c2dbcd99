//! What packagers and editors take from the command line: completions, manual and schema.

use std::process::Command;

/// Every command, and words of some of them.
const COMMANDS: &[&str] = &[
    "run",
    "check",
    "import",
    "status",
    "top",
    "server",
    "flows",
    "deny",
    "trace",
    "health",
    "reload",
    "stop",
    "tune",
    "upgrade",
    "schema",
    "completions",
    "man",
];

fn lb(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lb"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn completions_and_manual_know_every_command() {
    let help = lb(&["--help"]);
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help");
    let mut listed: Vec<_> = listed.collect();
    let mut known = COMMANDS.to_vec();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known);
    for shell in ["bash", "zsh", "fish"] {
        let script = lb(&["completions", shell]);
        for word in COMMANDS.iter().chain(&["drain", "interval", "haproxy"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let manual = lb(&["man"]).replace("\\-", "-");
    for name in COMMANDS
        .iter()
        .chain(&["server drain", "deny add", "import haproxy"])
    {
        assert!(
            manual.contains(&format!("\n.SH \"lb {name}\"\n")),
            "{name}: {manual}"
        );
    }
    for other in ["lb-run(1)", "lb-server(1)"] {
        assert!(!manual.contains(other), "there is no page {other}");
    }
    assert!(manual.contains("\n.SH \"EXIT STATUS\"\n"));
    assert!(manual.contains("--interval"));
}

#[test]
fn the_schema_is_json() {
    let schema: serde_json::Value = serde_json::from_str(&lb(&["schema"])).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert!(
        schema["properties"]["backends"]["additionalProperties"]["properties"]["servers_from"]
            .is_object()
    );
}
