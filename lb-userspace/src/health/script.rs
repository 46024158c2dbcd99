//! The check that sends and looks at what comes, step by step.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{body::contains, finding::Finding, reach::Reach};
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
pub(super) async fn check(reach: &Reach, steps: &[Step], deadline: Instant) -> Finding {
    match reach.connect(deadline).await {
        Ok(mut stream) => talk(&mut stream, steps, deadline).await,
        Err(finding) => finding,
    }
}

async fn talk(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    steps: &[Step],
    deadline: Instant,
) -> Finding {
    let mut seen = Vec::new();
    for (number, step) in (1..).zip(steps) {
        let done = match step {
            Step::Send(bytes) => {
                let send = async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                };
                let sent = timeout_at(deadline, send).await;
                sent.map(|sent| sent.map_err(|error| error.to_string()))
            }
            Step::Expect(content) => timeout_at(deadline, expect(stream, &mut seen, content)).await,
        };
        let (status, why) = match done {
            Ok(Ok(())) => continue,
            Ok(Err(why)) => (CheckStatus::L7Rsp, why),
            Err(_elapsed) => (CheckStatus::L7Tout, String::new()),
        };
        let at = format!("at step {number} of tcp-check");
        return Finding {
            status,
            code: None,
            info: if why.is_empty() {
                at
            } else {
                format!("{why} {at}")
            },
        };
    }
    Finding::new(CheckStatus::L7Ok)
}

/// Waits until `content` is there. What came up to its end is done with, so that the next step sees what follows.
async fn expect(
    stream: &mut (impl AsyncRead + Unpin),
    seen: &mut Vec<u8>,
    content: &Content,
) -> Result<(), String> {
    let unwanted = match content {
        Content::Not(unwanted) => Some(&**unwanted),
        _ => None,
    };
    loop {
        match unwanted {
            Some(unwanted) if contains(seen, unwanted) => {
                return Err("the answer has what it must not have".into());
            }
            // Known once there is no more.
            Some(_) => {}
            None if contains(seen, content) => {
                seen.clear();
                return Ok(());
            }
            None => {}
        }
        if seen.len() >= MOST {
            return Err("the answer has no end".into());
        }
        match stream.read_buf(seen).await {
            Ok(0) if unwanted.is_some() && !seen.is_empty() => return Ok(()),
            Ok(0) if seen.is_empty() => return Err("the server closed".into()),
            Ok(0) => return Err("the answer did not match".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
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
