//! What has no effect in HAProxy either.

use super::imported;

/// The backend of a `listen` with these lines, and what was said of it.
fn listen(lines: &str) -> (String, Vec<String>) {
    let server = "server s 192.0.2.1:80";
    let text = format!("listen l\n bind :80\n{}\n", lines.replace("SERVER", server));
    let (yaml, said) = imported(&text);
    let (_, backend) = yaml.split_once("backends:").expect("it has a backend");
    (backend.to_owned(), said)
}

#[test]
fn hashes_are_kept_wherever_one_is_made() {
    for (balance, kept) in [
        ("source", true),
        ("uri depth 2", true),
        ("hdr(host)", true),
        ("rdp-cookie", true),
        ("rdp-cookie(mstshash)", true),
        ("roundrobin", false),
        ("first", false),
    ] {
        let lines = format!(" balance {balance}\n hash-type consistent djb2\n SERVER");
        let (backend, _) = listen(&lines);
        assert_eq!(
            backend.contains("hash_type: consistent djb2"),
            kept,
            "{balance}"
        );
    }
}

#[test]
fn options_that_change_nothing_are_left_out_and_told_of() {
    let moves = "`slowstart` has no effect where each step would move clients to other servers, as in HAProxy";
    let fixed =
        "`slowstart` has no effect where weights are fixed or have no effect, as in HAProxy";
    let unsent = "`proxy-v2-options` has no effect without `send-proxy-v2`, as in HAProxy";
    for (lines, told) in [
        (" balance rdp-cookie\n SERVER slowstart 9s", Some(moves)),
        (
            " balance rdp-cookie\n hash-type consistent\n SERVER slowstart 9s",
            None,
        ),
        (
            " balance first\n SERVER slowstart 9s maxconn 9",
            Some(fixed),
        ),
        (" balance leastconn\n SERVER slowstart 9s", None),
        (" SERVER proxy-v2-options ssl", Some(unsent)),
        (" SERVER send-proxy proxy-v2-options ssl", Some(unsent)),
        (" SERVER send-proxy-v2 proxy-v2-options ssl", None),
        (
            " default-server send-proxy-v2\n SERVER proxy-v2-options ssl",
            None,
        ),
    ] {
        let (backend, said) = listen(lines);
        assert_eq!(said.len(), usize::from(told.is_some()), "{lines}: {said:?}");
        assert!(
            said.iter()
                .all(|said| told.is_some_and(|told| said.contains(told))),
            "{said:?}"
        );
        let kept = backend.contains("slowstart") || backend.contains("proxy_v2_options");
        assert_eq!(kept, told.is_none(), "{lines}");
    }
}
