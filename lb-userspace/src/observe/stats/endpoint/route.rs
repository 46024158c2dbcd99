//! Which of the endpoint's answers a request asks for.

use super::super::page::View;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// One of the forms of the statistics.
    Stats {
        /// In which form.
        form: Form,
        /// What of them.
        view: View,
    },
    /// `/metrics`.
    Metrics,
    /// `/healthz`.
    Health,
    /// None of these.
    Unknown,
}

/// A form of the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The page.
    Html,
    /// HAProxy's CSV.
    Csv,
    /// Everything as JSON.
    Json,
}

/// Looks at `target`, a request's path and query, where the page is at `uri`.
///
/// As with HAProxy, options follow the uri, each after a `;`, and ones that are not known do nothing.
pub(super) fn route(target: &str, uri: &str) -> Route {
    match target.split_once('?').map_or(target, |(path, _)| path) {
        "/metrics" => return Route::Metrics,
        "/healthz" => return Route::Health,
        _ => {}
    }
    let Some(rest) = target.strip_prefix(uri) else {
        return Route::Unknown;
    };
    let (options, query) = match rest.as_bytes().first() {
        None => ("", ""),
        Some(b';') => rest.split_once('?').unwrap_or((rest, "")),
        // A uri such as `/haproxy?stats` has used up the question mark; there the rest would be another name.
        Some(b'?') if !uri.contains('?') => ("", rest.get(1..).unwrap_or_default()),
        Some(_) => return Route::Unknown,
    };
    let mut form = Form::Html;
    let mut view = View::default();
    view.query(query);
    for option in options.split(';') {
        match option {
            "csv" => form = Form::Csv,
            "json" => form = Form::Json,
            option => view.option(option),
        }
    }
    Route::Stats { form, view }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_and_its_options() {
        let stats = |form, refresh: bool| {
            let once = !refresh;
            let view = View {
                once,
                ..View::default()
            };
            Route::Stats { form, view }
        };
        for (target, expected) in [
            ("/stats", stats(Form::Html, true)),
            ("/stats;norefresh", stats(Form::Html, false)),
            ("/stats;csv", stats(Form::Csv, true)),
            ("/stats;csv;norefresh", stats(Form::Csv, false)),
            ("/stats;json", stats(Form::Json, true)),
            ("/stats;json?x=1", stats(Form::Json, true)),
            ("/stats;nonsense;;", stats(Form::Html, true)),
            ("/stats?x", stats(Form::Html, true)),
            ("/statsx", Route::Unknown),
            ("/stats/", Route::Unknown),
            ("/", Route::Unknown),
            ("/metrics", Route::Metrics),
            ("/metrics?name=x", Route::Metrics),
            ("/healthz", Route::Health),
            ("/healthz/x", Route::Unknown),
        ] {
            assert_eq!(route(target, "/stats"), expected, "{target}");
        }
    }

    #[test]
    fn a_scope_is_an_option_or_a_query() {
        for target in [
            "/stats;up;scope=a%2Fb",
            "/stats;up?scope=a/b&x",
            "/stats;up?scope=a%2fb",
        ] {
            let Route::Stats { view, .. } = route(target, "/stats") else {
                panic!("{target} is the page");
            };
            assert!(view.up && view.scope.as_deref() == Some("a/b"), "{target}");
        }
    }

    #[test]
    fn a_uri_may_hold_a_question_mark() {
        let csv = Route::Stats {
            form: Form::Csv,
            view: View::default(),
        };
        assert_eq!(route("/haproxy?stats;csv", "/haproxy?stats"), csv);
        assert_eq!(route("/haproxy", "/haproxy?stats"), Route::Unknown);
    }
}
