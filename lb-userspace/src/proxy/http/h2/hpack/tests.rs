//! The examples of RFC 7541 appendix C, and what is no block.

use std::ops::ControlFlow;

use http::{HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::{
    huffman::{self, CODE, LENGTHS, Malformed},
    *,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// A block's fields, a line each.
fn read(decoder: &mut Decoder, block: &[u8]) -> Result<String, Unreadable> {
    let mut lines = String::new();
    decoder.decode(block, |name, value| {
        let name = match name {
            Name::Pseudo(pseudo) => format!(":{pseudo:?}").to_lowercase(),
            Name::Field(name) => name.to_string(),
            Name::Bad(length) => format!("bad {length}"),
        };
        let value = match value {
            Value::Pseudo(value) => String::from_utf8_lossy(&value).into_owned(),
            Value::Field(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            Value::Bad(length) => format!("bad {length}"),
        };
        lines += &format!("{name}: {value}\n");
        ControlFlow::Continue(())
    })?;
    Ok(lines)
}

const FIRST: &str = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n";
const SECOND: &str = "cache-control: no-cache\n";
const THIRD: &str = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n";

#[test]
fn fields_by_themselves() {
    // C.2.1 to C.2.4.
    for (block, field, size) in [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            "custom-key: custom-header\n",
            (55, 1),
        ),
        (
            "040c 2f73 616d 706c 652f 7061 7468",
            ":path: /sample/path\n",
            (0, 0),
        ),
        (
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            "password: secret\n",
            (0, 0),
        ),
        ("82", ":method: GET\n", (0, 0)),
    ] {
        let mut decoder = Decoder::new();
        assert_eq!(read(&mut decoder, &hex(block)).as_deref(), Ok(field));
        assert_eq!(decoder.table.size(), size, "{field}");
    }
    let mut sensitive = false;
    let read = Decoder::new().decode(
        &hex("1008 7061 7373 776f 7264 0673 6563 7265 74"),
        |_, value| {
            sensitive = matches!(value, Value::Field(value) if value.is_sensitive());
            ControlFlow::Continue(())
        },
    );
    assert!(read.is_ok() && sensitive);
}

#[test]
fn requests_one_after_the_other() {
    // C.3 and C.4: the same in plain and in the code.
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut decoder = Decoder::new();
        let mut next = |at: usize| read(&mut decoder, &hex(blocks[at])).unwrap();
        assert_eq!(next(0), FIRST);
        assert_eq!(next(1), format!("{FIRST}{SECOND}"));
        assert_eq!(next(2), THIRD);
        assert_eq!(decoder.table.size(), (164, 3));
    }
}

#[test]
fn answers_for_which_old_entries_go() {
    let first = ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n";
    let third = ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\ncontent-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n";
    // C.5 and C.6, with a table of 256 bytes.
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        let mut decoder = Decoder::new();
        decoder.table.resize(256);
        let mut next = |at: usize| read(&mut decoder, &hex(blocks[at])).unwrap();
        assert_eq!(next(0), first);
        assert_eq!(next(1), first.replace("302", "307"));
        assert_eq!(next(2), third);
        assert_eq!(decoder.table.size(), (215, 3));
    }
}

#[test]
fn what_is_no_block_is_none() {
    for (what, block) in [
        ("number 0", "80"),
        ("a number beyond the table", "be"),
        ("a number without end", "ff80 8080 8080 8080 8080 01"),
        ("a number that breaks off", "ff80"),
        ("a name beyond the table", "7e01 61"),
        ("a string that breaks off", "0003 6161"),
        ("no string", "00"),
        ("no value", "0001 61"),
        ("a table that is too large", "3fe2 1f"),
        ("a size after a field", "8220"),
        ("padding that is too long", "0001 6182 1fff"),
        ("padding of zeros", "0001 6181 18"),
        ("the code's end in a string", "0001 6184 ffff ffff"),
    ] {
        let read = read(&mut Decoder::new(), &hex(block));
        assert_eq!(read, Err(Unreadable::Malformed), "{what}");
    }
    // Sizes at the beginning are the client's own affair.
    let mut decoder = Decoder::new();
    let sized = read(&mut decoder, &hex("203f e11f 4001 6101 62"));
    assert_eq!(sized.as_deref(), Ok("a: b\n"));
    assert_eq!(decoder.table.size(), (34, 1));
    assert_eq!(read(&mut decoder, &hex("20be")), Err(Unreadable::Malformed));
}

#[test]
fn what_is_no_field_may_be_referred_to_all_the_same() {
    let mut decoder = Decoder::new();
    for (block, wanted) in [
        ("4001 4101 62", "bad 1: bad 1\n"),
        ("4001 6101 0a", "a: bad 1\n"),
        ("bebf", "a: bad 1\nbad 1: bad 1\n"),
        // The name alone is good.
        ("0f2f 0162", "a: b\n"),
        ("0004 3a66 6f6f 0178", "bad 4: bad 1\n"),
        ("0000 0178", "bad 0: bad 1\n"),
    ] {
        assert_eq!(read(&mut decoder, &hex(block)).as_deref(), Ok(wanted));
    }
}

#[test]
fn who_wants_no_more_gets_no_more() {
    let mut count = 0;
    let read = Decoder::new().decode(&[0x82; 100], |_, _| {
        count += 1;
        match count {
            10 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    assert_eq!((read, count), (Err(Unreadable::Unwanted), 10));
}

/// The code of a string.
fn coded(text: &[u8]) -> Vec<u8> {
    let (mut bits, mut have, mut out) = (0u64, 0, Vec::new());
    for &byte in text {
        let (word, length) = CODE.word(byte).unwrap();
        bits = bits << length | u64::from(word);
        have += u32::from(length);
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push(((bits << (8 - have)) as u8) | (0xff >> have));
    }
    out
}

#[test]
fn the_code_is_that_of_the_standard() {
    // No word is left over.
    let words: f64 = LENGTHS
        .iter()
        .map(|&length| 0.5f64.powi(length.into()))
        .sum();
    assert_eq!(words, 1.0);
    // Some of appendix B.
    for (symbol, word) in [
        (b'0', (0x0, 5)),
        (b'a', (0x3, 5)),
        (b'!', (0x3f8, 10)),
        (b'<', (0x7ffc, 15)),
        (b'{', (0x7ffe, 15)),
        (0, (0x1ff8, 13)),
        (10, (0x3fff_fffc, 30)),
        (22, (0x3fff_fffe, 30)),
        (127, (0xfff_fffc, 28)),
        (128, (0xf_ffe6, 20)),
        (255, (0x3ff_ffee, 26)),
    ] {
        assert_eq!(CODE.word(symbol), Some(word), "{symbol}");
    }
    for byte in 0..=255 {
        let mut out = Vec::new();
        assert_eq!(huffman::decode(&coded(&[byte]), &mut out), Ok(()));
        assert_eq!(out, [byte]);
    }
    let mut out = Vec::new();
    assert_eq!(huffman::decode(&[], &mut out), Ok(()));
    assert_eq!(huffman::decode(&[0xff], &mut out), Err(Malformed));
    assert!(out.is_empty());
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let mut block = vec![NO_TABLE];
    status(&mut block, StatusCode::OK);
    let long = "x".repeat(300);
    let mut wanted = ":status: 200\n".to_owned();
    for (name, value) in [
        ("content-type", "text/plain"),
        ("via", ""),
        ("x-own", &long[..]),
        ("date", "now"),
    ] {
        field(
            &mut block,
            &HeaderName::from_bytes(name.as_bytes()).unwrap(),
            &HeaderValue::from_str(value).unwrap(),
        );
        wanted += &format!("{name}: {value}\n");
    }
    let mut secret = HeaderValue::from_static("s");
    secret.set_sensitive(true);
    let at = block.len();
    field(&mut block, &http::header::SET_COOKIE, &secret);
    field(&mut block, &HeaderName::from_static("x-s"), &secret);
    assert_eq!(block[at] & 0xf0, 0x10);
    wanted += "set-cookie: s\nx-s: s\n";
    let mut decoder = Decoder::new();
    assert_eq!(read(&mut decoder, &block), Ok(wanted));
    assert_eq!(decoder.table.size(), (0, 0));
    for code in [100, 204, 206, 304, 400, 404, 418, 500, 599] {
        let mut block = Vec::new();
        status(&mut block, StatusCode::from_u16(code).unwrap());
        let read = read(&mut Decoder::new(), &block);
        assert_eq!(read, Ok(format!(":status: {code}\n")));
    }
}

proptest! {
    #[test]
    fn strings_come_back_from_the_code(text: Vec<u8>) {
        let mut out = Vec::new();
        prop_assert_eq!(huffman::decode(&coded(&text), &mut out), Ok(()));
        prop_assert_eq!(out, text);
    }

    #[test]
    fn whatever_comes_is_a_block_or_none_and_the_table_stays_small(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
    ) {
        let mut decoder = Decoder::new();
        for block in blocks {
            let mut size = 0;
            let _ = decoder.decode(&block, |name, value| {
                size += name.len() + value.len() + OVERHEAD;
                match size > 10_000 {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            let (size, count) = decoder.table.size();
            prop_assert!(size <= TABLE && count * OVERHEAD <= size);
        }
    }
}
