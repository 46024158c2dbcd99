use super::*;

fn found(text: &str, how: How, value: Value<'_>) -> Option<String> {
    let entries = parse(text, how, false, Output::Text).unwrap();
    let value = entries
        .patterns
        .find(&value)?
        .value
        .borrowed()
        .into_text()
        .into_owned();
    String::from_utf8(value).ok()
}

#[test]
fn keys_lead_to_values() {
    let text = "# hosts\n\na.example  one\nb.example\ttwo words \nalone\n";
    assert_eq!(
        found(text, How::Exact, Value::text("a.example")).as_deref(),
        Some("one")
    );
    assert_eq!(
        found(text, How::Exact, Value::text("b.example")).as_deref(),
        Some("two words")
    );
    assert_eq!(
        found(text, How::Exact, Value::text("alone")).as_deref(),
        Some("")
    );
    assert_eq!(found(text, How::Exact, Value::text("# hosts")), None);
    let prefixes = "/a one\n/a/b two\n";
    assert_eq!(
        found(prefixes, How::Prefix, Value::text("/a/b/c")).as_deref(),
        Some("two")
    );
    let networks = "10.0.0.0/8 all\n10.1.0.0/16 some\n2001:db8::/32 six\n";
    let ip = |text: &str| Value::Ip(text.parse().unwrap());
    assert_eq!(
        found(networks, How::Address, ip("10.1.2.3")).as_deref(),
        Some("some")
    );
    assert_eq!(
        found(networks, How::Address, ip("10.2.2.3")).as_deref(),
        Some("all")
    );
    assert_eq!(
        found(networks, How::Address, ip("2001:db8::1")).as_deref(),
        Some("six")
    );
    assert_eq!(found(networks, How::Address, ip("11.2.2.3")), None);
    assert_eq!(
        parse("a 1\nb x", How::Exact, false, Output::Number)
            .unwrap_err()
            .0,
        2
    );
}

#[test]
fn a_changed_file_is_read_again_and_a_bad_one_is_not_taken() {
    let path = std::env::temp_dir().join(format!("lb-map-{}", std::process::id()));
    fs::write(&path, "a 1\n").unwrap();
    let map = Map::read(path.clone(), How::Exact, false, Output::Number).unwrap();
    assert_eq!(map.find(&Value::text("a")), Some(Value::Int(1)));
    assert_eq!(map.refresh(), Ok(None));
    fs::write(&path, "a 1").unwrap();
    assert_eq!(map.refresh(), Ok(None), "it may be half written");
    fs::write(&path, "a 10\nb 2\n").unwrap();
    assert_eq!(map.refresh(), Ok(None), "it has gone on");
    assert_eq!(map.refresh(), Ok(Some(2)));
    assert_eq!(map.find(&Value::text("a")), Some(Value::Int(10)));
    fs::write(&path, "a nonsense\n").unwrap();
    assert_eq!(map.refresh(), Ok(None));
    assert!(map.refresh().is_err());
    assert_eq!(map.refresh(), Ok(None), "told of once");
    assert_eq!(map.find(&Value::text("a")), Some(Value::Int(10)));
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_that_was_cut_off_is_not_taken_before_it_has_been_left_alone() {
    let path = std::env::temp_dir().join(format!("lb-map-cut-{}", std::process::id()));
    fs::write(&path, "a 10\nb 20\n").unwrap();
    let map = Map::read(path.clone(), How::Exact, false, Output::Number).unwrap();
    for cut in ["a 11\nb 2", "a 1", ""] {
        fs::write(&path, cut).unwrap();
        for _ in 0..6 {
            assert_eq!(map.refresh_with(Duration::MAX), Ok(None), "{cut:?}");
        }
        assert_eq!(map.len(), 2);
    }
    // The rest of it comes.
    fs::write(&path, "a 11\nb 21\nc 3\n").unwrap();
    assert_eq!(map.refresh(), Ok(None), "it may not be all");
    assert_eq!(map.refresh(), Ok(Some(3)));
    // Or none does: some leave out the last end of a line, and some want an empty file.
    for (left, keys) in [("a 1\nb 2", 2), ("", 0)] {
        fs::write(&path, left).unwrap();
        assert_eq!(map.refresh_with(Duration::ZERO), Ok(None));
        let taken = map.refresh_with(Duration::ZERO);
        assert_eq!(taken, Ok(Some(keys)), "{left:?}");
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn of_many_who_want_a_key_one_adds_it_and_what_is_so_is_left_alone() {
    let path = std::env::temp_dir().join(format!("lb-map-settled-{}", std::process::id()));
    fs::write(&path, "a 1\na 1\n").unwrap();
    let map = Map::read(path.clone(), How::Exact, false, Output::Number).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for key in 0..100 {
                    let key = format!("k{key}");
                    map.settle(Change::Set, &key, "2").unwrap();
                    map.settle(Change::Add, &key, "").unwrap();
                }
            });
        }
    });
    assert_eq!(map.len(), 102, "each key once");
    let before = map.entries.load_full();
    map.settle(Change::Set, "a", "1").unwrap();
    map.settle(Change::Remove, "z", "").unwrap();
    assert!(Arc::ptr_eq(&before, &map.entries.load_full()));
    assert!(map.settle(Change::Set, "a", "x").is_err());
    map.settle(Change::Set, "a", "3").unwrap();
    let texts: Vec<_> = map.lines().iter().map(|line| line.text.clone()).collect();
    assert_eq!(texts[..3], ["3", "3", "2"]);
    assert_eq!(map.lines()[0].id, before.lines[0].id);
    map.settle(Change::Remove, "a", "").unwrap();
    assert_eq!(map.len(), 100);
    fs::remove_file(&path).unwrap();
}

#[test]
fn lines_are_changed_while_it_runs_all_of_them_or_none() {
    let path = std::env::temp_dir().join(format!("lb-map-live-{}", std::process::id()));
    fs::write(&path, "a 1\nb 2\na 3\n").unwrap();
    let map = Map::read(path.clone(), How::Exact, false, Output::Number).unwrap();
    let lines = || {
        let lines = map.lines();
        let texts = lines
            .iter()
            .map(|line| format!("{} {}", line.key, line.text));
        texts.collect::<Vec<_>>().join(",")
    };
    assert!(map.append([("c", "4"), ("d", "x")]).is_err());
    assert_eq!(lines(), "a 1,b 2,a 3");
    map.append([("c", "4"), ("d", "5")]).unwrap();
    assert_eq!(map.replace(Which::Key("a"), "9"), Ok(true));
    assert_eq!(map.replace(Which::Key("z"), "9"), Ok(false));
    assert!(map.replace(Which::Key("a"), "x").is_err());
    assert_eq!(lines(), "a 9,b 2,a 9,c 4,d 5");
    let id = map.lines()[0].id;
    assert!(map.remove(Which::Id(id)) && !map.remove(Which::Id(id)));
    assert!(map.remove(Which::Key("d")) && !map.remove(Which::Key("d")));
    assert_eq!(map.find(&Value::text("a")), Some(Value::Int(9)));
    assert_eq!(map.find(&Value::text("d")), None);
    map.clear();
    assert!(map.is_empty());
    // What the file says next holds.
    fs::write(&path, "a 10\n").unwrap();
    assert_eq!(map.refresh(), Ok(None), "it may be half written");
    assert_eq!(map.refresh(), Ok(Some(1)));
    assert_eq!(lines(), "a 10");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_list_has_a_pattern_a_line() {
    let list = parse("/a b\n# c\n /D\n", How::Prefix, true, Output::Nothing).unwrap();
    let found = |text| list.patterns.find(&Value::text(text)).is_some();
    assert!(found("/A Bc") && found("/d/x") && !found("/a"));
}
