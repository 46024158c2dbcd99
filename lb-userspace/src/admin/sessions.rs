//! `show sess` and `shutdown session`: the connections of clients that userspace serves, and who asks.

use std::{fmt::Write, time::SystemTime};

use super::operate;
use crate::{
    config::model::Mode,
    observe::{
        log::clock::Calendar,
        sessions::{Question, Session, Sessions},
        stats::Sources,
    },
};

/// The answer to a command about sessions; `None` if it is none.
pub(super) async fn answer(
    sources: &Sources,
    sessions: &Sessions,
    words: &[&str],
) -> Option<Result<String, String>> {
    Some(match *words {
        ["show", "sess", ref rest @ ..] => show(sessions, rest.first().copied()).await,
        ["shutdown", "session", ref rest @ ..] => shut_down(sessions, rest.first()).await,
        ["shutdown", "sessions", "server", ref rest @ ..] => {
            match operate::find(sources, rest.first()) {
                Err(complaint) => Err(complaint),
                Ok((backend, server)) => {
                    // Those of the kernel path and of UDP, then those that are connections here.
                    backend.shut_down(&server);
                    let question = Question::KillAt {
                        backend: backend.name.to_string(),
                        server: server.name.to_string(),
                    };
                    sessions.ask(&question).await;
                    Ok(String::new())
                }
            }
        }
        _ => return None,
    })
}

/// `0x1401` as it is shown; HAProxy takes it without the prefix too.
fn id(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

async fn show(sessions: &Sessions, wanted: Option<&str>) -> Result<String, String> {
    let found = sessions.ask(&Question::All).await;
    let mut out = String::new();
    match wanted.map(|word| (word, id(word))) {
        Some(("all", _)) => {
            found.iter().for_each(|session| whole(&mut out, session));
            whole_own(&mut out);
        }
        Some((_, Some(id))) => {
            let session = found.iter().find(|session| session.id == id);
            match (session, id) {
                (Some(session), _) => whole(&mut out, session),
                (None, OWN) => whole_own(&mut out),
                // HAProxy's answer ends here, as any other.
                (None, _) => out.push_str("Session not found.\n"),
            }
        }
        _ => {
            for session in &found {
                line(&mut out, session);
            }
            // Who asks.
            let _ = writeln!(
                out,
                "{OWN:#x}: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 age=0s calls=1 rate=1 cpu=0 lat=0 {QUIET} exp=10s rc=0 c_exp="
            );
        }
    }
    Ok(out)
}

/// What the asking connection is called: none of a worker's.
const OWN: u64 = 0x100;
/// Flags of buffers, which lb has not.
const QUIET: &str = "rq[f=000000h,i=0,an=00h,rx=,wx=,ax=] rp[f=000000h,i=0,an=00h,rx=,wx=,ax=] scf=[8,0h,fd=-1] scb=[8,0h,fd=-1]";

fn proto(session: &Session) -> &'static str {
    match session.peer.inet() {
        None => "unix_stream",
        Some(address) if address.is_ipv6() => "tcpv6",
        Some(_) => "tcpv4",
    }
}

/// `0x1401: proto=tcpv4 src=192.0.2.1:4711 fe=web be=web srv=w1 ts=00 epoch=0 age=3s …`
fn line(out: &mut String, session: &Session) {
    let (backend, server) = session
        .server
        .as_ref()
        .map_or(("<NONE>", "<none>"), |(backend, server)| (backend, server));
    // A String takes everything, here and below.
    let _ = writeln!(
        out,
        "{:#x}: proto={} src={} fe={} be={backend} srv={server} ts=00 epoch=0 age={} calls=1 rate=0 cpu=0 lat=0 {QUIET} exp= rc=0 c_exp=",
        session.id,
        proto(session),
        session.peer,
        session.frontend,
        age(session.age.as_secs()),
    );
}

fn whole(out: &mut String, session: &Session) {
    let mode = match session.mode {
        Mode::Tcp => "tcp",
        Mode::Http => "http",
    };
    let _ = writeln!(
        out,
        "{:#x}: [{}] id={} proto={} source={}\n  flags=0x0, conn_retries=0, conn_exp=<NEVER> conn_et=0x000 srv_conn=(nil), pend_pos=(nil) waiting=0 epoch=0",
        session.id,
        date(session.accepted_at),
        session.id,
        proto(session),
        session.peer,
    );
    let _ = writeln!(
        out,
        "  frontend={} (mode={mode}), thread={}",
        session.frontend, session.thread
    );
    match &session.server {
        Some((backend, server)) => {
            let _ = writeln!(out, "  backend={backend} (mode={mode})\n  server={server}");
        }
        None => out.push_str("  backend=<NONE> (id=-1 mode=-)\n  server=<NONE> (id=-1)\n"),
    }
    let _ = writeln!(out, "  task: age={}", age(session.age.as_secs()));
}

fn whole_own(out: &mut String) {
    let _ = writeln!(
        out,
        "{OWN:#x}: [{}] id=0 proto=unix_stream source=unix:1\n  frontend=GLOBAL (id=0 mode=tcp)\n  backend=<NONE> (id=-1 mode=-)\n  server=<NONE> (id=-1)",
        date(SystemTime::now()),
    );
}

/// `42s`, `3m12s`, `5h1m`, `2d3h`.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn date(at: SystemTime) -> String {
    let at = Calendar::local(at);
    format!("{}.{:06}", at.clf(), u32::from(at.millisecond) * 1000)
}

async fn shut_down(sessions: &Sessions, word: Option<&&str>) -> Result<String, String> {
    let word = word.ok_or("Session pointer expected (use 'show sess').")?;
    let id = id(word).ok_or("No such session (use 'show sess').")?;
    match sessions.ask(&Question::Kill(id)).await.is_empty() {
        true => Err("No such session (use 'show sess').".to_owned()),
        false => Ok(String::new()),
    }
}
