//! What HAProxy's checks of other protocols say to a server, as steps of `type: tcp`.

use super::{Value, hex_step, regex_step};
use crate::config::source::Span;

/// `option mysql-check`: the greeting, and with a user's name whether the server lets that user begin. Errors have 0xff
/// where others have a version or a status.
pub(super) fn mysql(user: Option<&str>, span: Span) -> Vec<Value> {
    let mut steps = vec![regex_step(r"(?s-u)^...\x00[^\xff]", span)];
    let Some(user) = user else { return steps };
    // Capabilities (4.1, a long password, secure connections), the largest packet, utf8, and 23 that are reserved; no
    // password. Then the farewell.
    let mut login = vec![0x01, 0x82, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x21];
    login.extend([0; 23]);
    login.extend(user.bytes());
    login.extend([0, 0]);
    let mut packet = (login.len() as u32).to_le_bytes();
    packet[3] = 1;
    let mut bytes = packet.to_vec();
    bytes.extend(login);
    steps.push(hex_step("send", &hex(&bytes), span));
    steps.push(regex_step(r"(?s-u)^...\x02[^\xff]", span));
    steps.push(hex_step("send", "0100000001", span));
    steps
}

/// `option pgsql-check`: whether the server asks for a password, in one way or another, or for none.
pub(super) fn postgresql(user: &str, span: Span) -> Vec<Value> {
    let mut startup = 0x0003_0000_u32.to_be_bytes().to_vec();
    startup.extend(b"user\0");
    startup.extend(user.bytes());
    startup.extend([0, 0]);
    let mut bytes = (startup.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend(startup);
    vec![
        hex_step("send", &hex(&bytes), span),
        regex_step(r"(?s-u)^R\x00\x00\x00.\x00\x00\x00[\x00-\x0c]", span),
    ]
}

/// `option ldap-check`: an anonymous bind of version 3, and its success.
pub(super) fn ldap(span: Span) -> Vec<Value> {
    vec![
        hex_step("send", "300c020101600702010304008000", span),
        regex_step(r"(?s-u)^\x30.*\x02\x01\x01\x61.*\x0a\x01\x00", span),
    ]
}

/// Statuses that `pattern` fits, or that it does not, as ranges: `100-199,204`. `None` if it is none.
pub(super) fn statuses(pattern: &str, is_regex: bool, negated: bool) -> Option<String> {
    let regex = is_regex.then(|| regex::Regex::new(pattern).ok());
    let listed = |status: u16| {
        pattern.split(',').any(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let bounds = (first.trim().parse::<u16>(), last.trim().parse::<u16>());
            matches!(bounds, (Ok(first), Ok(last)) if (first..=last).contains(&status))
        })
    };
    let fits = |status: u16| match &regex {
        Some(Some(regex)) => regex.is_match(&status.to_string()) != negated,
        Some(None) => false,
        None => listed(status) != negated,
    };
    if matches!(regex, Some(None)) {
        return None;
    }
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for status in (100..=599).filter(|&status| fits(status)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == status => *last = status,
            _ => ranges.push((status, status)),
        }
    }
    let texts = ranges.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    Some(texts.collect::<Vec<_>>().join(","))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_by_list_pattern_and_what_they_are_not() {
        for (pattern, is_regex, negated, found) in [
            ("^2", true, false, Some("200-299")),
            ("^(200|3..)$", true, false, Some("200,300-399")),
            ("^5", true, true, Some("100-499")),
            ("500-503,404", false, true, Some("100-403,405-499,504-599")),
            ("(", true, false, None),
        ] {
            let list = statuses(pattern, is_regex, negated);
            assert_eq!(list.as_deref(), found, "{pattern}");
        }
    }

    #[test]
    fn a_startup_says_its_own_length() {
        let found = format!("{:?}", postgresql("lb", Span::at(1, 1, 1)));
        assert!(found.contains("00000011000300007573657200"), "{found}");
        assert!(found.contains("6c620000"), "{found}");
        let found = format!("{:?}", mysql(Some("lb"), Span::at(1, 1, 1)));
        assert!(found.contains("2400000101820000"), "{found}");
    }
}
