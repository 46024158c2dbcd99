//! Which answers of HTTP/1 a check can use.

use super::*;

#[test]
fn a_check_takes_what_traffic_could_use_and_nothing_else() {
    let up = (CheckStatus::L7Ok, Some(200));
    let down = (CheckStatus::L7Rsp, None);
    let framed = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let table = [
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".to_owned(), up),
        ("HTTP/2.0 200 OK\r\n\r\n".to_owned(), down),
        ("HTTP/1.1 200 OK\r\nno field\r\n\r\n".to_owned(), down),
        ("HTTP/1.1 200 OK\r\na b: c\r\n\r\n".to_owned(), down),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
            down,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
            down,
        ),
        (
            format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(150)),
            down,
        ),
        (format!("{framed}1\r\na\r\n0\r\n\r\n"), up),
        (format!("{framed}x\r\na\r\n0\r\n\r\n"), down),
        (format!("{framed}1\r\nab\r\n0\r\n\r\n"), down),
    ];
    for (text, expected) in table {
        let result = check_once(http_check(), answer(text.clone().leak()));
        assert_eq!((result.status, result.code), expected, "{text:?}");
    }
    // Where the body is waited for, it has to be one to its end.
    let broken = format!("{framed}5\r\nready\r\nx\r\n").leak();
    let check = expecting(vec![Content::Not(Box::new(text("busy")))]);
    assert_eq!(check_once(check, answer(broken)).status, CheckStatus::L7Rsp);
}
