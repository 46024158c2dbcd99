use super::super::namespace::Namespace;
use super::*;

fn set(text: &str) -> PortSet {
    text.parse().unwrap()
}

#[test]
fn sets_are_read_and_written_as_the_sysctl_does() {
    let table = [
        ("", ""),
        ("\n", ""),
        ("80\n", "80"),
        ("80-80", "80"),
        ("1,2,3", "1-3"),
        ("10-20,15-30,31", "10-31"),
        ("30-40,5,6-7", "5-7,30-40"),
        ("0-65535", "0-65535"),
        ("65535,65534", "65534-65535"),
    ];
    for (text, expected) in table {
        assert_eq!(set(text).to_string(), expected, "{text:?}");
    }
    for wrong in ["x", "1-", "-1", "2-1", "65536", "1 2"] {
        assert!(wrong.parse::<PortSet>().is_err(), "{wrong:?}");
    }
}

#[test]
fn set_arithmetic() {
    // (a, b, a ∪ b, a − b, a ∩ b)
    let table = [
        ("", "", "", "", ""),
        ("1-10", "", "1-10", "1-10", ""),
        ("", "1-10", "1-10", "", ""),
        ("1-10", "5", "1-10", "1-4,6-10", "5"),
        ("1-10", "1-10", "1-10", "", "1-10"),
        ("1-10", "0-3,8-20", "0-20", "4-7", "1-3,8-10"),
        ("5-6,9", "6-9", "5-9", "5", "6,9"),
        ("0-65535", "1-65534", "0-65535", "0,65535", "1-65534"),
        ("0-65535", "0,65535", "0-65535", "1-65534", "0,65535"),
        ("10-20", "30-40", "10-20,30-40", "10-20", ""),
    ];
    for (a, b, union, difference, intersection) in table {
        let (first, second) = (set(a), set(b));
        assert_eq!(first.union(&second).to_string(), union, "{a} ∪ {b}");
        assert_eq!(
            first.difference(&second).to_string(),
            difference,
            "{a} − {b}"
        );
        assert_eq!(
            first.intersection(&second).to_string(),
            intersection,
            "{a} ∩ {b}"
        );
    }
    assert_eq!(
        (set("0-65535").len(), set("7").len(), set("").len()),
        (65536, 1, 0)
    );
    assert!(set("5-7").contains(7) && !set("5-7").contains(8));
}

proptest::proptest! {
    #[test]
    fn difference_and_union_agree_with_membership(
        a in proptest::collection::vec((0..200u16, 0..40u16), 0..6),
        b in proptest::collection::vec((0..200u16, 0..40u16), 0..6),
    ) {
        let of = |ranges: Vec<(u16, u16)>| -> PortSet { ranges.into_iter().map(|(from, more)| from..=from + more).collect() };
        let (a, b) = (of(a), of(b));
        for port in 0..260 {
            proptest::prop_assert_eq!(a.union(&b).contains(port), a.contains(port) || b.contains(port));
            proptest::prop_assert_eq!(a.difference(&b).contains(port), a.contains(port) && !b.contains(port));
        }
        proptest::prop_assert_eq!(a.to_string().parse::<PortSet>().unwrap(), a);
    }
}

#[test]
fn others_ports_stay_theirs_whatever_becomes_ours() {
    // (reserved now, ours before, wanted) → (reserved, ours)
    let table = [
        ("", "", "100-200", "100-200", "100-200"),
        ("50,150-160", "", "100-200", "50,100-200", "100-149,161-200"),
        // After a kill: nothing new.
        (
            "50,100-200",
            "100-149,161-200",
            "100-200",
            "50,100-200",
            "100-149,161-200",
        ),
        // Another range in the configuration.
        (
            "50,100-200",
            "100-149,161-200",
            "300-400",
            "50,150-160,300-400",
            "300-400",
        ),
        // Somebody has cleared the list meanwhile.
        ("", "100-200", "100-200", "100-200", "100-200"),
    ];
    for (now, before, wanted, reserved, ours) in table {
        let plan = Plan::reserve(&set(now), &set(before), &set(wanted));
        assert_eq!(
            plan,
            Plan {
                reserved: set(reserved),
                ours: set(ours)
            },
            "{now} {before} {wanted}"
        );
    }
}

#[test]
fn reservation_survives_a_kill_and_leaves_what_was_there_before() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let path = std::env::temp_dir().join(format!("lb-ports-test-{}", std::process::id()));
    let state = path.clone();
    let other = Namespace::new();
    namespace.run(move || {
        write(Path::new(RESERVED), "8080,20000-20010").unwrap();
        let wanted = set("10000-32767");
        let others = Reservation::new(&state).reserve(&wanted).unwrap();
        assert_eq!(others, set("20000-20010"));
        assert_eq!(reserved().unwrap(), set("8080,10000-32767"));
        // A new process knows no more than the file.
        Reservation::new(&state).reserve(&wanted).unwrap();
        assert_eq!(reserved().unwrap(), set("8080,10000-32767"));
        // Somebody reserves something else while we run.
        write(Path::new(RESERVED), "8080,9090,10000-32767").unwrap();

        // In another namespace that file means nothing.
        if let Some(other) = other {
            let state = state.clone();
            other.run(move || {
                write(Path::new(RESERVED), "15000").unwrap();
                assert_eq!(
                    Reservation::new(&state).remembered().unwrap(),
                    PortSet::default()
                );
            });
        }

        Reservation::new(&state).release().unwrap();
        assert_eq!(reserved().unwrap(), set("8080,9090,20000-20010"));
        assert!(!state.exists());
        Reservation::new(&state).release().unwrap();
        assert_eq!(reserved().unwrap(), set("8080,9090,20000-20010"));

        // Nothing of others: the list ends empty.
        write(Path::new(RESERVED), "").unwrap();
        Reservation::new(&state).reserve(&set("1000")).unwrap();
        Reservation::new(&state).release().unwrap();
        assert_eq!(reserved().unwrap(), PortSet::default());
    });
    assert!(!path.exists());
}

#[test]
fn listeners_and_ephemeral_ports_are_those_of_the_threads_namespace() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    namespace.run(|| {
        let tcp = std::net::TcpListener::bind("127.0.0.1:7001").unwrap();
        let _tcp6 = std::net::TcpListener::bind("[::]:7002").unwrap();
        let _udp = std::net::UdpSocket::bind("0.0.0.0:7003").unwrap();
        let _client = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let found = listening().unwrap();
        assert_eq!(
            (found.tcp.to_string(), found.udp.to_string()),
            ("7001-7002".to_owned(), "7003".to_owned())
        );
        write(Path::new(EPHEMERAL), "30000 30009").unwrap();
        assert_eq!(ephemeral().unwrap(), set("30000-30009"));
    });
}

#[test]
fn a_long_list_is_read_to_its_end() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    namespace.run(|| {
        // Every other port is as long as a list gets, and every boundary is one at which a part could be taken for all.
        for last in [19, 31, 4095, 65_535] {
            let list = (1..=last).step_by(2).map(|port| port.to_string());
            let list = list.collect::<Vec<_>>().join(",");
            write(Path::new(RESERVED), &list).unwrap();
            assert_eq!(reserved().unwrap(), set(&list), "{last}");
        }
    });
}
