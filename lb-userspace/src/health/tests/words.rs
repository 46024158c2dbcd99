//! What is told with a result, in HAProxy's words: `last_chk` in statistics, and `info` in the log.

use super::*;

/// What a check of one expectation tells of a server that says this and, if `closes`, nothing more.
fn told(content: Content, says: &'static str, closes: bool) -> (CheckStatus, String) {
    let address = server(move |mut stream| {
        let _ = stream.read(&mut [0; 1]);
        let _ = stream.write_all(says.as_bytes());
        if !closes {
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let mut check = script(vec![
        Step::Send("a".into()),
        Step::Expect(content, Box::default()),
    ]);
    if !closes {
        check.timeout = Some(Duration::from_millis(100));
    }
    let result = check_once(check, address);
    (result.status, result.info)
}

fn not(content: Content) -> Content {
    Content::Not(Box::new(content))
}

fn regex(text: &str) -> Content {
    Content::Regex(Pattern::new(text).unwrap())
}

#[test]
fn what_a_step_missed_is_told_as_haproxy_tells_it() {
    let bytes = || Content::Text(vec![0x2b, 0xff]);
    for (content, says, expected) in [
        (
            not(regex("^[+]")),
            "+OK",
            "TCPCHK matched unwanted content (regex) at step 2",
        ),
        (
            not(text("+OK")),
            "+OK",
            "TCPCHK matched unwanted content '+OK' at step 2",
        ),
        (
            text("-NO"),
            "+OK",
            "TCPCHK did not match content '-NO' at step 2",
        ),
        (
            regex("^-"),
            "+OK",
            "TCPCHK did not match content (regex) at step 2",
        ),
        (
            bytes(),
            "+OK",
            "TCPCHK did not match content (binary) at step 2",
        ),
        (text("x"), "", "TCPCHK got an empty response at step 2"),
    ] {
        let found = told(content, says, true);
        assert_eq!(found, (CheckStatus::L7Rsp, expected.to_owned()));
    }
    for (content, expected) in [
        (text("-NO"), " at step 2 of tcp-check (expect string '-NO')"),
        (regex("^-"), " at step 2 of tcp-check (expect regex)"),
        (
            not(text("-")),
            " at step 2 of tcp-check (expect string '-')",
        ),
    ] {
        let found = told(content, "+OK", false);
        assert_eq!(found, (CheckStatus::L7Tout, expected.to_owned()));
    }
}

#[test]
fn what_a_body_must_not_have_is_told_as_such() {
    let told = |content| {
        let says = "HTTP/1.0 200 OK\r\n\r\nready";
        let result = check_once(expecting(vec![content]), answer(says));
        (result.status, result.code, result.info)
    };
    for (content, expected) in [
        (not(text("ready")), "HTTP check matched unwanted content"),
        (not(regex("^r")), "HTTP check matched unwanted content"),
        (text("steady"), "HTTP content check did not match"),
    ] {
        assert_eq!(told(content), (CheckStatus::L7Rsp, None, expected.into()));
    }
}

#[test]
fn no_more_is_told_than_haproxy_tells() {
    let reason = "R".repeat(2000);
    let says = format!("HTTP/1.0 500 {reason}\r\n\r\n");
    let result = check_once(http_check(), answer(says.leak()));
    assert_eq!((result.code, result.info), (Some(500), "R".repeat(127)));
    let wanted = "Y".repeat(500);
    let (status, info) = told(text(&wanted), "+OK", true);
    assert_eq!(status, CheckStatus::L7Rsp);
    assert_eq!(info.len(), 127);
    assert!(
        info.starts_with("TCPCHK did not match content 'YYY"),
        "{info}"
    );
}
