//! conf/lb.schema.json is what readers have asked of files that say much: the examples, and one made for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{super::*, files::examples};
use crate::config::{
    record::{Read, Record, recorded},
    tree::{Kind, Node},
};

/// What is known of the values at one place.
#[derive(Debug, Default)]
struct Shape {
    /// Keys that a mapping here may have; `None` if there was none.
    keys: Option<BTreeMap<String, Shape>>,
    /// What a mapping has under names of its own.
    names: Option<Box<Shape>>,
    items: Option<Box<Shape>>,
    reads: Vec<Read>,
    /// A single value was read in another way: it may be anything.
    free: bool,
}

impl Shape {
    fn see(&mut self, node: &Node, record: &Record) {
        match &node.kind {
            _ if node.is_null() => {}
            Kind::Mapping(entries) => match record.tables.get(&(entries.as_ptr() as usize)) {
                Some(known) => {
                    let keys = self.keys.get_or_insert_default();
                    for key in known {
                        keys.entry((*key).to_owned()).or_default();
                    }
                    for entry in entries {
                        if let Some(shape) = keys.get_mut(&entry.key) {
                            shape.see(&entry.value, record);
                        }
                    }
                }
                None => {
                    let names = self.names.get_or_insert_default();
                    entries.iter().for_each(|e| names.see(&e.value, record));
                }
            },
            Kind::Sequence(items) => {
                let shape = self.items.get_or_insert_default();
                items.iter().for_each(|item| shape.see(item, record));
            }
            Kind::Scalar(_) => match record.values.get(&(std::ptr::from_ref(node) as usize)) {
                Some(reads) => {
                    let new = reads.iter().filter(|read| !self.reads.contains(read));
                    let new: Vec<_> = new.cloned().collect();
                    self.reads.extend(new);
                }
                None => self.free = true,
            },
            Kind::Poisoned => {}
        }
    }

    fn schema(&self) -> Value {
        let mut schema = Map::new();
        match (&self.keys, &self.names) {
            (Some(keys), None) => {
                let keys = keys
                    .iter()
                    .map(|(key, shape)| (key.clone(), shape.schema()));
                schema.insert("properties".into(), Value::Object(keys.collect()));
                schema.insert("additionalProperties".into(), false.into());
            }
            (None, Some(names)) => {
                let names = names.schema();
                if names != json!({}) {
                    schema.insert("additionalProperties".into(), names);
                }
            }
            // Either, by what else is there.
            _ => {}
        }
        if let Some(items) = self.items.as_ref().map(|items| items.schema())
            && items != json!({})
        {
            schema.insert("items".into(), items);
        }
        if !self.reads.is_empty() && !self.free {
            schema.insert("anyOf".into(), self.single());
        }
        Value::Object(schema)
    }

    /// What a single value may be; a list or a mapping in its place is for other words to judge.
    fn single(&self) -> Value {
        let mut any = Vec::new();
        let mut words = BTreeSet::new();
        for read in &self.reads {
            match read {
                Read::Boolean => any.push(json!({ "type": "boolean" })),
                Read::Number(least, most) => {
                    any.push(json!({ "type": "integer", "minimum": least, "maximum": most }));
                }
                Read::Choice(names) => words.extend(names.clone()),
            }
        }
        if !words.is_empty() {
            any.push(json!({ "enum": spelled(&words) }));
        }
        any.push(json!({ "type": "string", "pattern": "\\$\\{" }));
        any.push(json!({ "type": ["object", "array", "null"] }));
        any.sort_by_key(Value::to_string);
        any.into()
    }
}

/// Words, and what readers of YAML make of those that are not quoted: numbers, and booleans of YAML 1.1.
fn spelled(words: &BTreeSet<String>) -> Vec<Value> {
    let mut all: Vec<Value> = words.iter().map(|word| word.as_str().into()).collect();
    for word in words {
        let value = match word.as_str() {
            "off" | "no" | "false" => false.into(),
            "on" | "yes" | "true" => true.into(),
            word => match word.parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) => continue,
            },
        };
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn schema() -> Value {
    let environment = |_: &str| None;
    let record = recorded(|| {
        let more = [folder("src/config/tests/schema.yaml")];
        for path in examples().into_iter().chain(more) {
            if let Err(found) = load(&path, &environment) {
                panic!("{}", found.render(false));
            }
        }
    });
    let mut shape = Shape::default();
    for root in &record.roots {
        shape.see(root, &record);
    }
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The configuration of lb",
        "description": "Which keys there are, and what is known of their values. `lb check` knows more.",
        "type": "object",
    });
    let Value::Object(more) = shape.schema() else {
        panic!("it is an object");
    };
    schema.as_object_mut().unwrap().extend(more);
    schema
}

fn stored() -> Value {
    serde_json::from_str(SCHEMA).expect("it is JSON")
}

/// `LB_WRITE_SCHEMA` set writes it.
#[test]
fn the_schema_is_what_readers_ask() {
    let schema = schema();
    if std::env::var_os("LB_WRITE_SCHEMA").is_some() {
        let text = serde_json::to_string_pretty(&schema)
            .unwrap()
            .replace("  ", " ");
        fs::write(folder("../conf/lb.schema.json"), text + "\n").unwrap();
        return;
    }
    assert!(
        schema == stored(),
        "conf/lb.schema.json is of other keys: set LB_WRITE_SCHEMA and run this test to write it"
    );
}

/// So much of a validator as the schema has words. Where it does not fit.
fn judge(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(any) = schema["anyOf"].as_array()
        && !any.iter().any(|one| judge(one, value, at).is_ok())
    {
        return Err(format!("{at}: {value} is none of {any:?}"));
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        other => panic!("{other}"),
    };
    let fits = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        _ => true,
    };
    let words = schema["enum"].as_array();
    let bounds = [("minimum", 1), ("maximum", -1)].iter().all(|(key, sign)| {
        let bound = schema[key].as_i64().zip(value.as_i64());
        bound.is_none_or(|(bound, number)| (number - bound) * sign >= 0)
    });
    let variable = schema["pattern"].is_null() || value.as_str().is_some_and(|s| s.contains("${"));
    if !fits || !words.is_none_or(|words| words.contains(value)) || !bounds || !variable {
        return Err(format!("{at}: {value} does not fit"));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => return Err(format!("{at} is no key")),
            (Value::Null, Value::Null) => {}
            (Value::Null, of) | (of, _) => judge(of, inner, &at)?,
        }
    }
    for (number, inner) in value.as_array().into_iter().flatten().enumerate() {
        judge(&schema["items"], inner, &format!("{at}/{number}"))?;
    }
    Ok(())
}

fn judged(text: &str) -> Result<(), String> {
    let value: Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    judge(&stored(), &value, "")
}

#[test]
fn the_schema_accepts_every_example() {
    for path in examples() {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(judged(&text), Ok(()), "{}", path.display());
    }
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    for (text, expected) in [
        ("frontend: {}", "/frontend is no key"),
        ("global: { maxcon: 3 }", "/global/maxcon is no key"),
        (
            "global: { fast_path: { atach: tc } }",
            "/global/fast_path/atach is no key",
        ),
        (
            "frontends: { web: { binds: x } }",
            "/frontends/web/binds is no key",
        ),
        (
            "frontends: { web: { mode: udp } }",
            "/frontends/web/mode: \"udp\" is none of",
        ),
        (
            "backends: { a: { servers: [{ name: a, weight: 300 }] } }",
            "weight: 300 is none of",
        ),
        (
            "backends: { a: { servers: [{ name: a, adress: x }] } }",
            "/servers/0/adress is no key",
        ),
        (
            "backends: { a: { health_check: { rize: 3 } } }",
            "/health_check/rize is no key",
        ),
        (
            "stats: { metrics: { server: false } }",
            "/stats/metrics/server is no key",
        ),
        (
            "backends: { a: { servers: [{ name: a, backup: maybe }] } }",
            "backup: \"maybe\" is none",
        ),
        ("[]", "does not fit"),
    ] {
        let found = judged(text).expect_err(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
    assert_eq!(
        judged("backends: { a: { servers: [{ name: a, weight: \"${W}\" }] } }"),
        Ok(())
    );
}
