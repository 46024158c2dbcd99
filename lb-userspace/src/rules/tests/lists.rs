//! Lists of rules.

use super::*;

fn template(text: &str) -> Template {
    Template::parse(text, &mut registry()).unwrap()
}

fn when(text: &str, how: How, pattern: &str) -> Option<Condition> {
    Some(Condition::Test(Test {
        expr: Expr::parse(text, &mut registry()).unwrap(),
        how,
        matcher: Matcher::new(how, false, &[pattern.to_owned()]).unwrap(),
    }))
}

fn to(name: &str) -> Option<End> {
    Some(End::Backend(Target::Named(Named::new(name))))
}

/// What becomes of a request, in a word.
fn outcome(rules: &RuleSet, head: &mut request::Parts) -> String {
    let (mut state, mut later) = (State::default(), Later::default());
    match rules.request(0, head, &mut state, &mut later, &Fixed).0 {
        Outcome::Await(_) => "waits".to_owned(),
        Outcome::Resolve(..) => "resolves".to_owned(),
        Outcome::Verify(_) => "verify".to_owned(),
        Outcome::Metrics => "metrics".to_owned(),
        Outcome::Drop(silent) => format!("drop {silent}"),
        Outcome::Continue => "continue".into(),
        Outcome::Backend(Target::Named(named)) => named.name().to_owned(),
        Outcome::Backend(Target::Computed(_)) => "computed".into(),
        Outcome::Named(name) => format!("named {}", String::from_utf8_lossy(&name)),
        Outcome::Answer(reply) => {
            let location = reply
                .headers
                .get("location")
                .map(|v| v.to_str().unwrap().to_owned());
            format!("{} {}", reply.status.as_u16(), location.unwrap_or_default())
        }
        Outcome::Deny(denial) => format!(
            "deny {} {:?}",
            denial.status.as_u16(),
            denial.header.map(|(_, v)| v)
        ),
    }
}

#[test]
fn the_first_rule_that_ends_the_list_decides_and_edits_are_seen_below() {
    let rules = RuleSet::new(vec![
        Rule {
            condition: when("path", How::Prefix, "/old/"),
            edits: vec![
                Edit::ReplacePath(
                    Regex::new("^/old/(.*)", false).unwrap(),
                    template("/new/\\1"),
                ),
                Edit::Header(
                    "x-was".parse().unwrap(),
                    HeaderOp::Set(template("%[path] of %[host]%%")),
                ),
            ],
            ..Rule::default()
        },
        Rule {
            condition: when("path", How::Prefix, "/new/"),
            end: to("new"),
            ..Rule::default()
        },
        Rule {
            end: to("rest"),
            ..Rule::default()
        },
    ]);
    let mut request = head("GET", "/old/a?q=1", &[("host", "H")]);
    assert_eq!(outcome(&rules, &mut request), "new");
    assert_eq!(request.uri, "/new/a?q=1");
    assert_eq!(request.headers["x-was"], "/new/a of h%");
    assert_eq!(outcome(&rules, &mut head("GET", "/x", &[])), "rest");
}

#[test]
fn targets_stay_well_formed_whatever_they_are_made_of() {
    let made = |edit: Edit, uri: &str| {
        let rules = RuleSet::new(vec![Rule {
            edits: vec![edit],
            ..Rule::default()
        }]);
        let mut request = head("GET", uri, &[("x-a", "a b?c#d"), ("host", "h")]);
        outcome(&rules, &mut request);
        request.uri.to_string()
    };
    let value = || template("/%[hdr(x-a)]");
    assert_eq!(made(Edit::SetPath(value()), "/x?q"), "/a%20b%3Fc%23d?q");
    assert_eq!(made(Edit::SetPath(template("")), "/x?q"), "/?q");
    assert_eq!(
        made(Edit::SetQuery(template("?%[hdr(x-a)]")), "/x?q"),
        "/x?a%20b?c%23d"
    );
    assert_eq!(made(Edit::SetQuery(template("")), "/x?q"), "/x");
    assert_eq!(
        made(Edit::SetUri(template("/y?z=%[path]")), "/x?q"),
        "/y?z=/x"
    );
    assert_eq!(
        made(Edit::SetPath(template("/p%[path]")), "http://h/x"),
        "http://h/p/x"
    );
}

#[test]
fn a_path_and_a_query_leave_the_host_alone() {
    let made = |edit: Edit| {
        let rules = RuleSet::new(vec![Rule {
            edits: vec![edit],
            ..Rule::default()
        }]);
        let mut request = head("GET", "/x?q", &[("x-a", "http://evil/z?y"), ("host", "h")]);
        outcome(&rules, &mut request);
        let host = request.headers["host"].to_str().unwrap();
        format!("{host} {}", request.uri)
    };
    let all = || Regex::new(".*", false).unwrap();
    let value = || template("%[hdr(x-a)]");
    assert_eq!(made(Edit::SetPathQuery(value())), "h /z?y");
    assert_eq!(made(Edit::ReplacePathQuery(all(), value())), "h /z?y");
    assert_eq!(made(Edit::SetUri(value())), "evil /z?y");
    assert_eq!(made(Edit::ReplaceUri(all(), value())), "evil /z?y");
}

#[test]
fn fields_are_changed_and_never_split() {
    let change = |operation: HeaderOp| {
        let rules = RuleSet::new(vec![Rule {
            edits: vec![Edit::Header("x-a".parse().unwrap(), operation)],
            ..Rule::default()
        }]);
        let fields = [
            ("x-a", "one, two"),
            ("x-a", "three"),
            ("x-b", "1%0d%0aX: y"),
        ];
        let mut request = head("GET", "/", &fields);
        outcome(&rules, &mut request);
        let values = request.headers.get_all("x-a").iter();
        values
            .map(|v| v.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let replace = |pattern: &str, whole| HeaderOp::Replace {
        regex: Regex::new(pattern, false).unwrap(),
        by: template("<\\1>"),
        whole,
    };
    for text in ["%[hdr(x-b),url_dec]", "%{+E}[hdr(x-b),url_dec]"] {
        assert_eq!(change(HeaderOp::Set(template(text))), ["1%0D%0AX: y"]);
        let whole = HeaderOp::Replace {
            regex: Regex::new("^three$", false).unwrap(),
            by: template(text),
            whole: true,
        };
        assert_eq!(change(whole), ["one, two", "1%0D%0AX: y"]);
    }
    assert_eq!(
        change(HeaderOp::Add(template("four"))),
        ["one, two", "three", "four"]
    );
    assert!(change(HeaderOp::Delete).is_empty());
    assert_eq!(change(replace("^t(.*)", true)), ["one, two", "<hree>"]);
    assert_eq!(change(replace("^t(.*)", false)), ["one,<wo>", "<hree>"]);
}

#[test]
fn redirects_are_haproxys() {
    let redirect = |to, code: u16, drop_query| {
        RuleSet::new(vec![Rule {
            end: Some(End::Redirect(Box::new(Redirect {
                ignore_empty: false,
                to,
                code: StatusCode::from_u16(code).unwrap(),
                drop_query,
                append_slash: false,
                cookie: None,
            }))),
            ..Rule::default()
        }])
    };
    let request = || head("GET", "/a?b=c", &[("host", "ex.org:99")]);
    for (to, code, drop, want) in [
        (
            Location::Whole(template("/x%[path]")),
            302,
            false,
            "302 /x/a",
        ),
        // As it is, or without the line's end, `//` would make a host of what follows.
        (
            Location::Whole(template(
                "/%[str(%0a/evil.example),url_dec]%[str(%7f%00),url_dec]",
            )),
            302,
            false,
            "302 /%0A/evil.example%7F%00",
        ),
        (
            Location::Prefix(template("https://h.example")),
            301,
            false,
            "301 https://h.example/a?b=c",
        ),
        (Location::Prefix(template("/")), 307, true, "307 /a"),
        (
            Location::Scheme(template("https")),
            308,
            false,
            "308 https://ex.org:99/a?b=c",
        ),
    ] {
        assert_eq!(outcome(&redirect(to, code, drop), &mut request()), want);
    }
}

#[test]
fn gates_refuse() {
    let users = Users::new(vec![("user".into(), "pa:ss".into())]).unwrap();
    let auth = RuleSet::new(vec![Rule {
        gates: vec![Gate::Auth {
            realm: None,
            users: users.into(),
        }],
        end: to("in"),
        ..Rule::default()
    }]);
    let with = |value| head("GET", "/", &[("authorization", value)]);
    assert_eq!(outcome(&auth, &mut with("Basic dXNlcjpwYTpzcw==")), "in");
    let refused = "deny 401 Some(\"Basic realm=\\\"web\\\"\")";
    assert_eq!(outcome(&auth, &mut with("Basic dXNlcjp3cm9uZw==")), refused);
    assert_eq!(outcome(&auth, &mut head("GET", "/", &[])), refused);

    let limit = RuleSet::new(vec![Rule {
        gates: vec![Gate::RateLimit {
            key: template("%[hdr(x-key)]"),
            limiter: Limiter::new(1, 5000, 2).into(),
            status: StatusCode::TOO_MANY_REQUESTS,
        }],
        end: to("in"),
        ..Rule::default()
    }]);
    let with = |key| head("GET", "/", &[("x-key", key)]);
    for want in ["in", "in", "deny 429 Some(\"5\")"] {
        assert_eq!(outcome(&limit, &mut with("a")), want);
    }
    assert_eq!(outcome(&limit, &mut with("b")), "in");
}

#[test]
fn response_parts_see_the_request_as_it_was_sent() {
    let rules = RuleSet::new(vec![
        Rule {
            edits: vec![Edit::SetPath(template("/changed"))],
            ..Rule::default()
        },
        Rule {
            condition: when("path", How::Exact, "/sent"),
            response: Some(ResponsePart {
                condition: when("status", How::Number, "500:599"),
                edits: vec![Edit::Header(
                    "x-path".parse().unwrap(),
                    HeaderOp::Set(template("%[path] %[status]")),
                )],
                end: None,
                needs_request: true,
                wait: None,
            }),
            ..Rule::default()
        },
        Rule {
            condition: when("path", How::Exact, "/changed"),
            end: to("changed"),
            ..Rule::default()
        },
    ]);
    let (mut state, mut later) = (State::default(), Later::default());
    let mut request = head("GET", "/sent", &[]);
    let (end, _) = rules.request(0, &mut request, &mut state, &mut later, &Fixed);
    assert!(matches!(end, Outcome::Backend(_)));
    for (status, want) in [(200, None), (503, Some("/sent 503"))] {
        let response = http::Response::builder().status(status).body(()).unwrap();
        let mut response = response.into_parts().0;
        rules
            .response(
                &mut Reached::default(),
                &later,
                &mut response,
                &mut state,
                &Fixed,
            )
            .unwrap();
        let got = response
            .headers
            .get("x-path")
            .map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(got.as_deref(), want);
    }
}

#[test]
fn computed_names_go_on_with_the_list_if_they_are_none() {
    let rules = RuleSet::new(vec![
        Rule {
            end: Some(End::Backend(Target::Computed(template("b-%[hdr(x-b)]")))),
            ..Rule::default()
        },
        Rule {
            end: to("last"),
            ..Rule::default()
        },
    ]);
    let (mut state, mut later) = (State::default(), Later::default());
    let mut request = head("GET", "/", &[("x-b", "7")]);
    let (first, next) = rules.request(0, &mut request, &mut state, &mut later, &Fixed);
    assert!(matches!(first, Outcome::Named(name) if name == b"b-7"));
    let (second, _) = rules.request(next, &mut request, &mut state, &mut later, &Fixed);
    assert!(matches!(second, Outcome::Backend(_)));
}

#[test]
fn variables_keep_their_type() {
    let mut registry = registry();
    let id = registry.var("txn.n").unwrap();
    let number = Template::parse("%[int(41),add(1)]", &mut registry).unwrap();
    let seen = Template::parse(
        "%[int(1),add(txn.n)] %[var(txn.n),mul(2)] %[var(txn.none)]",
        &mut registry,
    )
    .unwrap();
    let rules = RuleSet::new(vec![Rule {
        edits: vec![
            Edit::SetVar(id, Only::default(), number),
            Edit::Header("x-n".parse().unwrap(), HeaderOp::Set(seen)),
        ],
        ..Rule::default()
    }]);
    let mut request = head("GET", "/", &[]);
    outcome(&rules, &mut request);
    assert_eq!(request.headers["x-n"], "43 84");
}

#[test]
fn a_rules_condition_is_asked_once_for_the_request_and_the_response() {
    let set = |name: &str| {
        let op = HeaderOp::Set(template("1"));
        Edit::Header(name.parse().unwrap(), op)
    };
    let rules = RuleSet::new(vec![
        Rule {
            edits: vec![set("x-first")],
            ..Rule::default()
        },
        Rule {
            // Holds of the request as it is by now, not as it came.
            condition: when("req.hdr(x-first)", How::Exact, "1"),
            edits: vec![set("x-second")],
            response: Some(ResponsePart {
                condition: None,
                edits: vec![set("x-answered")],
                end: None,
                needs_request: false,
                wait: None,
            }),
            ..Rule::default()
        },
    ]);
    let mut request = head("GET", "/", &[]);
    let (mut state, mut later) = (State::default(), Later::default());
    rules.request(0, &mut request, &mut state, &mut later, &Fixed);
    assert_eq!(request.headers["x-second"], "1");
    let mut response = http::Response::new(()).into_parts().0;
    rules
        .response(
            &mut Reached::default(),
            &later,
            &mut response,
            &mut state,
            &Fixed,
        )
        .unwrap();
    assert_eq!(response.headers["x-answered"], "1");
}

#[test]
fn a_variable_made_of_itself_stays_bounded() {
    let mut registry = registry();
    let id = registry.var("sess.x").unwrap();
    let twice = Template::parse("%[var(sess.x)]%[var(sess.x)]a", &mut registry).unwrap();
    let rules = RuleSet::new(vec![Rule {
        edits: vec![Edit::SetVar(id.clone(), Only::default(), twice)],
        ..Rule::default()
    }]);
    let (mut state, mut later) = (State::default(), Later::default());
    for _ in 0..40 {
        let mut request = head("GET", "/", &[]);
        rules.request(0, &mut request, &mut state, &mut later, &Fixed);
    }
    let length = id.get(&state).unwrap().into_text().len();
    assert_eq!(length, 256 << 10);
}

#[test]
fn several_authorizations_are_none() {
    let users = std::sync::Arc::new(Users::new(vec![("a".into(), "b".into())]).unwrap());
    let rules = RuleSet::new(vec![Rule {
        gates: vec![Gate::Auth { users, realm: None }],
        ..Rule::default()
    }]);
    let good = ("authorization", "Basic YTpi");
    assert_eq!(outcome(&rules, &mut head("GET", "/", &[good])), "continue");
    let mut twice = head("GET", "/", &[good, ("authorization", "Basic eDp5")]);
    assert_ne!(outcome(&rules, &mut twice), "continue");
}

#[test]
fn what_is_allowed_goes_past_everything_but_the_choice_of_a_backend() {
    let deny = Some(End::Deny {
        status: StatusCode::FORBIDDEN,
        tarpit: false,
        answer: None,
    });
    let ends = |condition, end| Rule {
        condition,
        end,
        ..Rule::default()
    };
    let rules = RuleSet::new(vec![
        ends(when("path", How::Prefix, "/free/"), Some(End::Allow)),
        ends(None, deny),
        ends(None, to("app")),
    ]);
    assert_eq!(outcome(&rules, &mut head("GET", "/free/a", &[])), "app");
    assert_eq!(
        outcome(&rules, &mut head("GET", "/a", &[])),
        "deny 403 None"
    );
}

#[test]
fn a_slow_password_is_verified_for_a_rule_that_comes_to_ask_and_once() {
    let hash = format!("$6$rounds=1000$saltstring${}", "a".repeat(86));
    let users = std::sync::Arc::new(Users::new(vec![("user".into(), hash)]).unwrap());
    let rules = RuleSet::new(vec![
        Rule {
            condition: when("path", How::Prefix, "/denied"),
            end: Some(End::Drop { silent: false }),
            ..Rule::default()
        },
        Rule {
            condition: when("path", How::Prefix, "/admin"),
            gates: vec![Gate::Auth {
                users: std::sync::Arc::clone(&users),
                realm: None,
            }],
            ..Rule::default()
        },
    ]);
    let with = |path| head("GET", path, &[("authorization", "Basic dXNlcjpwYTpzcw==")]);
    assert_eq!(outcome(&rules, &mut with("/app")), "continue");
    assert_eq!(outcome(&rules, &mut with("/denied")), "drop false");
    assert_eq!(
        outcome(&rules, &mut head("GET", "/admin", &[])),
        r#"deny 401 Some("Basic realm=\"web\"")"#
    );
    // What is found out is not asked again, and holds for that field alone.
    let (mut state, mut later) = (State::default(), Later::default());
    let mut asked = with("/admin");
    let (Outcome::Verify(unknown), at) =
        rules.request(0, &mut asked, &mut state, &mut later, &Fixed)
    else {
        panic!("it is known already");
    };
    assert_eq!(
        (at, unknown.field.as_bytes()),
        (1, b"Basic dXNlcjpwYTpzcw==".as_slice())
    );
    state.check(unknown, true);
    let (outcome, _) = rules.request(at, &mut asked, &mut state, &mut later, &Fixed);
    assert!(matches!(outcome, Outcome::Continue), "{outcome:?}");
    let mut other = head("GET", "/admin", &[("authorization", "Basic dXNlcjp4")]);
    let (outcome, _) = rules.request(at, &mut other, &mut state, &mut later, &Fixed);
    assert!(matches!(outcome, Outcome::Verify(_)), "{outcome:?}");
}
