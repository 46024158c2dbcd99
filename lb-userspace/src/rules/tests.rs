//! Expressions, conditions, templates and rules against requests made up here.

use std::{net::SocketAddr, path::Path};

use http::{Request, StatusCode, request};

use super::{action::*, *};

mod expressions;
mod lists;

/// A connection like any other.
struct Fixed;

impl World for Fixed {
    fn source(&self) -> Option<SocketAddr> {
        Some(([192, 0, 2, 7], 4711).into())
    }

    fn destination(&self) -> Option<SocketAddr> {
        Some(([203, 0, 113, 1], 443).into())
    }

    fn frontend(&self) -> &str {
        "web"
    }

    fn backend(&self) -> Option<&str> {
        None
    }

    fn fact(&self, fact: &Fact) -> Option<i64> {
        match fact {
            Fact::UsableServers(Some(name)) => Some(if name.name() == "app" { 2 } else { 0 }),
            _ => None,
        }
    }

    fn tls(&self, fact: TlsFact) -> Option<Value<'_>> {
        match fact {
            TlsFact::Used => Some(Value::Bool(true)),
            TlsFact::Sni => Some(Value::text("www.example.org")),
            _ => None,
        }
    }

    fn now_ms(&self) -> u64 {
        1000
    }
}

fn head(method: &str, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn registry() -> Registry<'static> {
    Registry::new(Path::new("/"))
}

/// What comes of an expression, as text; `-` for nothing.
fn sample(text: &str, head: &request::Parts) -> String {
    let expr =
        Expr::parse(text, &mut registry()).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    let state = State::default();
    let scene = Scene {
        request: Some(RequestView::new(head)),
        response: None,
        state: &state,
        world: &Fixed,
    };
    match expr.sample(&scene) {
        Some(value) => String::from_utf8_lossy(&value.into_text()).into_owned(),
        None => "-".into(),
    }
}

/// Whether any value of an expression matches.
fn matches(text: &str, how: How, fold: bool, patterns: &[&str], head: &request::Parts) -> bool {
    let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
    let test = Test {
        expr: Expr::parse(text, &mut registry()).unwrap(),
        how,
        matcher: Matcher::new(how, fold, &patterns).unwrap(),
    };
    let state = State::default();
    test.holds(&Scene {
        request: Some(RequestView::new(head)),
        response: None,
        state: &state,
        world: &Fixed,
    })
}
