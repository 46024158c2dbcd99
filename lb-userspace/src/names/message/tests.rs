//! Messages as servers send them, and as they should not.

use super::*;
use crate::names::fixtures::{Says, labels, message};

fn asked(name: &str, kind: Kind) -> Vec<u8> {
    let mut bytes = labels(name);
    bytes.extend(kind.number().to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// What an answer to a question for `a.example` says.
fn said(kind: Kind, says: &[Says]) -> Result<Answer, NoAnswer> {
    let number = kind.number();
    let bytes = message(&[0, 7], &asked("A.example", kind), number, 0, false, says);
    answer(&bytes, 7, "a.Example", kind)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_question_is_one_name_one_type_and_what_may_come() {
    let bytes = question(0x1234, "a.example.", Kind::Aaaa, 1232);
    let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x07example\x00\x00\x1c\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    assert_eq!(bytes, expected);
}

#[test]
fn addresses_are_those_of_the_name_and_of_what_it_is_an_alias_of() {
    let two = [Says::Address(ip("10.0.0.1")), Says::Address(ip("10.0.0.2"))];
    let found = Ok(Answer::Addresses(vec![ip("10.0.0.1"), ip("10.0.0.2")]));
    assert_eq!(said(Kind::A, &two), found);
    let alias = [
        Says::Alias("b.example"),
        Says::Alias("c.example"),
        two[0].clone(),
    ];
    assert_eq!(
        said(Kind::A, &alias),
        Ok(Answer::Addresses(vec![ip("10.0.0.1")]))
    );
    let six = [Says::Address(ip("2001:db8::1"))];
    assert_eq!(
        said(Kind::Aaaa, &six),
        Ok(Answer::Addresses(vec![ip("2001:db8::1")]))
    );
    assert_eq!(said(Kind::Aaaa, &two), Ok(Answer::Addresses(Vec::new())));
}

#[test]
fn services_come_with_the_addresses_that_are_beside_them() {
    let says = [
        Says::Service(10, 8080, "one.example", Some(ip("10.0.0.1"))),
        Says::Service(0, 8081, "two.example", None),
    ];
    let found = said(Kind::Srv, &says).unwrap();
    let service = |target: &str, port, weight, addresses: &[&str]| Service {
        target: target.into(),
        port,
        weight,
        addresses: addresses.iter().map(|text| ip(text)).collect(),
    };
    let expected = [
        service("one.example", 8080, 10, &["10.0.0.1"]),
        service("two.example", 8081, 0, &[]),
    ];
    assert_eq!(found, Answer::Services(expected.into()));
}

#[test]
fn what_is_no_answer_to_the_question_is_none() {
    let name = asked("a.example", Kind::A);
    let good = message(
        &[0, 7],
        &name,
        1,
        0,
        false,
        &[Says::Address(ip("10.0.0.1"))],
    );
    let of = |bytes: &[u8], id, name: &str, kind| answer(bytes, id, name, kind);
    assert!(of(&good, 7, "a.example", Kind::A).is_ok());
    assert_eq!(of(&good, 8, "a.example", Kind::A), Err(NoAnswer::Other));
    assert_eq!(of(&good, 7, "b.example", Kind::A), Err(NoAnswer::Other));
    assert_eq!(of(&good, 7, "a.example", Kind::Aaaa), Err(NoAnswer::Other));
    for (code, cut, error) in [
        (3, false, NoAnswer::NoName),
        (5, false, NoAnswer::Refused),
        (2, false, NoAnswer::Other),
        (0, true, NoAnswer::Truncated),
    ] {
        let bytes = message(&[0, 7], &name, 1, code, cut, &[]);
        assert_eq!(of(&bytes, 7, "a.example", Kind::A), Err(error));
    }
    for length in 0..good.len() {
        let part = &good[..length];
        assert_eq!(
            of(part, 7, "a.example", Kind::A),
            Err(NoAnswer::Other),
            "{length}"
        );
    }
}

#[test]
fn circles_end() {
    // A name that points to itself, an alias of itself.
    let mut bytes = message(&[0, 7], &asked("a.example", Kind::A), 1, 0, false, &[]);
    bytes[7] = 1;
    let at = bytes.len() as u8;
    bytes.extend([0xc0, at, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1]);
    assert_eq!(
        answer(&bytes, 7, "a.example", Kind::A),
        Err(NoAnswer::Other)
    );
    let alias = [Says::Alias("a.example"), Says::Address(ip("10.0.0.1"))];
    assert!(said(Kind::A, &alias).is_ok());
}

#[test]
fn noise_does_no_harm() {
    let says = [
        Says::Alias("b.example"),
        Says::Service(1, 2, "c.example", Some(ip("10.0.0.1"))),
    ];
    let good = message(&[0, 7], &asked("a.example", Kind::Srv), 33, 0, false, &says);
    let mut state = 1_u32;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % bytes.len();
            bytes[at] = state as u8;
        }
        let _ = answer(&bytes, 7, "a.example", Kind::Srv);
    }
}
