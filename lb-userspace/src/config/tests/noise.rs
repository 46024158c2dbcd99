//! Nothing that a file can hold makes the reader panic, hang or grow without bound.

use std::{
    fs,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{files::examples, *};

/// Reads it, and writes all that is said of it in every form.
fn survives(text: &str) {
    let environment = |name: &str| name.len().is_multiple_of(2).then(|| "${x}: *".to_owned());
    let found = match parse("lb.yaml", text, &environment) {
        Ok(loaded) => loaded.warnings,
        Err(found) => {
            assert!(found.errors() > 0, "refused without a reason: {text:?}");
            found
        }
    };
    for d in found.iter() {
        if let Some(span) = d.span {
            assert!(
                span.start.line >= 1 && span.start.column >= 1 && span.start <= span.end,
                "{d:?} in {text:?}"
            );
            assert!(
                span.start.line <= found.source().line_count(),
                "{d:?} in {text:?}"
            );
        }
    }
    let _ = (found.render(true), found.to_json());
}

fn example() -> impl Strategy<Value = String> {
    let texts: Vec<String> = examples()
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    prop::sample::select(texts)
}

/// Pieces of which wrong YAML is made.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        " ",
        ":",
        ": ",
        "- ",
        "- - ",
        "? ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "#",
        " #",
        "&a ",
        "*a",
        "*:80",
        "<<: ",
        "!!str ",
        "!x ",
        "|",
        ">",
        "|2-\n",
        "'",
        "\"",
        "\\",
        "%",
        "@",
        "`",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "${A}",
        "${",
        "$${",
        "${A:-b}",
        "~",
        "null",
        "[::]:80",
        "é",
        "𝄞",
        "\u{feff}",
        "\r",
        "\u{85}",
        "\u{2028}",
        "\0",
        "global",
        "defaults",
        "frontends",
        "backends",
        "servers",
        "stats",
        "bind",
        "if",
        "cookie",
        "timeouts",
        "name",
        "address",
        "health_check",
        "18446744073709551616",
        "-1",
        "1e9",
        "10s",
        "true",
        "\"*:80\"",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&String::from_utf8_lossy(&bytes));
        let _ = decode_utf8("lb.yaml", &bytes);
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec(piece(), 0..60)) {
        survives(&pieces.concat());
    }

    #[test]
    fn an_example_with_pieces_in_it(text in example(), cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, piece()), 1..6)) {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, length, piece) in cuts {
            let at = at.index(characters.len());
            let end = (at + length).min(characters.len());
            characters.splice(at..end, piece.chars());
        }
        survives(&characters.into_iter().collect::<String>());
    }

    #[test]
    fn an_example_cut_off(text in example(), at in any::<prop::sample::Index>()) {
        let characters: Vec<char> = text.chars().collect();
        survives(&characters[..at.index(characters.len())].iter().collect::<String>());
    }
}

#[test]
fn depth_is_bounded() {
    for piece in ["[", "{a: ", "- ", "a:\n ", "? ", "&a [", "[{", "!!map {"] {
        survives(&piece.repeat(50_000));
    }
    let mut deep = String::new();
    for level in 0..500 {
        deep.push_str(&" ".repeat(level));
        deep.push_str("a:\n");
    }
    survives(&deep);
}

#[test]
fn aliases_that_multiply_are_bounded() {
    let mut bomb = "a: &a0 [x, x]\n".to_owned();
    for level in 1..28 {
        bomb.push_str(&format!("k{level}: &a{level} [*a{0}, *a{0}]\n", level - 1));
    }
    let found = parse("lb.yaml", &bomb, &no_environment).unwrap_err();
    assert!(
        found
            .iter()
            .any(|d| d.message.contains("more than 2000000 values")),
        "{found}"
    );
}

#[test]
fn mistakes_without_end_are_bounded() {
    let start = Instant::now();
    survives(&format!("a: [{}]", "*:80, ".repeat(20_000)));
    survives(&"x: @\n".repeat(20_000));
    survives(&"\tx: 1\n".repeat(20_000));
    survives(&"a: 1\n".repeat(20_000));
    // A bound that only a quadratic reader misses, also on a busy machine.
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}
