//! Blocks: RFC 7541.

use super::*;

/// HEADERS of a GET without an authority, and what is behind.
fn with(more: &[u8]) -> Vec<u8> {
    frame(HEADERS, END, 1, &[&[0x82, 0x84, 0x86][..], more].concat())
}

/// The same behind what comes first.
fn behind(first: &[u8]) -> Vec<u8> {
    frame(HEADERS, END, 1, &[first, &[0x82, 0x84, 0x86][..]].concat())
}

#[test]
fn blocks_are_as_the_standard_has_them() {
    let wrong = "goaway COMPRESSION_ERROR";
    // A name of 127 letters and more, whose length goes on.
    let mut long = vec![0x00, 0x7f, 0x49];
    long.extend([b'x'; 200]);
    long.extend([0x01, b'y']);
    check(vec![
        ("2.3.3", "an index of nothing", with(&[0xbe]), wrong),
        (
            "2.3.3",
            "a name of nothing",
            with(&[0x7e, 0x01, b'x']),
            wrong,
        ),
        (
            "2.3.3",
            "a name of nothing, not indexed",
            with(&[0x0f, 0x40, 0x01, b'x']),
            wrong,
        ),
        (
            "2.3.3",
            "what has just been put there",
            with(&[0x40, 0x01, b'x', 0x01, b'y', 0xbe]),
            "request",
        ),
        (
            "2.3.3",
            "the one after it",
            with(&[0x40, 0x01, b'x', 0x01, b'y', 0xbf]),
            wrong,
        ),
        ("4.2", "a size at the end", with(&[0x20]), wrong),
        ("4.2", "a size between", with(&[0x20, 0x83]), wrong),
        ("4.2", "a size at the beginning", behind(&[0x20]), "request"),
        (
            "4.2",
            "two of them",
            behind(&[0x20, 0x3f, 0xe1, 0x1f]),
            "request",
        ),
        (
            "4.2",
            "nothing but a size",
            frame(HEADERS, END, 1, &[0x20]),
            "reset 1 PROTOCOL_ERROR",
        ),
        (
            "4.3",
            "what a size has thrown out",
            all([
                frame(HEADERS, END, 1, &[0x82, 0x84, 0x86, 0x40, 1, b'x', 1, b'y']),
                frame(HEADERS, END, 3, &[0x20, 0x82, 0x84, 0x86, 0xbe]),
            ]),
            "request, goaway COMPRESSION_ERROR",
        ),
        (
            "4.4",
            "what is larger than the table empties it",
            all([
                frame(HEADERS, END, 1, &[0x82, 0x84, 0x86, 0x40, 1, b'x', 1, b'y']),
                frame(
                    HEADERS,
                    END,
                    3,
                    &[0x3f, 0x02, 0x82, 0x84, 0x86, 0x40, 1, b'z', 1, b'y', 0xbe],
                ),
            ]),
            "request, goaway COMPRESSION_ERROR",
        ),
        ("5.1", "a number that goes on", with(&long), "request"),
        (
            "5.1",
            "with zeros behind",
            behind(&[0x3f, 0xe1, 0x9f, 0x00]),
            "request",
        ),
        (
            "5.1",
            "without end",
            with(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            wrong,
        ),
        ("5.1", "that breaks off", with(&[0xff]), wrong),
        (
            "5.2",
            "Huffman's code",
            with(&[0x00, 0x01, b'x', 0x81, 0x1f]),
            "request",
        ),
        (
            "5.2",
            "a name in it",
            with(&[0x00, 0x81, 0xf3, 0x01, b'y']),
            "request",
        ),
        (
            "5.2",
            "padding of eight bits",
            with(&[0x00, 0x01, b'x', 0x82, 0x1f, 0xff]),
            wrong,
        ),
        (
            "5.2",
            "padding of zeros",
            with(&[0x00, 0x01, b'x', 0x81, 0x18]),
            wrong,
        ),
        (
            "5.2",
            "its end in a string",
            with(&[0x00, 0x01, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
            wrong,
        ),
        (
            "5.2",
            "its end behind a letter",
            with(&[0x00, 0x01, b'x', 0x85, 0x1f, 0xff, 0xff, 0xff, 0xff]),
            wrong,
        ),
        (
            "5.2",
            "a string that breaks off",
            with(&[0x00, 0x01, b'x', 0x05, b'y']),
            wrong,
        ),
        (
            "5.2",
            "an empty string in it",
            with(&[0x00, 0x01, b'x', 0x80]),
            "request",
        ),
        ("6.1", "an index of 0", with(&[0x80]), wrong),
        ("6.1", "a field of the table", with(&[0x90]), "request"),
        ("6.1", "all of the static table", with(&[0xbd]), "request"),
        (
            "6.2.1",
            "indexed, with a known name",
            with(&[0x50, 0x01, b'y']),
            "request",
        ),
        (
            "6.2.1",
            "indexed, with a new one",
            with(&[0x40, 0x01, b'x', 0x01, b'y']),
            "request",
        ),
        (
            "6.2.2",
            "not indexed, with a known name",
            with(&[0x0f, 0x01, 0x01, b'y']),
            "request",
        ),
        (
            "6.2.2",
            "not indexed, with a new one",
            with(&[0x00, 0x01, b'x', 0x01, b'y']),
            "request",
        ),
        (
            "6.2.3",
            "never, with a known name",
            with(&[0x1f, 0x01, 0x01, b'y']),
            "request",
        ),
        (
            "6.2.3",
            "never, with a new one",
            with(&[0x10, 0x01, b'x', 0x01, b'y']),
            "request",
        ),
        (
            "6.3",
            "the largest size",
            behind(&[0x3f, 0xe1, 0x1f]),
            "request",
        ),
        ("6.3", "a larger one", behind(&[0x3f, 0xe2, 0x1f]), wrong),
        ("6.3", "what breaks off", behind(&[0x3f]), wrong),
    ]);
}
