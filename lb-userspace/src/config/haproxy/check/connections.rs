//! The connections of a check: `connect` lines, and what is asked over each.

use super::{
    super::{
        lines::Line,
        says::Says,
        value::{Map, Value, What},
    },
    Rules, Way,
    http::merge,
};
use crate::config::source::Span;

impl Rules {
    /// Those of the connection that was named last. One that `asks` again, after it was said what is expected, asks over a
    /// connection of its own.
    pub(super) fn last(&mut self, asks: bool, span: Span) -> &mut Rules {
        let last = self.then.last().unwrap_or(self);
        if asks && last.keys.get("expect").is_some() {
            let mut further = Rules {
                connects: true,
                link: last.link.clone(),
                span: Some(span),
                ..Rules::default()
            };
            for name in ["port", "address"] {
                if let Some(value) = last.keys.get(name) {
                    further.keys.set(name, value.clone());
                }
            }
            self.then.push(further);
        }
        match self.then.len() {
            0 => self,
            count => &mut self.then[count - 1],
        }
    }

    /// An entry of `then:`.
    pub(super) fn further(&self, way: Way, span: Span) -> Value {
        let mut map = Map::default();
        let kind = match way {
            Way::Http => "http",
            _ => "tcp",
        };
        map.set("type", Value::plain(kind, span));
        if way == Way::Http && self.keys.get("method").is_none() {
            map.set("method", Value::plain("OPTIONS", span));
        }
        map.0.extend(self.keys.0.clone());
        if !self.steps.is_empty() {
            map.set("steps", Value::list(self.steps.clone(), span));
        }
        Value::map(map, span)
    }

    /// `tcp-check connect` and `http-check connect`: where the check goes, and what comes before it.
    pub(super) fn connect(&mut self, line: &Line, says: &mut Says) {
        // Variables are set beforehand.
        let sets = |name: &str| matches!(name, "set_var" | "unset_var");
        let asks = self.keys.0.iter().any(|key| !sets(&key.name));
        let mut steps = self.steps.iter();
        let says_something = steps.any(|step| match &step.what {
            What::Map(map) => map.0.iter().any(|key| !sets(&key.name)),
            _ => true,
        });
        if self.connects || says_something || asks {
            let mut further = Rules::default();
            merge(&mut further.keys, std::mem::take(&mut self.later));
            further.connect(line, says);
            self.then.push(further);
            return;
        }
        self.connects = true;
        self.link.own = true;
        let mut words = line.words.iter().skip(2);
        while let Some(word) = words.next() {
            let span = word.span;
            match word.text.as_str() {
                "port" | "addr" | "sni" | "alpn" => {
                    let Some(value) = words.next() else {
                        says.error(
                            span,
                            format!("`{}` without a value", word.text),
                            "write it behind",
                        );
                        return;
                    };
                    let text = Value::text(value.text.as_str(), value.span);
                    match word.text.as_str() {
                        "port" => {
                            if let Some(number) = says.number(&value.text, value.span) {
                                self.keys.set("port", number);
                            }
                        }
                        "addr" => self.keys.set("address", text),
                        "sni" => self.link.tls.set("sni", text),
                        _ => {
                            let names = value.text.split(',');
                            let names = names.map(|name| Value::text(name, value.span));
                            let list = Value::list(names.collect(), value.span);
                            self.link.tls.set("alpn", list);
                        }
                    }
                }
                "ssl" => self.link.secure = true,
                "send-proxy" => self.link.introduced = true,
                "default" => self.link.own = false,
                "linger" => {}
                "comment" => {
                    let _ = words.next();
                }
                other => says.unsupported(span, &format!("{} connect … {other}", line.keyword())),
            }
        }
    }
}
