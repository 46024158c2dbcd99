//! HAProxy's typed outputs: each value with its place, name, nature and type, as text or as JSON.

use serde_json::{Value, json};

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Form {
    /// One value a line, with its nature and type.
    pub(super) typed: bool,
    /// All in one array.
    pub(super) json: bool,
    /// With what it is.
    pub(super) desc: bool,
}

impl Form {
    /// Takes `word` in, if it is about the form.
    pub(super) fn take(&mut self, word: &str) -> bool {
        match word {
            "typed" => (self.typed, self.json) = (true, false),
            "json" => (self.json, self.typed) = (true, false),
            "desc" => self.desc = true,
            _ => return false,
        }
        true
    }
}

/// A number or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Datum {
    Number(i128),
    Text(String),
}

impl std::fmt::Display for Datum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Origin, nature and scope in HAProxy's letters (management guide, section 9.2), and the type's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(pub(super) &'static str, pub(super) &'static str);

impl Tag {
    /// `MGP:u32`
    pub(super) fn text(self) -> String {
        format!("{}:{}", self.0, self.1)
    }

    /// The letters as words.
    pub(super) fn json(self) -> Value {
        let mut letters = self.0.chars();
        let mut next = || letters.next().unwrap_or(' ');
        let origin = match next() {
            'C' => "Config",
            'K' => "Key",
            'M' => "Metric",
            'P' => "Product",
            'S' => "Status",
            _ => "Unknown",
        };
        let nature = match next() {
            'A' => "Age",
            'a' => "Avg",
            'C' => "Counter",
            'D' => "Duration",
            'G' => "Gauge",
            'L' => "Limit",
            'M' => "Max",
            'm' => "Min",
            'N' => "Name",
            'O' => "Output",
            'R' => "Rate",
            'T' => "Time",
            _ => "Unknown",
        };
        let scope = match next() {
            'C' => "Cluster",
            'P' => "Process",
            'S' => "Service",
            _ => "Unknown",
        };
        json!({"origin": origin, "nature": nature, "scope": scope})
    }

    /// A value of this type.
    pub(super) fn value(self, datum: &Datum) -> Value {
        let value = match datum {
            Datum::Number(number) => u64::try_from(*number)
                .map(Value::from)
                .or_else(|_| i64::try_from(*number).map(Value::from))
                .unwrap_or_default(),
            Datum::Text(text) => Value::from(text.as_str()),
        };
        json!({"type": self.1, "value": value})
    }
}
