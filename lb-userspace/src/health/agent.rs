//! The check that asks an agent beside the server, in HAProxy's words: one line, such as `up 75%` or `drain # upgrade`.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{finding::Finding, tcp};
use crate::{
    config::model::Address,
    topology::{AdminState, CheckStatus},
    wire::dial::Origin,
};

/// An agent's line is no longer than this.
const MOST: u64 = 1024;

/// What an agent wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wish {
    /// Percent of the weight that the file gives.
    pub(super) percent: Option<u16>,
    /// Whether it is to have traffic.
    pub(super) admin: Option<AdminState>,
    /// Whether it said that the server is up, or down.
    pub(super) says_state: bool,
}

/// Asks the agent at `address`.
pub(super) async fn check(
    address: &Address,
    origin: Origin<'_>,
    send: &[u8],
    deadline: Instant,
) -> (Finding, Wish) {
    let mut stream = match tcp::connect(address, origin, deadline).await {
        Ok(stream) => stream,
        Err(finding) => return (finding, Wish::default()),
    };
    let mut line = Vec::new();
    let answer = async {
        stream.write_all(send).await?;
        let mut limited = (&mut stream).take(MOST);
        while !line.contains(&b'\n') && limited.read_buf(&mut line).await? > 0 {}
        std::io::Result::Ok(())
    };
    match timeout_at(deadline, answer).await {
        Err(_elapsed) => (Finding::new(CheckStatus::L7Tout), Wish::default()),
        // What had come before an error counts, if it is a line.
        Ok(_) => judge(&line),
    }
}

/// Reads an agent's line.
fn judge(line: &[u8]) -> (Finding, Wish) {
    let line = line
        .split(|&byte| matches!(byte, b'\n' | b'\r' | 0))
        .next()
        .unwrap_or_default();
    let text: String = line
        .iter()
        .map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            b'\t' => ' ',
            _ => '?',
        })
        .collect();
    let (words, said) = text.split_once('#').unwrap_or((&text, ""));
    let (mut wish, mut status, mut any) = (Wish::default(), CheckStatus::L7Ok, false);
    let words = words.split([' ', ',']).filter(|word| !word.is_empty());
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "up" => (status, wish.says_state) = (CheckStatus::L7Ok, true),
            "down" | "fail" | "failed" | "stopped" => {
                (status, wish.says_state) = (CheckStatus::L7Sts, true);
            }
            "ready" => wish.admin = Some(AdminState::Ready),
            "drain" => wish.admin = Some(AdminState::Drain),
            "maint" => wish.admin = Some(AdminState::Maint),
            word => match word.strip_suffix('%').map(str::parse) {
                Some(Ok(percent)) => wish.percent = Some(percent),
                _ => return (unreadable(&text), Wish::default()),
            },
        }
        any = true;
    }
    if !any {
        return (unreadable(&text), Wish::default());
    }
    let info = match status {
        CheckStatus::L7Ok => String::new(),
        _ => said.trim().to_owned(),
    };
    let finding = Finding {
        status,
        code: None,
        info,
    };
    (finding, wish)
}

fn unreadable(text: &str) -> Finding {
    Finding {
        status: CheckStatus::L7Rsp,
        code: None,
        info: text.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (CheckStatus, String, Wish) {
        let (finding, wish) = judge(line.as_bytes());
        (finding.status, finding.info, wish)
    }

    #[test]
    fn an_agents_words_are_haproxys() {
        let state = |percent, admin, says_state| Wish {
            percent,
            admin,
            says_state,
        };
        let wish = |percent, admin| state(percent, admin, false);
        let said = |percent, admin| state(percent, admin, true);
        let (ok, none) = (CheckStatus::L7Ok, String::new);
        assert_eq!(read("up\n"), (ok, none(), said(None, None)));
        assert_eq!(read("75%\r\n"), (ok, none(), wish(Some(75), None)));
        assert_eq!(
            read("ready, up 50% # fine\n"),
            (ok, none(), said(Some(50), Some(AdminState::Ready)))
        );
        assert_eq!(
            read("DRAIN"),
            (ok, none(), wish(None, Some(AdminState::Drain)))
        );
        assert_eq!(
            read("stopped 0% # disk full\n"),
            (CheckStatus::L7Sts, "disk full".into(), said(Some(0), None))
        );
    }

    #[test]
    fn what_an_agent_does_not_say_changes_nothing() {
        for line in [
            "", "\n", "hello", "x%", "up 7.5%", "99999%", "# up", "\u{e4}",
        ] {
            let (status, _, wish) = read(line);
            assert_eq!(
                (status, wish),
                (CheckStatus::L7Rsp, Wish::default()),
                "{line}"
            );
        }
    }
}
