//! The check that sends and looks at what comes, step by step.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, error::Elapsed, timeout_at},
};

use super::{
    body::contains,
    finding::Finding,
    memory::{Heard, Memory, shown, unhex},
    reach::Reach,
};
use crate::{
    config::model::{Content, Step},
    topology::CheckStatus,
};

/// A TLS client's hello, complete enough for any server to answer it, if only by an alert: TLS 1.2, a few suites, no
/// server name (RFC 5246, section 7.4.1.2).
const HELLO: &[u8] = &[
    22, 3, 1, 0, 73, // a handshake record
    1, 0, 0, 69, 3, 3, // client hello, TLS 1.2
    b'l', b'b', b' ', b'h', b'e', b'a', b'l', b't', b'h', b' ', b'c', b'h', b'e', b'c', b'k', 0, 1,
    2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // 32 bytes of random
    0,  // no session
    0, 10, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, 0, 0x2f, // suites
    1, 0, // no compression
    0, 18, // extensions
    0, 10, 0, 4, 0, 2, 0, 23, // groups: P-256
    0, 13, 0, 6, 0, 4, 4, 3, 4, 1, // signatures: ECDSA and RSA with SHA-256
];

/// A server that sends this much without what is expected is wrong.
const MOST: usize = 16 * 1024;

/// Goes through `steps` with the server.
pub(super) async fn check(
    reach: &Reach,
    steps: &[Step],
    memory: &mut Memory<'_>,
    deadline: Instant,
) -> Finding {
    match reach.connect(deadline).await {
        Ok(mut stream) => talk(&mut stream, steps, memory, deadline).await,
        Err(finding) => finding,
    }
}

async fn talk(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    steps: &[Step],
    memory: &mut Memory<'_>,
    deadline: Instant,
) -> Finding {
    let mut seen = Seen::default();
    for (number, step) in (1..).zip(steps) {
        let heard = seen.heard();
        let done = match step {
            Step::Set(setting) => {
                memory.set(setting, heard);
                continue;
            }
            Step::Send(bytes) => send(stream, bytes, deadline).await,
            Step::SendText(text) => {
                let bytes = memory.fill(text, heard);
                send(stream, &bytes, deadline).await
            }
            Step::SendHex(text) => match unhex(&memory.fill(text, heard)) {
                Some(bytes) => send(stream, &bytes, deadline).await,
                None => Ok(Err(Missed::Other(
                    "what is to be sent is no row of hexadecimal digits".into(),
                ))),
            },
            Step::Expect(content, terms) => {
                let content = memory.wanted(content).into_owned();
                let expected = expect(stream, &mut seen, &content, terms.least);
                timeout_at(deadline, expected).await
            }
        };
        let (status, info) = match done {
            Ok(Ok(())) => continue,
            Ok(Err(why)) => (CheckStatus::L7Rsp, why.at(step, number)),
            Err(_elapsed) => (CheckStatus::L7Tout, late(step, number)),
        };
        let found = Finding {
            status,
            code: None,
            info,
        };
        return match step {
            Step::Expect(_, terms) => memory.told(found, terms, seen.heard()),
            _ => found,
        };
    }
    let found = Finding::new(CheckStatus::L7Ok);
    match steps.last() {
        Some(Step::Expect(_, terms)) => memory.told(found, terms, seen.heard()),
        _ => found,
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    deadline: Instant,
) -> Result<Result<(), Missed>, Elapsed> {
    let send = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    let sent = timeout_at(deadline, send).await;
    sent.map(|sent: io::Result<()>| sent.map_err(|error| Missed::Other(error.to_string())))
}

/// Why a step was not done.
enum Missed {
    /// There is what must not be there.
    Unwanted,
    /// What was to come has not.
    Unmatched,
    /// Nothing has come.
    Empty,
    /// In words of its own.
    Other(String),
}

impl Missed {
    /// In HAProxy's words.
    fn at(self, step: &Step, number: usize) -> String {
        let what = || match step {
            Step::Expect(content, _) => match bare(content) {
                Content::Text(text) if is_text(text) => format!("'{}'", shown(text)),
                content => format!("({})", kind(content)),
            },
            _ => String::new(),
        };
        match self {
            Self::Unwanted => format!(
                "TCPCHK matched unwanted content {} at step {number}",
                what()
            ),
            Self::Unmatched => format!("TCPCHK did not match content {} at step {number}", what()),
            Self::Empty => format!("TCPCHK got an empty response at step {number}"),
            Self::Other(why) => format!("{why} at step {number} of tcp-check"),
        }
    }
}

/// The same of a step for which there was no time left.
fn late(step: &Step, number: usize) -> String {
    let what = match step {
        Step::Expect(content, _) => match bare(content) {
            Content::Text(text) => format!("expect {} '{}'", kind(bare(content)), shown(text)),
            content => format!("expect {}", kind(content)),
        },
        _ => "send".to_owned(),
    };
    format!(" at step {number} of tcp-check ({what})")
}

/// What is expected, or is not to come.
fn bare(content: &Content) -> &Content {
    match content {
        Content::Not(unwanted) => unwanted,
        content => content,
    }
}

/// What it is called.
fn kind(content: &Content) -> &'static str {
    match content {
        Content::Text(text) if is_text(text) => "string",
        Content::Regex(_) => "regex",
        Content::Filled(_) => "log-format string",
        Content::FilledHex(_) => "log-format binary",
        _ => "binary",
    }
}

/// Whether it was written as a text, and not as the digits of bytes.
fn is_text(bytes: &[u8]) -> bool {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\r' | '\n' | '\t');
    str::from_utf8(bytes).is_ok_and(|text| text.chars().all(is_plain))
}

/// What has come.
#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    /// All of it was what had been expected: what comes now is for the next step.
    is_done: bool,
}

impl Seen {
    fn heard(&self) -> Heard<'_> {
        Heard {
            bytes: Some(&self.bytes),
            ..Heard::default()
        }
    }
}

/// Waits until `content` is there, among `least` bytes. What came up to its end is done with, so that the next step sees
/// what follows.
async fn expect(
    stream: &mut (impl AsyncRead + Unpin),
    seen: &mut Seen,
    content: &Content,
    least: usize,
) -> Result<(), Missed> {
    let unwanted = match content {
        Content::Not(unwanted) => Some(&**unwanted),
        _ => None,
    };
    if std::mem::take(&mut seen.is_done) {
        seen.bytes.clear();
    }
    let Seen { bytes, is_done } = seen;
    loop {
        let enough = bytes.len() >= least;
        match unwanted {
            Some(unwanted) if enough && contains(bytes, unwanted) => {
                return Err(Missed::Unwanted);
            }
            // Known once there is no more.
            Some(_) => {}
            None if enough && contains(bytes, content) => {
                *is_done = true;
                return Ok(());
            }
            None => {}
        }
        if bytes.len() >= MOST {
            return Err(Missed::Unmatched);
        }
        match stream.read_buf(bytes).await {
            Ok(0) if unwanted.is_some() && !bytes.is_empty() => return Ok(()),
            Ok(0) if bytes.is_empty() => return Err(Missed::Empty),
            // Less than was wanted is looked at all the same.
            Ok(0) if !enough && unwanted.is_none() && contains(bytes, content) => {
                *is_done = true;
                return Ok(());
            }
            Ok(0) => return Err(Missed::Unmatched),
            Ok(_) => {}
            Err(error) => return Err(Missed::Other(error.to_string())),
        }
    }
}

/// Says hello as a TLS client to the server. Any answer of TLS will do, an alert too, as for HAProxy's `ssl-hello-chk`.
pub(super) async fn hello(reach: &Reach, deadline: Instant) -> Finding {
    let mut stream = match reach.bare().connect(deadline).await {
        Ok(stream) => stream,
        Err(finding) => return finding,
    };
    let answer = async {
        stream.write_all(HELLO).await.ok()?;
        stream.read_u8().await.ok()
    };
    Finding::new(match timeout_at(deadline, answer).await {
        Err(_elapsed) => CheckStatus::L6Tout,
        Ok(Some(21 | 22)) => CheckStatus::L6Ok,
        Ok(_) => CheckStatus::L6Rsp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hellos_lengths_are_right() {
        let record = usize::from(HELLO[3]) << 8 | usize::from(HELLO[4]);
        assert_eq!(record, HELLO.len() - 5);
        assert_eq!(usize::from(HELLO[8]), record - 4);
    }
}
