//! `json_query`: `$.a.b[0]` of a JSON text.

use serde_json::Value as Json;

use crate::rules::{problem::Problem, value::Value};

/// A path into a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    steps: Vec<Step>,
    number: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Query {
    /// A path that begins with `$`; `number` if only numbers are wanted.
    pub(super) fn parse(path: &str, number: bool) -> Result<Self, Problem> {
        let bad = || {
            Problem::new(
                format!("`{path}` is no path into JSON"),
                "write it as in `$.users[0].name`",
            )
        };
        let mut rest = path.strip_prefix('$').ok_or_else(bad)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    return Err(bad());
                }
                steps.push(Step::Key(after[..end].to_owned()));
                rest = &after[end..];
            } else {
                let (inside, after) = rest
                    .strip_prefix('[')
                    .and_then(|rest| rest.split_once(']'))
                    .ok_or_else(bad)?;
                let name = inside.trim_matches(['\'', '"']);
                steps.push(match inside.parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) if name.len() < inside.len() => Step::Key(name.to_owned()),
                    Err(_) => return Err(bad()),
                });
                rest = after;
            }
        }
        Ok(Self { steps, number })
    }

    pub(super) fn apply(&self, text: &[u8]) -> Option<Value<'static>> {
        let root: Json = serde_json::from_slice(text).ok()?;
        let found = self.steps.iter().try_fold(&root, |at, step| match step {
            Step::Key(key) => at.get(key),
            Step::Index(index) => at.get(index),
        })?;
        match found {
            Json::Null => None,
            Json::Bool(value) => Some(Value::Bool(*value)),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Some(Value::Int(number)),
                None if self.number => None,
                None => Some(text_of(number.to_string())),
            },
            _ if self.number => None,
            Json::String(text) => Some(text_of(text.clone())),
            Json::Array(_) | Json::Object(_) => Some(text_of(found.to_string())),
        }
    }
}

fn text_of(text: String) -> Value<'static> {
    Value::Str(text.into_bytes().into())
}
