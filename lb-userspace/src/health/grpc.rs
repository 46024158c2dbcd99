//! The check by gRPC's own health protocol
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>): one call over HTTP/2, one message each way.

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::{
    finding::{Finding, MOST_INFO},
    h2::{self, Answer, Failed},
    reach::Reach,
};
use crate::topology::CheckStatus;

/// The call.
const PATH: &str = "/grpc.health.v1.Health/Check";
/// A message's header: whether it is compressed, and its length.
const FRAME: usize = 5;

/// The names of gRPC's status codes.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The names of what a server says of a service.
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

/// What to ask.
pub(super) fn request(
    service: &str,
    host: Option<&str>,
    headers: &[(String, String)],
) -> h2::Request {
    let mut all = vec![
        ("content-type".to_owned(), "application/grpc".to_owned()),
        ("te".to_owned(), "trailers".to_owned()),
    ];
    all.extend_from_slice(headers);
    h2::Request::new("POST", PATH, host, &all).with_body(message(service))
}

/// `HealthCheckRequest { string service = 1; }` in its frame.
fn message(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            // The seven bits that are left fit into a byte.
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// Asks the server.
pub(super) async fn check(reach: &Reach, request: &h2::Request, deadline: Instant) -> Finding {
    let stream = match reach.connect(deadline).await {
        Ok(stream) => stream,
        Err(finding) => return finding,
    };
    let authority = reach.address().authority();
    let asked = h2::ask(stream, &authority, request, judge);
    match timeout_at(deadline, asked).await {
        Err(_elapsed) => Finding::new(CheckStatus::L7Tout),
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => Finding {
            info: error.to_string(),
            ..Finding::new(CheckStatus::L7Rsp)
        },
    }
}

async fn judge(mut answer: Answer) -> Result<Finding, Failed> {
    if answer.status() != 200 {
        return Ok(Finding {
            status: CheckStatus::L7Sts,
            code: Some(answer.status()),
            info: "the answer is none of gRPC".to_owned(),
        });
    }
    while answer.more().await? {}
    let trailers = answer.trailers().await?;
    // An answer without a message has its status in the head.
    Ok(verdict(
        trailers.as_ref().unwrap_or(answer.headers()),
        answer.body(),
    ))
}

/// What the status and the message come to.
fn verdict(status: &HeaderMap, body: &[u8]) -> Finding {
    let code = status
        .get("grpc-status")
        .and_then(|value| value.to_str().ok()?.parse::<u16>().ok());
    let finding = |status, info: String| Finding { status, code, info };
    let Some(number) = code else {
        return finding(CheckStatus::L7Rsp, "the answer has no gRPC status".into());
    };
    if number != 0 {
        let name = CODES.get(usize::from(number)).copied().unwrap_or("?");
        let said = status
            .get("grpc-message")
            .map(|said| printable(said.as_bytes()));
        let said = said.map_or(String::new(), |said| format!(": {said}"));
        return finding(
            CheckStatus::L7Sts,
            format!("gRPC status {number} {name}{said}"),
        );
    }
    match state(body) {
        Some(SERVING) => finding(CheckStatus::L7Ok, String::new()),
        Some(state) => {
            let name = usize::try_from(state)
                .ok()
                .and_then(|state| STATES.get(state));
            finding(CheckStatus::L7Sts, name.copied().unwrap_or("?").to_owned())
        }
        None => finding(CheckStatus::L7Rsp, "the answer is no health message".into()),
    }
}

/// `HealthCheckResponse { ServingStatus status = 1; }`, which is all that is looked for; fields that we do not know are
/// passed over. A field that is not there is 0.
fn state(body: &[u8]) -> Option<u64> {
    let (frame, rest) = body.split_at_checked(FRAME)?;
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    let mut message = rest.get(..usize::try_from(length).ok()?)?;
    let mut state = 0;
    if frame[0] != 0 {
        return None;
    }
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let skip = match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == 1 {
                    state = value;
                }
                0
            }
            1 => 8,
            2 => varint(&mut message)?,
            5 => 4,
            _ => return None,
        };
        message = message.get(usize::try_from(skip).ok()?..)?;
    }
    Some(state)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn printable(text: &[u8]) -> String {
    let text = text.iter().take(MOST_INFO);
    text.map(|&byte| match byte {
        b' '..=b'~' => char::from(byte),
        _ => '?',
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: &str, message: Option<&'static str>) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert("grpc-status", code.parse().unwrap());
        if let Some(message) = message {
            map.insert("grpc-message", message.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_services_name_is_the_messages_first_field() {
        assert_eq!(message(""), b"\0\0\0\0\0");
        assert_eq!(message("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = message(&"x".repeat(300));
        assert_eq!(long[..8], *b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn serving_alone_is_up() {
        for (body, expected) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], (CheckStatus::L7Ok, "")),
            (b"\0\0\0\0\x02\x08\x02", (CheckStatus::L7Sts, "NOT_SERVING")),
            (
                b"\0\0\0\0\x02\x08\x03",
                (CheckStatus::L7Sts, "SERVICE_UNKNOWN"),
            ),
            (b"\0\0\0\0\0", (CheckStatus::L7Sts, "UNKNOWN")),
            (b"\0\0\0\0\x02\x08\x09", (CheckStatus::L7Sts, "?")),
            // A field of a later version of the protocol.
            (b"\0\0\0\0\x06\x12\x02hi\x08\x01", (CheckStatus::L7Ok, "")),
        ] {
            let found = verdict(&status("0", None), body);
            let found = (found.status, found.info.as_str(), found.code);
            assert_eq!(
                found,
                (expected.0, expected.1, Some(0)),
                "{}",
                body.escape_ascii()
            );
        }
        for body in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x02\x08",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\xff\xff\xff\xff\x08\x01",
            b"\0\0\0\0\x02\x12\x7f",
            b"\0\0\0\0\x02\x0b\x01",
            b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            let found = verdict(&status("0", None), body);
            assert_eq!(found.status, CheckStatus::L7Rsp, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn a_status_is_told_with_its_name() {
        let found = verdict(&status("5", Some("unknown service")), b"");
        assert_eq!(found.status, CheckStatus::L7Sts);
        assert_eq!(found.code, Some(5));
        assert_eq!(found.info, "gRPC status 5 NOT_FOUND: unknown service");
        assert_eq!(verdict(&status("99", None), b"").info, "gRPC status 99 ?");
        let none = verdict(&HeaderMap::new(), b"\0\0\0\0\x02\x08\x01");
        assert_eq!(none.status, CheckStatus::L7Rsp);
    }
}
