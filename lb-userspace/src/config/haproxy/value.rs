//! The configuration that a haproxy.cfg amounts to, while it is being put together: keys and values with their places,
//! from which comes the same tree as from a YAML file, and the YAML itself.

use std::rc::Rc;

use crate::config::{
    source::Span,
    tree::{Entry, Kind, Node, Scalar},
};

/// A value and where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) span: Span,
    pub(super) what: What,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Text; a number, a duration or a boolean if it is `plain`.
    Text {
        text: String,
        plain: bool,
    },
    List(Vec<Value>),
    Map(Map),
}

/// Keys in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Map(pub(super) Vec<Key>);

/// A key of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) value: Value,
}

impl Value {
    /// Text that is nothing else.
    pub(super) fn text(text: impl Into<String>, span: Span) -> Value {
        let what = What::Text {
            text: text.into(),
            plain: false,
        };
        Value { span, what }
    }

    /// A number, a duration, a boolean or a word of the language.
    pub(super) fn plain(text: impl ToString, span: Span) -> Value {
        let what = What::Text {
            text: text.to_string(),
            plain: true,
        };
        Value { span, what }
    }

    pub(super) fn list(items: Vec<Value>, span: Span) -> Value {
        Value {
            span,
            what: What::List(items),
        }
    }

    pub(super) fn map(map: Map, span: Span) -> Value {
        Value {
            span,
            what: What::Map(map),
        }
    }

    /// Its text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.what {
            What::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it says the same, wherever it comes from.
    pub(super) fn is_same(&self, other: &Value) -> bool {
        match (&self.what, &other.what) {
            (What::Text { text: a, .. }, What::Text { text: b, .. }) => a == b,
            (What::List(a), What::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_same(b))
            }
            (What::Map(a), What::Map(b)) => {
                a.0.len() == b.0.len()
                    && a.0.iter().all(|key| {
                        b.get(&key.name)
                            .is_some_and(|other| key.value.is_same(other))
                    })
            }
            _ => false,
        }
    }

    /// As the tree of a YAML file would have it.
    pub(super) fn node(&self) -> Rc<Node> {
        let kind = match &self.what {
            // What looks like a variable of ours is none: HAProxy's have been filled in.
            What::Text { text, plain } => Kind::Scalar(Scalar {
                text: text.replace("${", "$${"),
                plain: *plain,
            }),
            What::List(items) => Kind::Sequence(items.iter().map(Value::node).collect()),
            What::Map(map) => {
                let entries = map.0.iter().map(|key| Entry {
                    key: key.name.clone(),
                    key_span: key.span,
                    value: key.value.node(),
                });
                Kind::Mapping(entries.collect())
            }
        };
        Node::new(self.span, kind)
    }
}

impl Map {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|key| key.name == name)
            .map(|key| &key.value)
    }

    /// Sets a key, in its place if it is there already.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.set_at(name, value.span, value);
    }

    /// The same, of a key that stands elsewhere than its value.
    pub(super) fn set_at(&mut self, name: &str, span: Span, value: Value) {
        match self.0.iter_mut().find(|key| key.name == name) {
            Some(key) => (key.span, key.value) = (span, value),
            None => self.0.push(Key {
                name: name.to_owned(),
                span,
                value,
            }),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|key| key.name != name);
    }

    /// A mapping below a key, made if it is not there.
    pub(super) fn inner(&mut self, name: &str, span: Span) -> &mut Map {
        let at = match self.0.iter().position(|key| key.name == name) {
            Some(at) => at,
            None => {
                self.set(name, Value::map(Map::default(), span));
                self.0.len() - 1
            }
        };
        let what = &mut self.0[at].value.what;
        if !matches!(what, What::Map(_)) {
            *what = What::Map(Map::default());
        }
        let What::Map(map) = what else {
            unreachable!("made a mapping just above")
        };
        map
    }

    /// Adds to a list below a key.
    pub(super) fn push(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|key| key.name == name) {
            Some(Key {
                value:
                    Value {
                        what: What::List(items),
                        ..
                    },
                ..
            }) => items.push(value),
            _ => {
                let span = value.span;
                self.set(name, Value::list(vec![value], span));
            }
        }
    }

    /// Makes a list of what is below a key, and adds to it.
    pub(super) fn another(&mut self, name: &str, value: Value) {
        let Some(key) = self.0.iter_mut().find(|key| key.name == name) else {
            return self.set(name, value);
        };
        match &mut key.value.what {
            What::List(items) => items.push(value),
            _ => {
                let span = key.value.span;
                let first = key.value.clone();
                key.value = Value::list(vec![first, value], span);
            }
        }
    }

    /// The entries of a list below a key.
    pub(super) fn list_mut(&mut self, name: &str) -> &mut [Value] {
        let key = self.0.iter_mut().find(|key| key.name == name);
        match key.map(|key| &mut key.value.what) {
            Some(What::List(items)) => items,
            _ => &mut [],
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
