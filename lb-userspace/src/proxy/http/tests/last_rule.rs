//! `last_rule_file` and `last_rule_line`: which rule had the last word.

use super::{rules::Rules, *};

#[test]
fn the_rule_that_had_the_last_word_is_told_by_its_place() {
    // They begin at line 7 of the file.
    let frontend = r#"    log_format: "[] %[last_rule_file] %[last_rule_line] %ST"
    rules:
      - { set_header: { X-Before: "[%[last_rule_line]]" } }
      - if: { path: /allow }
        allow: true
      - { if: { path: /denied }, deny: 403 }
      - { if: { path: /said }, return: { status: 200, headers: { X-Own: "[%[last_rule_line]]" } } }
      - { if: { path: /moved }, redirect: { location: /x } }
      - { if: { path: /gone }, reject: true }
      - response: { if: { expr: { of: status, value: 404 } }, deny: 502 }
      - response: { set_header: { X-Then: "[%[last_rule_line]]" } }
      - response: { always: true, set_header: { X-Last: "[%[last_rule_line]]" } }
      - { if: { path: /elsewhere }, use_backend: c }"#;
    let backend = "    rules:\n      - { if: { path: /below }, deny: 401 }";
    let found = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let rules = Rules::new(&[found], frontend, backend);
    for (path, parts) in [
        ("/", &["x-then: []", "x-last: []"][..]),
        ("/allow", &["x-then: [10]", "x-last: [10]"]),
        ("/denied", &["x-last: [12]"]),
        ("/said", &["x-own: []", "x-last: [13]"]),
        ("/moved", &["x-last: [14]"]),
        ("/gone", &[]),
        ("/elsewhere", &["x-then: []"]),
        ("/below", &["x-last: [24]"]),
    ] {
        let answer = rules.get(path).to_ascii_lowercase();
        for part in parts {
            assert!(answer.contains(part), "{path}: {part}\n{answer}");
        }
    }
    let lines = rules.harness.logged();
    // The file's folder is made for the test.
    let told: Vec<&str> = lines.iter().map(|line| after_folder(line)).collect();
    assert_eq!(
        told,
        [
            "- - 200", "10 200", "12 403", "13 200", "14 302", "15 -1", "- - 200", "24 401"
        ]
    );
}

#[test]
fn a_rule_of_the_response_has_the_last_word_as_well() {
    let frontend = r#"    log_format: "[] %[last_rule_line]"
    rules:
      - { if: { path: /a }, allow: true }
      - response: { if: { expr: { of: status, value: 404 } }, deny: 502 }
      - response: { always: true, set_header: { X-Last: "[%[last_rule_line]]" } }"#;
    let none = answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let rules = Rules::new(&[none], frontend, "");
    let answer = rules.get("/b").to_ascii_lowercase();
    assert!(
        answer.starts_with("http/1.1 502 ") && answer.contains("x-last: [10]"),
        "{answer}"
    );
    assert_eq!(rules.harness.logged(), ["10"]);
}

/// A line without the file's name.
fn after_folder(line: &str) -> &str {
    line.split_once("lb.yaml ").map_or(line, |(_, said)| said)
}
