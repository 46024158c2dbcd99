//! Conditions and the choices they guard: compiled once from the configuration, evaluated against each request.
//!
//! Every condition has the one form *fetch → converters → match* ([`expr`]); the keys of the YAML file are sugar over it.
//! Evaluation is pure, takes no lock, and allocates only where a converter has to change the text.

pub mod expr;
mod request;

pub use request::RequestView;

use expr::{Converter, Fetch, Match, Test};

use crate::config::model;

/// A list of rules, evaluated top to bottom; what a rule that holds leads to is a `T`.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSet<T> {
    rules: Vec<(Vec<Test>, T)>,
}

impl<T> Default for RuleSet<T> {
    fn default() -> Self {
        Self { rules: Vec::new() }
    }
}

impl<T> RuleSet<T> {
    /// Compiles the rules of a frontend. `resolve` turns the name in `use_backend` into what the caller wants to get
    /// back; a name that it does not know leaves its rule out (a checked configuration has none).
    pub fn compile(rules: &[model::Rule], mut resolve: impl FnMut(&str) -> Option<T>) -> Self {
        let rules = rules
            .iter()
            .filter_map(|rule| {
                let tests = rule.conditions.iter().map(compile).collect();
                resolve(&rule.use_backend).map(|outcome| (tests, outcome))
            })
            .collect();
        Self { rules }
    }

    /// What the first rule whose conditions all hold leads to.
    pub fn first(&self, request: &RequestView<'_>) -> Option<&T> {
        self.rules
            .iter()
            .find(|(tests, _)| tests.iter().all(|test| test.holds(request)))
            .map(|(_, outcome)| outcome)
    }
}

/// One key of an `if:` as an expression.
fn compile(condition: &model::Condition) -> Test {
    match condition {
        model::Condition::PathPrefix {
            values,
            ignore_case,
        } => Test {
            fetch: Fetch::Path,
            converters: Vec::new(),
            pattern: Match::Prefix {
                values: values.clone(),
                ignore_case: *ignore_case,
            },
        },
        model::Condition::Host { values } => Test {
            fetch: Fetch::Host,
            converters: vec![Converter::HostName, Converter::Lower],
            pattern: Match::Domain(values.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Uri, header::HOST};

    use super::*;

    fn rules() -> RuleSet<String> {
        let prefix = |value: &str, ignore_case, to: &str| model::Rule {
            transport: Vec::new(),
            conditions: vec![model::Condition::PathPrefix {
                values: vec![value.into()],
                ignore_case,
            }],
            use_backend: to.into(),
        };
        let host = |value: &str, to: &str| model::Rule {
            transport: Vec::new(),
            conditions: vec![model::Condition::Host {
                values: vec![value.into()],
            }],
            use_backend: to.into(),
        };
        RuleSet::compile(
            &[
                prefix("/ms1/", true, "ms1"),
                prefix("/Exact/", false, "exact"),
                host("api.example.org", "api"),
                host("*.example.net", "wild"),
            ],
            |name| Some(name.to_owned()),
        )
    }

    fn chosen(uri: &str, host: &str) -> Option<String> {
        let uri: Uri = uri.parse().expect("a URI");
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).expect("a header value"));
        rules().first(&RequestView::new(&uri, &headers)).cloned()
    }

    #[test]
    fn a_path_prefix_is_compared_as_text() {
        for (uri, want) in [
            ("/ms1/x", Some("ms1")),
            ("/MS1/x", Some("ms1")),
            ("/ms1", None),
            ("/x?/ms1/", None),
            ("/%6ds1/x", None),
            ("//ms1/x", None),
            ("/Exact/", Some("exact")),
            ("/exact/", None),
            ("http://h/ms1/x", Some("ms1")),
        ] {
            assert_eq!(chosen(uri, "h").as_deref(), want, "{uri}");
        }
    }

    #[test]
    fn a_host_is_compared_without_case_port_and_trailing_dot() {
        for (host, want) in [
            ("api.example.org", Some("api")),
            ("API.Example.Org:8080", Some("api")),
            ("api.example.org.", Some("api")),
            ("api.example.org.:80", Some("api")),
            ("xapi.example.org", None),
            ("a.example.net", Some("wild")),
            ("a.b.example.net", Some("wild")),
            ("example.net", None),
            ("xexample.net", None),
            ("[::1]:80", None),
        ] {
            assert_eq!(chosen("/", host).as_deref(), want, "{host}");
        }
    }

    #[test]
    fn the_first_rule_wins_and_all_conditions_of_a_rule_count() {
        let both = model::Rule {
            transport: Vec::new(),
            conditions: vec![
                model::Condition::PathPrefix {
                    values: vec!["/a".into(), "/b".into()],
                    ignore_case: false,
                },
                model::Condition::Host {
                    values: vec!["h".into()],
                },
            ],
            use_backend: "both".into(),
        };
        let always = model::Rule {
            transport: Vec::new(),
            conditions: Vec::new(),
            use_backend: "always".into(),
        };
        let set = RuleSet::compile(&[both, always], |name| Some(name.to_owned()));
        let pick = |uri: &'static str, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            set.first(&RequestView::new(&Uri::from_static(uri), &headers))
                .cloned()
        };
        assert_eq!(pick("/b/x", "h").as_deref(), Some("both"));
        assert_eq!(pick("/b/x", "i").as_deref(), Some("always"));
        assert_eq!(pick("/c", "h").as_deref(), Some("always"));
    }
}
