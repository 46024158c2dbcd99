use super::*;
use crate::observe::{sessions::Sessions, stats::fixture};

/// What is answered to `text` by somebody who may do what `level` may, and says no more.
fn talk_as(level: AdminLevel, text: &[u8]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let answer = runtime.block_on(async {
        let (ours, theirs) = tokio::net::UnixStream::pair().expect("a pair");
        let wishes = tokio::sync::mpsc::unbounded_channel().0;
        let desk = Desk::new(fixture::sources(), wishes, Sessions::default(), Vec::new());
        let (mut reading, mut writing) = ours.into_split();
        let asking = async {
            // It may have answered and closed already.
            let _ = writing.write_all(text).await;
            drop(writing);
        };
        let mut answer = Vec::new();
        let (_serving, told) = watch::channel(Serving::Yes);
        let (_, _, read) = tokio::join!(
            serve(Box::new(theirs), &desk, (level, None), told),
            asking,
            reading.read_to_end(&mut answer)
        );
        read.expect("an answer");
        answer
    });
    String::from_utf8_lossy(&answer).into_owned()
}

fn talk(text: &str) -> String {
    talk_as(AdminLevel::Admin, format!("{text}\n").as_bytes())
}

#[test]
fn servers_answer_as_haproxys() {
    for (command, expected) in [
        ("get weight web/w1", "1 (initial 1)\n\n"),
        (
            "set weight web/w1 0;get weight web/w1",
            "\n0 (initial 1)\n\n",
        ),
        ("set server web/w1 weight 50", "\n"),
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
            "Empty weight string empty or preceded by garbage\n",
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
        (
            "set server web/w1 state",
            "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n",
        ),
        (
            "set server web/w1 health x",
            "'set server <srv> health' expects 'up', 'stopping', or 'down'.\n\n",
        ),
        (
            "set server web/w1 agent up",
            "agent checks are not enabled on this server.\n\n",
        ),
        (
            "set server web/w1 addr",
            "set server <b>/<s> addr requires an address and optionally a port.\n\n",
        ),
        (
            "set server web/w1 addr x",
            "Invalid addr 'x' by 'stats socket command'\n\n",
        ),
        ("set maxconn server web/w1", "Require <maxconn>.\n\n"),
        (
            "set maxconn server web/w1 x",
            "maxconn string empty or preceded by garbage\n",
        ),
        ("set maxconn frontend", "A frontend name is expected.\n\n"),
        ("set maxconn frontend x 1", "No such frontend.\n\n"),
        (
            "enable frontend http-in",
            "All sockets are already enabled.\n\n",
        ),
        (
            "disable frontend http-in;disable frontend http-in",
            "\nAll sockets are already disabled.\n\n",
        ),
        (
            "shutdown frontend http-in;enable frontend http-in",
            "\nFrontend was previously shut down, cannot enable.\n\n",
        ),
        (
            "set server web/w4 health down",
            "Health check was not configured on this server, so that it would never be up again: use 'set server <srv> state maint'.\n\n",
        ),
        ("show env NOPE_NOPE", "Variable not found\n\n"),
        ("show servers state nope", "Can't find backend.\n\n"),
        (
            "show cli level;operator;show cli level",
            "admin\n\n\noperator\n\n",
        ),
        ("set timeout cli x", "Invalid timeout value.\n\n"),
        (
            "expert-mode;expert-mode on;expert-mode",
            "expert-mode is OFF\n\n\nexpert-mode is ON\n\n",
        ),
        (
            "shutdown session 0x99",
            "No such session (use 'show sess').\n\n",
        ),
        ("@1 get weight web/w1", "1 (initial 1)\n\n"),
    ] {
        assert_eq!(talk(command), expected, "{command}");
    }
}

#[test]
fn a_prompt_goes_on_and_a_line_without_one_ends_it() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        talk("prompt\nshow version\n\nshow version;show version\nquit\nshow version"),
        format!("\n> {version}\n\n> \n> {version}\n\n> {version}\n\n> ")
    );
    // What was sent with the first line is answered, as HAProxy does.
    assert_eq!(
        talk("show version;\nshow version"),
        format!("{version}\n\n{version}\n\n")
    );
    assert_eq!(
        talk_as(AdminLevel::Admin, b"show version"),
        format!("{version}\n\n")
    );
    assert!(talk("prompt\nadd map x <<\na b\n\nquit").starts_with("\n> + Unknown map"));
}

#[test]
fn levels_say_who_may_what() {
    let denied = "Permission denied\n\n";
    for (level, command, permitted) in [
        (AdminLevel::User, "show env PATH", false),
        (AdminLevel::User, "show stat", true),
        (AdminLevel::User, "show info", true),
        (AdminLevel::User, "add map x a b", false),
        (AdminLevel::User, "set server web/w1 state ready", false),
        (AdminLevel::User, "show sess", false),
        (AdminLevel::Operator, "show sess", true),
        (AdminLevel::Operator, "clear counters", true),
        (AdminLevel::Operator, "clear counters all", false),
        (AdminLevel::Operator, "disable server web/w1", false),
        (AdminLevel::Operator, "reload", false),
        (
            AdminLevel::Operator,
            "@1 add server web/x 192.0.2.1:1",
            false,
        ),
        (AdminLevel::Admin, "user;disable server web/w1", false),
        (AdminLevel::Admin, "disable server web/w1", true),
    ] {
        let answer = talk_as(level, format!("{command}\n").as_bytes());
        assert_eq!(
            !answer.ends_with(denied),
            permitted,
            "{level} {command}: {answer}"
        );
    }
}

#[test]
fn an_unknown_command_is_told_its_likes() {
    let answer = talk("set maxconn nope");
    assert!(answer.starts_with(
        "Unknown command, but maybe one of the following ones is a better match:\n  set maxconn frontend <frontend> <value> : change"
    ));
    assert!(answer.ends_with("  quit                                    : disconnect\n\n"));
    assert!(
        talk("nope")
            .starts_with("Unknown command. Please enter one of the following commands only:\n")
    );
    assert!(talk("").starts_with("Unknown command. Please"));
}

#[test]
fn typed_and_json_are_read_by_haproxys_readers() {
    let typed = talk("show stat web 4 -1 typed");
    assert!(typed.contains(".pxname.1:KNS:str:web\n"), "{typed}");
    assert!(
        typed
            .lines()
            .filter(|line| !line.is_empty())
            .all(|line| line.starts_with("S."))
    );
    for command in ["show stat json", "show info json"] {
        let json: serde_json::Value = serde_json::from_str(talk(command).trim()).expect(command);
        assert!(!json.as_array().expect("an array").is_empty());
    }
    let info = talk("show info typed desc");
    assert!(
        info.starts_with("0.Name.1:POS:str:HAProxy:\"Whose commands these are\"\n"),
        "{info}"
    );
}

/// Whatever comes, it is answered or not, and nothing breaks.
#[test]
fn noise_is_survived() {
    let words = [
        "show",
        "set",
        "server",
        "web/w1",
        "add",
        "map",
        "acl",
        "table",
        "#0",
        "@1",
        "prompt",
        "<<",
        "stat",
        "-1",
        "9999999999999999999",
        "typed",
        "info",
        "clear",
        "counters",
        "weight",
        "%",
        "state",
        "addr",
        "port",
        "ssl",
        "cert",
        "errors",
        "sess",
        "\\",
        "commit",
        "prepare",
        "data.gpc0",
        "key",
        "help",
        "trace",
        "client",
        "flows",
        "ä\u{300}",
        "'",
        "\"",
        "state\0",
        "all",
        "maxconn",
        "global",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % most as u64) as usize
    };
    for _ in 0..300 {
        let mut text = Vec::new();
        for _ in 0..draw(12) {
            match draw(20) {
                0 => text.push(b'\n'),
                1 => text.push(b';'),
                2 => text.extend((0..draw(40)).map(|_| draw(256) as u8)),
                _ => text.extend_from_slice(words[draw(words.len())].as_bytes()),
            }
            text.push(b' ');
        }
        text.push(b'\n');
        // What it asks to be told little by little would take its time.
        if text.windows(5).any(|word| word == b"trace") {
            continue;
        }
        talk_as(AdminLevel::Admin, &text);
    }
    assert!(talk(&"x".repeat(20_000)).starts_with("The command is too long."));
    assert!(talk_as(AdminLevel::Admin, &[0xff; 100]).starts_with("Unknown command"));
    assert_eq!(talk_as(AdminLevel::Admin, b""), "");
}

/// Level, mode, values of each type and complaints are as HAProxy has them.
#[test]
fn variables_of_the_process_are_set_and_told() {
    let all = |lines: &str| talk_as(AdminLevel::Admin, lines.as_bytes());
    let restricted = "This command is restricted to experimental mode only.\n\n";
    assert_eq!(all("set var proc.x int(1)\n"), restricted);
    assert_eq!(all("get var proc.x\n"), "Variable not found.\n\n");
    let on = "experimental-mode on;set var ";
    let missing = "Missing process-wide variable identifier.\n\n";
    assert_eq!(all("get var\n"), missing);
    for (what, said) in [
        ("proc.x int(40),add(2)", "proc.x: type=sint value=<42>\n"),
        ("proc.x expr str(a)", "proc.x: type=str value=<a>\n"),
        (
            "proc.x fmt a\\ %[int(7)]%%",
            "proc.x: type=str value=<a 7%>\n",
        ),
        ("proc.x bool(true)", "proc.x: type=bool value=<1>\n"),
        ("proc.x ipv6(::1)", "proc.x: type=ipv6 value=<::1>\n"),
        ("proc.x bin(414200)", "proc.x: type=bin value=<AB>\n"),
    ] {
        let said = format!("\n\n{said}");
        assert_eq!(all(&format!("{on}{what};get var proc.x\n")), said, "{what}");
    }
    let foreign = "cannot set variable 'txn.x', only scope 'proc' is permitted here.\n";
    assert_eq!(
        all(&format!("{on}txn.x int(1)\n")),
        format!("\n'set var': {foreign}")
    );
    assert_eq!(
        talk_as(
            AdminLevel::Operator,
            b"experimental-mode on;set var proc.x int(1)\n"
        ),
        "Permission denied\n\nPermission denied\n\n"
    );
}

#[test]
fn a_command_waits_for_an_upgrade_and_is_left_to_the_next_process() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (ours, theirs) = tokio::net::UnixStream::pair().expect("a pair");
        let wishes = tokio::sync::mpsc::unbounded_channel().0;
        let desk = Desk::new(fixture::sources(), wishes, Sessions::default(), Vec::new());
        let (serving, told) = watch::channel(Serving::Yes);
        let (mut reading, mut writing) = ours.into_split();
        let conversation = tokio::spawn(async move {
            let caller = (AdminLevel::Admin, None);
            serve(Box::new(theirs), &desk, caller, told).await
        });
        let mut heard = String::new();
        let mut say = async |text: &str, until: &str| {
            writing.write_all(text.as_bytes()).await.expect("written");
            let mut buffer = [0; 256];
            while !heard.ends_with(until) {
                let length = reading.read(&mut buffer).await.expect("read");
                assert!(length > 0, "{heard:?}");
                heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
            std::mem::take(&mut heard)
        };
        say("prompt\n", "> ").await;
        // An upgrade that comes to nothing: the command has waited.
        serving.send_replace(Serving::NotNow);
        let waits = async {
            tokio::task::yield_now().await;
            serving.send_replace(Serving::Yes);
        };
        let (said, ()) = tokio::join!(say("get weight web/w1\n", "> "), waits);
        assert!(said.contains("1 (initial 1)"), "{said}");
        // One that does not.
        serving.send_replace(Serving::NotNow);
        let leaves = async {
            tokio::task::yield_now().await;
            serving.send_replace(Serving::Elsewhere);
        };
        let (said, ()) = tokio::join!(say("set weight web/w1 9\n", "\n\n"), leaves);
        assert!(said.ends_with(&format!("{ELSEWHERE}\n\n")), "{said}");
        conversation.await.expect("ended").expect("a good end");
    });
}
