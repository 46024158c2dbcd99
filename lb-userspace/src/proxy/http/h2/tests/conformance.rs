//! What RFC 9113 and RFC 7541 say of a server, section by section, as bytes and what comes of them.

use super::*;

mod fields;
mod frames;
mod hpack;
mod streams;

pub(super) const END: u8 = flag::END_STREAM | flag::END_HEADERS;

/// A section, what is sent, and what comes of it, as [`outcome`] says it.
type Row = (&'static str, &'static str, Vec<u8>, &'static str);

/// Sends each row on a connection of its own.
#[track_caller]
fn check(rows: Vec<Row>) {
    let count = rows.len();
    let wrong = rows
        .into_iter()
        .filter_map(|(section, what, bytes, wanted)| {
            let got = outcome(&bytes);
            (got != wanted).then(|| format!("{section} {what}: {got}, not {wanted}\n"))
        });
    let wrong: String = wrong.collect();
    assert!(wrong.is_empty(), "of {count}:\n{wrong}");
}

/// Frame by frame: requests, answers to frames, resets and the goodbye. What is said of windows is left out.
fn outcome(bytes: &[u8]) -> String {
    let mut connection = Connection::new();
    connection.read.extend_from_slice(bytes);
    let (mut said, mut requests) = (Vec::new(), Vec::new());
    loop {
        match incoming::take(&connection.wire, &mut connection.read) {
            Ok(Taken::More(_)) => break,
            Ok(Taken::Frame) => {}
            Ok(Taken::Request(request)) => {
                said.push("request".to_owned());
                requests.push(request);
            }
            Err(Fatal(reason)) => {
                said.extend(frames(&mut connection));
                said.push(format!("goaway {}", name(reason)));
                return said.join(", ");
            }
        }
        said.extend(frames(&mut connection));
    }
    if !connection.read.is_empty() {
        said.push("waits".to_owned());
    }
    said.join(", ")
}

fn frames(connection: &mut Connection) -> Vec<String> {
    let frames = connection.written().into_iter();
    let said = frames.filter_map(|frame| {
        Some(match frame.kind {
            RST_STREAM => {
                let code = u32::from_be_bytes(frame.payload[..].try_into().unwrap());
                format!("reset {} {}", frame.id, name(Reason::from(code)))
            }
            SETTINGS => "agreed".to_owned(),
            PING => format!("pong {}", frame.payload[0]),
            WINDOW_UPDATE => return None,
            kind => panic!("a frame of kind {kind}"),
        })
    });
    said.collect()
}

/// A code as the standard calls it.
fn name(reason: Reason) -> String {
    let codes = [
        (Reason::NO_ERROR, "NO_ERROR"),
        (Reason::PROTOCOL_ERROR, "PROTOCOL_ERROR"),
        (Reason::FLOW_CONTROL_ERROR, "FLOW_CONTROL_ERROR"),
        (Reason::STREAM_CLOSED, "STREAM_CLOSED"),
        (Reason::FRAME_SIZE_ERROR, "FRAME_SIZE_ERROR"),
        (Reason::REFUSED_STREAM, "REFUSED_STREAM"),
        (Reason::CANCEL, "CANCEL"),
        (Reason::COMPRESSION_ERROR, "COMPRESSION_ERROR"),
        (Reason::ENHANCE_YOUR_CALM, "ENHANCE_YOUR_CALM"),
    ];
    let known = codes.iter().find(|(code, _)| *code == reason);
    known.map_or_else(|| format!("{reason:?}"), |(_, name)| (*name).to_owned())
}

/// Several frames.
fn all<const N: usize>(frames: [Vec<u8>; N]) -> Vec<u8> {
    frames.concat()
}

/// HEADERS of the fields' literals.
fn headers(flags: u8, id: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, id, &literals(fields))
}

/// A block of literals that are never indexed, without Huffman's code.
fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A frame whose payload begins with the length of its padding.
fn padded(kind: u8, flags: u8, id: u32, padding: u8, content: &[u8]) -> Vec<u8> {
    let mut payload = vec![padding];
    payload.extend_from_slice(content);
    frame(kind, flags | flag::PADDED, id, &payload)
}
