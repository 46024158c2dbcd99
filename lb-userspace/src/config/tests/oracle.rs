//! Another YAML reader as a witness: where it reads a file at all, it reads the same as ours.
//!
//! serde_yaml itself cannot be the reader (it stops at the first error, and has no place for keys), but what operators'
//! other tools make of a file should be what the daemon makes of it.

use std::fs;

use serde_yaml::Value;

use super::{
    files::examples,
    tree::{Kind, Node},
    *,
};

/// The same keys in the same order, and the same text in scalars.
fn agree(ours: &Node, theirs: &Value, path: &str) {
    match (&ours.kind, theirs) {
        (Kind::Mapping(entries), Value::Mapping(mapping)) => {
            let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            let their_keys: Vec<&str> = mapping.keys().filter_map(Value::as_str).collect();
            assert_eq!(keys, their_keys, "{path}");
            for entry in entries {
                agree(
                    &entry.value,
                    &mapping[entry.key.as_str()],
                    &format!("{path}.{}", entry.key),
                );
            }
        }
        (Kind::Sequence(items), Value::Sequence(sequence)) => {
            assert_eq!(items.len(), sequence.len(), "{path}");
            for (item, other) in items.iter().zip(sequence) {
                agree(item, other, path);
            }
        }
        (Kind::Scalar(scalar), Value::String(text)) => assert_eq!(&scalar.text, text, "{path}"),
        (Kind::Scalar(scalar), Value::Number(number)) => {
            assert_eq!(scalar.text, number.to_string(), "{path}");
        }
        (Kind::Scalar(scalar), Value::Bool(on)) => {
            assert_eq!(scalar.text, on.to_string(), "{path}");
        }
        (_, Value::Null) => assert!(ours.is_null(), "{path}"),
        _ => panic!("{path}: {} here, {theirs:?} there", ours.kind_name()),
    }
}

#[test]
fn examples_mean_the_same_to_others() {
    for path in examples() {
        let text = fs::read_to_string(&path).unwrap();
        let theirs: Value = serde_yaml::from_str(&text).unwrap();
        let ours = tree::parse(&Source::new("lb.yaml", &text)).root.unwrap();
        agree(&ours, &theirs, &path.display().to_string());
    }
}

/// Text that we take unquoted is text to others too, or a number that is written the same.
#[test]
fn unquoted_text_means_the_same_to_others() {
    let words = [
        "s1",
        "1",
        "0",
        "-1",
        "+1",
        "0x1f",
        "0b1",
        "0o7",
        "007",
        "1_0",
        "1e3",
        "1.0",
        ".5",
        "1.",
        ".inf",
        "-.inf",
        ".nan",
        "true",
        "True",
        "TRUE",
        "yes",
        "no",
        "on",
        "off",
        "~",
        "null",
        "NULL",
        "22:30",
        "2026-11-23",
        "ms1.srv1",
        "1.2.3.4",
        "99999999999999999999",
        "0.0.0.0",
        "e1",
        "1e",
        "inf",
        "nan",
        "- a",
        "--",
    ];
    let mut taken = 0;
    for word in words {
        let text = format!("stats: {{ bind: '127.0.0.1:1', realm: {word} }}\n");
        let Ok(loaded) = parse("lb.yaml", &text, &no_environment) else {
            continue;
        };
        let theirs = match serde_yaml::from_str::<Value>(word) {
            Ok(Value::String(text)) => text,
            Ok(Value::Number(number)) => number.to_string(),
            other => panic!("`{word}` is {other:?} to others"),
        };
        assert_eq!(loaded.config.stats.unwrap().realm, theirs);
        taken += 1;
    }
    assert!(taken >= 8, "{taken}");
}
