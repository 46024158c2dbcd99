//! Which of the endpoint's answers a request asks for.

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// One of the forms of the statistics.
    Stats {
        /// In which form.
        form: Form,
        /// Whether the browser shall ask again (`;norefresh` says no).
        refresh: bool,
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
    let options = match rest.as_bytes().first() {
        None => "",
        Some(b';') => rest.split('?').next().unwrap_or(rest),
        // A uri such as `/haproxy?stats` has used up the question mark; there the rest would be another name.
        Some(b'?') if !uri.contains('?') => "",
        Some(_) => return Route::Unknown,
    };
    let mut form = Form::Html;
    let mut refresh = true;
    for option in options.split(';') {
        match option {
            "csv" => form = Form::Csv,
            "json" => form = Form::Json,
            "norefresh" => refresh = false,
            _ => {}
        }
    }
    Route::Stats { form, refresh }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_and_its_options() {
        let stats = |form, refresh| Route::Stats { form, refresh };
        for (target, expected) in [
            ("/stats", stats(Form::Html, true)),
            ("/stats;norefresh", stats(Form::Html, false)),
            ("/stats;csv", stats(Form::Csv, true)),
            ("/stats;csv;norefresh", stats(Form::Csv, false)),
            ("/stats;json", stats(Form::Json, true)),
            ("/stats;json?x=1", stats(Form::Json, true)),
            ("/stats;st=DENY", stats(Form::Html, true)),
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
    fn a_uri_may_hold_a_question_mark() {
        let csv = Route::Stats {
            form: Form::Csv,
            refresh: true,
        };
        assert_eq!(route("/haproxy?stats;csv", "/haproxy?stats"), csv);
        assert_eq!(route("/haproxy", "/haproxy?stats"), Route::Unknown);
    }
}
