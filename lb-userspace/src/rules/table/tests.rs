use super::*;

fn handle(size: u32) -> Arc<Handle> {
    let handle = Arc::new(Handle::new("t"));
    handle.make(Layout {
        key: Kind::Ip,
        key_length: 16,
        size,
        expire_ms: 10_000,
        store: vec![
            (Data::ConnCur, 0),
            (Data::HttpReqCnt, 0),
            (Data::HttpReqRate, 1000),
            (Data::Gpc0, 0),
        ],
    });
    handle
}

fn ip(last: u8) -> Value<'static> {
    Value::Ip([10, 0, 0, last].into())
}

#[test]
fn requests_of_a_key_are_counted_and_rates_look_back_one_period() {
    let handle = handle(100);
    for _ in 0..4 {
        drop(Tracked::begin(&handle, ip(1), 5_000));
    }
    let tracked = Tracked::begin(&handle, ip(1), 5_400).unwrap();
    assert_eq!(tracked.get(Data::HttpReqCnt, 5_400), Some(5));
    assert_eq!(tracked.get(Data::HttpReqRate, 5_400), Some(5));
    assert_eq!(tracked.get(Data::HttpReqRate, 6_500), Some(2));
    assert_eq!(tracked.get(Data::HttpReqRate, 7_500), Some(0));
    assert_eq!(tracked.get(Data::ConnCur, 7_500), Some(1));
    assert_eq!(tracked.get(Data::Gpc1, 7_500), None, "it is not stored");
    let other = Tracked::begin(&handle, ip(2), 5_400).unwrap();
    assert_eq!(other.get(Data::HttpReqCnt, 5_400), Some(1));
}

#[test]
fn a_period_begins_with_its_first_event_wherever_the_clock_stands() {
    for begin in [0, 5_000, 5_500, 5_999] {
        let handle = handle(100);
        let table = handle.table().unwrap();
        let entry = table.entry(Key::of(ip(1), table.key()).unwrap(), begin);
        let entry = entry.unwrap();
        let rate = |after: u64| table.get(&entry, Data::HttpReqRate, begin + after);
        assert_eq!(rate(0), Some(0));
        table.add(&entry, Data::HttpReqRate, 10, begin);
        let rates = [0, 1, 999, 1000, 1250, 1900, 1999, 2000].map(rate);
        let wanted = [10, 10, 10, 10, 7, 1, 0, 0].map(Some);
        assert_eq!(rates, wanted, "from {begin} on");
        // The next period follows on it, and one after a silence does not.
        table.add(&entry, Data::HttpReqRate, 4, begin + 1500);
        assert_eq!([1500, 1999, 2500].map(rate), [9, 4, 2].map(Some));
        table.add(&entry, Data::HttpReqRate, 3, begin + 9_300);
        assert_eq!([9_300, 10_299, 10_800].map(rate), [3, 3, 1].map(Some));
    }
}

#[test]
fn idle_entries_expire_and_followed_ones_do_not() {
    let handle = handle(100);
    let table = handle.table().unwrap();
    let followed = Tracked::begin(&handle, ip(1), 0).unwrap();
    drop(Tracked::begin(&handle, ip(2), 0));
    assert_eq!(table.entries(9_999).count(), 2);
    assert_eq!(table.entries(10_000).count(), 1);
    followed.touch(12_000);
    drop(followed);
    assert_eq!(
        table.entries(21_999).count(),
        1,
        "its time begins with its end"
    );
    assert_eq!(table.entries(22_000).count(), 0);
}

#[test]
fn a_full_table_gives_up_what_is_idle_for_longest() {
    let handle = handle(8);
    let table = handle.table().unwrap();
    let kept = Tracked::begin(&handle, ip(0), 0).unwrap();
    for last in 1..=100 {
        drop(Tracked::begin(&handle, ip(last), u64::from(last)));
    }
    assert_eq!(table.entries(100).count(), 8);
    assert_eq!(kept.get(Data::HttpReqCnt, 100), Some(1));
    let there = |last| table.find(&Key::of(ip(last), table.key()).unwrap(), 100);
    assert!(there(0).is_some() && there(100).is_some() && there(94).is_some());
    assert!(there(93).is_none());
}

#[test]
fn a_table_holds_as_many_as_it_was_said_to() {
    let key = |n: u32| Value::Ip(std::net::Ipv4Addr::from_bits(n).into());
    for size in [1, 2, 5, 8, 9, 16, 17, 23, 100] {
        let handle = handle(size);
        let table = handle.table().unwrap();
        for n in 0..20 * size {
            drop(Tracked::begin(&handle, key(n), u64::from(n)));
            assert!(table.used(u64::from(n)) <= u64::from(size), "{size}");
        }
        let now = u64::from(20 * size);
        assert_eq!(table.entries(now).count(), size as usize);
        // A small one has those that came last, each of them.
        let there = |n: u32| table.find(&Key::of(key(n), table.key()).unwrap(), now);
        assert!(size > 16 || (19 * size..20 * size).all(|n| there(n).is_some()));
        // Where all are followed nobody else has a place.
        let followed = (0..20 * size).map(|n| Tracked::begin(&handle, key(n), now));
        let followed: Vec<_> = followed.flatten().collect();
        assert_eq!(followed.len(), size as usize);
    }
}

#[test]
fn a_table_that_is_four_fifths_full_keeps_all_that_it_has() {
    let handle = handle(1000);
    let table = handle.table().unwrap();
    let key = |n: u32| Value::Ip(std::net::Ipv4Addr::from_bits(n).into());
    for n in 0..800 {
        drop(Tracked::begin(&handle, key(n), u64::from(n)));
    }
    // Where keys fall is drawn at random.
    assert!(table.entries(800).count() > 790);
}

#[test]
fn keys_are_as_long_as_the_table_has_them() {
    let of = |key, value| {
        let layout = Layout {
            key,
            key_length: 4,
            size: 1,
            expire_ms: 0,
            store: Vec::new(),
        };
        Key::of(value, &layout).unwrap().bytes().len()
    };
    assert_eq!(of(Kind::Str, Value::text("abcdef")), 4);
    assert_eq!(of(Kind::Ip, ip(1)), 16);
}

#[test]
fn threads_count_exactly() {
    let handle = handle(1000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..1000_u32 {
                    drop(Tracked::begin(&handle, ip((n % 7) as u8), 1));
                }
            });
        }
    });
    let table = handle.table().unwrap();
    let total: i64 = table
        .entries(1)
        .filter_map(|entry| table.get(&entry, Data::HttpReqCnt, 1))
        .sum();
    assert_eq!(total, 4000);
}
