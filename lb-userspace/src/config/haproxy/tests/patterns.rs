//! What criteria are compared with.

use super::{imported, rules};

#[test]
fn an_operator_holds_for_all_numbers_behind_it() {
    for (test, value) in [
        ("path_len lt 5 10", "[lt 5, lt 10]"),
        ("path_len eq 1 2", "[eq 1, 2]"),
        ("path_len gt 5 le 3", "[gt 5, le 3]"),
        ("path_len gt 5:7 8 -3", r#"["5:7", gt 8, ":3"]"#),
        ("path_len ne 5", "5"),
        ("path_len 7 ge", "7"),
        ("path,length ge 2", "ge 2"),
        ("path,map_str_int(/nowhere) ge 2", "ge 2"),
    ] {
        let text =
            format!("frontend f\n mode http\n bind :80\n http-request deny if {{ {test} }}\n");
        let (yaml, _) = imported(&text);
        let of = test.split(' ').next().unwrap();
        let written = format!("value: {value} }} }}, deny: true }}");
        assert!(yaml.contains(of) && yaml.contains(&written), "{yaml}");
    }
}

#[test]
fn words_are_operators_of_numbers_alone() {
    for (test, wanted) in [
        ("path eq /a", r#"{ expr: { of: path, value: [eq, /a] } }"#),
        (
            "req.hdr(x) ge 2",
            r#"{ header: { name: x, value: [ge, 2] } }"#,
        ),
        (
            "method eq GET",
            r#"{ expr: { of: method, value: [eq, GET] } }"#,
        ),
        (
            "hdr(x) -m beg lt 2",
            r#"{ header: { name: x, prefix: [lt, 2] } }"#,
        ),
        (
            "hdr(x) -m int lt 2",
            r#"{ expr: { of: "hdr(x),int", value: lt 2 } }"#,
        ),
        (
            "hdr_len(x) lt 2",
            r#"{ header: { name: x, length: lt 2 } }"#,
        ),
    ] {
        let yaml = rules(&format!(" http-request deny if {{ {test} }}"));
        assert_eq!(yaml, [format!("- {{ if: {wanted}, deny: true }}")]);
    }
}

#[test]
fn what_is_compared_with_nothing_never_holds() {
    let text = "frontend f\n mode http\n bind :80\n http-request deny if { sc0_inc_gpc0 }\n \
                http-request deny if { path -- }\n http-request deny if { req.hdr(a) -m found }\n \
                http-request deny if { ssl_fc }\n http-request deny if { http_auth_group(u) -- }\n http-request auth unless { \
                http_auth(u) }\nuserlist u\n user a password b\n";
    let (yaml, said) = imported(text);
    assert_eq!(
        said,
        [
            "4:25 warning: `sc0_inc_gpc0` is compared with nothing, so this never holds, as in HAProxy: write `-m found` \
             if it has to be there"
        ]
    );
    for line in [
        "- { if: { all: [{ expr: { of: sc0_inc_gpc0 } }, { expr: { of: always_false } }] }, deny: true }",
        "- { if: { all: [{ expr: { of: path } }, { expr: { of: always_false } }] }, deny: true }",
        "- { if: { expr: { of: req.hdr(a), present: true } }, deny: true }",
        "- { if: { expr: { of: ssl_fc } }, deny: true }",
        "- { if: { all: [{ expr: { of: http_auth_group(u) } }, { expr: { of: always_false } }] }, deny: true }",
    ] {
        assert!(yaml.contains(line), "{line}\n{yaml}");
    }
}
