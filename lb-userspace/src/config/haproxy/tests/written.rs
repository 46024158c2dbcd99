//! What is imported is what is run: the YAML is the same tree again.

use std::rc::Rc;

use crate::config::{
    Source,
    haproxy::{self, Options},
    tree::{self, Kind, Node},
};

/// A tree without its places. A word that is written without quotes and reads as text is that text.
fn plainly(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(scalar) => format!("{:?}", scalar.text),
        Kind::Sequence(items) => {
            let items: Vec<String> = items.iter().map(|item| plainly(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Mapping(entries) => {
            let entries = entries
                .iter()
                .map(|entry| format!("{:?}: {}", entry.key, plainly(&entry.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Kind::Poisoned => "poisoned".to_owned(),
    }
}

/// Numbers, times and the like that stand in quotes would be refused as text, and text that stands in none as a number.
fn quoted_otherwise(read: &Node, written: &Node) -> Vec<String> {
    match (&read.kind, &written.kind) {
        (Kind::Scalar(a), Kind::Scalar(b)) => {
            let reads = crate::config::plain::reads_as(&b.text).is_some() && a.plain != b.plain;
            reads.then(|| b.text.clone()).into_iter().collect()
        }
        (Kind::Sequence(a), Kind::Sequence(b)) => a
            .iter()
            .zip(b)
            .flat_map(|(a, b)| quoted_otherwise(a, b))
            .collect(),
        (Kind::Mapping(a), Kind::Mapping(b)) => {
            let both = a.iter().zip(b);
            both.flat_map(|(a, b)| quoted_otherwise(&a.value, &b.value))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn same(text: &str) {
    let source = Source::new("haproxy.cfg", text);
    let read = haproxy::parse(&source, &|_| None, &Options::default());
    let (yaml, _) = haproxy::import(&source, &|_| None, &Options::default());
    let written = tree::parse(&Source::new("lb.yaml", &yaml));
    let said: Vec<_> = written.diagnostics.iter().map(|d| &d.message).collect();
    assert!(said.is_empty(), "{said:?}\n{yaml}");
    let root = |root: &Option<Rc<Node>>| root.as_ref().map(|root| plainly(root));
    assert_eq!(root(&written.root), root(&read.root), "{yaml}");
    if let (Some(read), Some(written)) = (&read.root, &written.root) {
        assert_eq!(quoted_otherwise(read, written), [""; 0], "{yaml}");
    }
}

#[test]
fn words_that_mean_something_to_yaml_are_kept() {
    for word in [
        "a:",
        ":a",
        "a: b",
        "-",
        "- a",
        "#a",
        "a #b",
        "[a",
        "{a}",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "'",
        "\"",
        "\\",
        "a\\",
        "null",
        "~",
        "true",
        "yes",
        "on",
        "5",
        "5s",
        "0x5",
        "1e3",
        ".5",
        "=",
        "<<",
        "?",
        "? a",
        ",",
        "a,b",
        "é",
        "${A}",
        "$$",
        "\u{1f600}",
        "\u{feff}a",
        "\u{85}",
        "\u{2028}",
    ] {
        let quoted = word
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('$', "\\$");
        same(&format!(
            "userlist u\n user a password '{0}'\nfrontend f\n mode http\n bind :80\n acl a path \"{1}\"\n \
             http-request set-header X \"{1}\"\n http-request deny if {{ hdr(\"{1}\") \"{1}\" }}\n balance hdr(\"{1}\")\nbackend b\n \
             balance url_param \"{1}\"\n option httpchk \"{1}\" \"{1}\" \"{1}\"\n hash-type \"{1}\"\n cookie \"{1}\" insert domain \"{1}\"\n \
             stick-table type \"{1}\" size \"{1}\" store \"{1}\"\n server s 192.0.2.1:80 check proto \"{1}\" on-marked-down \"{1}\"\n",
            word.replace('\'', ""),
            quoted
        ));
    }
}

proptest::proptest! {
    /// Sections, keywords and words of all kinds, in no order.
    #[test]
    fn whatever_is_read_is_written(text in r#"((global|defaults|frontend [a-z:.]{1,3}|listen l|backend b|userlist u|( ((acl [a-z.]{1,2} (path|hdr\(x\)|src|nbsrv\(b\)|method)( -i| -m (beg|reg|str|int|found))?)|use_backend [a-z%\[\]]{1,6} if|http-request (set-header X|set-path|deny|return status 200 content-type a string|redirect location|set-var\(txn.a\)|track-sc0|capture)|http-response (set-header|del-header) X|bind :8[0-9]|server s 192.0.2.1:80 check( inter| weight| cookie| ssl verify)?|option (httpchk|forwardfor|httplog|tcp-check|redispatch)|http-check (expect|send)|timeout (client|server|connect)|mode|cookie c (insert|prefix)|stick-table type ip size 1k store|stick on|balance|log-format|errorfile 503|stats (uri|auth|refresh)|user a password|default_backend|# [a-z:#]{1,5})( [!-~é]{1,8}){0,3}))?\n){0,25}"#) {
        same(&text);
    }
}
