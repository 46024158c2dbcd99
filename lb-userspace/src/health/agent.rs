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

/// An agent's line is no longer than this: HAProxy's buffer.
const MOST: u64 = 16 * 1024;
/// So much of what an agent says is looked at and shown.
const SHOWN: usize = 1024;
/// HAProxy cuts the share of a weight here, for it has 256 at most.
const MOST_PERCENT: u16 = 25_600;

/// What an agent wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wish {
    /// Percent of the weight that the file gives.
    pub(super) percent: Option<u16>,
    /// Most connections; none for no bound.
    pub(super) maxconn: Option<Option<u32>>,
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
        while end(&line).is_none() && limited.read_buf(&mut line).await? > 0 {}
        std::io::Result::Ok(())
    };
    match timeout_at(deadline, answer).await {
        Err(_elapsed) => (Finding::new(CheckStatus::L7Tout), Wish::default()),
        // What had come before an error counts, if it is a line.
        Ok(_) => judge(&line),
    }
}

/// What an agent's answer is for a server that has no other check: one that says no state passes if it says anything.
pub(super) fn alone(status: CheckStatus, wish: &Wish) -> CheckStatus {
    match status {
        CheckStatus::Checked if *wish == Wish::default() => CheckStatus::L7Rsp,
        CheckStatus::Checked => CheckStatus::L7Ok,
        status => status,
    }
}

/// Where an agent's line ends.
fn end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'))
}

/// Reads an agent's line, which is done as HAProxy does it: of what says the same the last word counts, what is not understood
/// is told and left out, and of a line that breaks off nobody knows what it would have been.
fn judge(bytes: &[u8]) -> (Finding, Wish) {
    let line = end(bytes).and_then(|end| bytes.get(..end));
    let Some(line) = line.filter(|line| !line.contains(&0)) else {
        let info = match bytes {
            [] => "the agent said nothing".to_owned(),
            _ => format!("the agent's line has no end: {}", printed(bytes)),
        };
        let finding = Finding {
            info,
            ..Finding::new(CheckStatus::L7Rsp)
        };
        return (finding, Wish::default());
    };
    let text = printed(line);
    let (mut wish, mut state, mut odd) = (Wish::default(), None, None);
    let (mut rest, mut said) = (text.as_str(), "");
    let between = [' ', ','];
    loop {
        rest = rest.trim_start_matches(between);
        if let Some(reason) = rest.strip_prefix('#') {
            said = reason.trim();
            break;
        }
        let (word, after) = rest.split_once(between).unwrap_or((rest, ""));
        if word.is_empty() {
            break;
        }
        rest = after;
        let understood = match word.to_ascii_lowercase().as_str() {
            "up" => {
                state = Some((CheckStatus::L7Ok, word));
                true
            }
            "down" | "fail" | "stopped" => {
                state = Some((CheckStatus::L7Sts, word));
                true
            }
            lower => wish.understands(lower),
        };
        if !understood {
            odd.get_or_insert(word);
        }
    }
    let Some((status, word)) = state else {
        let finding = Finding {
            info: odd.map_or_else(String::new, |odd| format!("agent reports an error : {odd}")),
            ..Finding::new(CheckStatus::Checked)
        };
        return (finding, wish);
    };
    wish.says_state = true;
    let why = match odd {
        Some(odd) if said.is_empty() || status == CheckStatus::L7Ok => odd,
        _ => said,
    };
    let finding = Finding {
        status,
        code: Some(0),
        info: match why {
            "" => format!("via agent : {word}"),
            why => format!("via agent : {word} ({why})"),
        },
    };
    (finding, wish)
}

impl Wish {
    /// Whether `word` is one that does not say whether the server is up.
    fn understands(&mut self, word: &str) -> bool {
        match word {
            "ready" => self.admin = Some(AdminState::Ready),
            "drain" => self.admin = Some(AdminState::Drain),
            "maint" => self.admin = Some(AdminState::Maint),
            _ => {
                let (percent, most) = (word.strip_suffix('%'), word.strip_prefix("maxconn:"));
                if let Some(percent) = percent.and_then(number) {
                    self.percent = Some(u16::try_from(percent).unwrap_or(MOST_PERCENT));
                } else if let Some(most) = most.and_then(number) {
                    let most = u32::try_from(most).unwrap_or(u32::MAX);
                    self.maxconn = Some(Some(most).filter(|&most| most > 0));
                } else {
                    return false;
                }
            }
        }
        true
    }
}

/// A number of digits alone, however many.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// So that it can be shown, and split: blanks are spaces.
fn printed(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(SHOWN).map(|&byte| match byte {
        b' '..=b'~' => char::from(byte),
        b'\t' => ' ',
        _ => '?',
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (CheckStatus, String, Wish) {
        let (finding, wish) = judge(line.as_bytes());
        (finding.status, finding.info, wish)
    }

    fn wish(percent: Option<u16>, admin: Option<AdminState>, says_state: bool) -> Wish {
        Wish {
            percent,
            maxconn: None,
            admin,
            says_state,
        }
    }

    #[test]
    fn an_agents_words_are_haproxys() {
        let (up, none) = (CheckStatus::L7Ok, CheckStatus::Checked);
        let (down, drain) = (CheckStatus::L7Sts, Some(AdminState::Drain));
        let most = |maxconn| Wish {
            maxconn: Some(maxconn),
            ..Wish::default()
        };
        for (line, status, info, wished) in [
            ("up\n", up, "via agent : up", wish(None, None, true)),
            ("  UP\r", up, "via agent : UP", wish(None, None, true)),
            ("75%\r\n", none, "", wish(Some(75), None, false)),
            (
                "999999999999999999999%\n",
                none,
                "",
                wish(Some(25_600), None, false),
            ),
            (
                "ready,up 50%\t# fine\n",
                up,
                "via agent : up (fine)",
                wish(Some(50), Some(AdminState::Ready), true),
            ),
            ("DRAIN\n", none, "", wish(None, drain, false)),
            (
                "stopped 0% # disk full\n",
                down,
                "via agent : stopped (disk full)",
                wish(Some(0), None, true),
            ),
            ("50% 25% 20%\n", none, "", wish(Some(20), None, false)),
            (
                "up down\n",
                down,
                "via agent : down",
                wish(None, None, true),
            ),
            ("maxconn:30\n", none, "", most(Some(30))),
            ("MaxConn:0\n", none, "", most(None)),
            ("# up\n", none, "", Wish::default()),
            ("\n", none, "", Wish::default()),
        ] {
            assert_eq!(read(line), (status, info.to_owned(), wished), "{line:?}");
        }
    }

    #[test]
    fn odd_words_are_told_and_the_others_count() {
        let (up, none) = (CheckStatus::L7Ok, CheckStatus::Checked);
        let down = CheckStatus::L7Sts;
        for (line, status, info, wished) in [
            (
                "up hello\n",
                up,
                "via agent : up (hello)",
                wish(None, None, true),
            ),
            (
                "what up # fine\n",
                up,
                "via agent : up (what)",
                wish(None, None, true),
            ),
            (
                "down for repair\n",
                down,
                "via agent : down (for)",
                wish(None, None, true),
            ),
            (
                "down for repair # disk\n",
                down,
                "via agent : down (disk)",
                wish(None, None, true),
            ),
            (
                "foo 50%\n",
                none,
                "agent reports an error : foo",
                wish(Some(50), None, false),
            ),
            (
                "up 75%# fine\n",
                up,
                "via agent : up (75%#)",
                wish(None, None, true),
            ),
        ] {
            assert_eq!(read(line), (status, info.to_owned(), wished), "{line:?}");
        }
        for word in [
            "hello",
            "x%",
            "7.5%",
            "+5%",
            "-5%",
            "75",
            "failed",
            "\u{e4}",
            "maxconn:",
            "maxconn:x",
            "maxconn:-1",
            "maxconn:5%",
        ] {
            let (status, info, wished) = read(&format!("{word}\n"));
            assert_eq!((status, wished), (none, Wish::default()), "{word}");
            assert!(info.starts_with("agent reports an error : "), "{info}");
        }
    }

    #[test]
    fn a_line_that_breaks_off_says_nothing() {
        for line in ["", "up", "up 7", "up\0\n"] {
            let (status, _, wished) = read(line);
            assert_eq!(
                (status, wished),
                (CheckStatus::L7Rsp, Wish::default()),
                "{line}"
            );
        }
    }

    #[test]
    fn an_agent_alone_passes_if_it_says_anything() {
        let status = |line: &str| {
            let (finding, wish) = judge(line.as_bytes());
            alone(finding.status, &wish)
        };
        assert_eq!(status("75%\n"), CheckStatus::L7Ok);
        assert_eq!(status("hello 75%\n"), CheckStatus::L7Ok);
        assert_eq!(status("hello\n"), CheckStatus::L7Rsp);
        assert_eq!(status("down\n"), CheckStatus::L7Sts);
        assert_eq!(status("up"), CheckStatus::L7Rsp);
    }
}
