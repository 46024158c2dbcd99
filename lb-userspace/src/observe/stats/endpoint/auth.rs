//! Basic authentication (RFC 7617).

use base64::{Engine, engine::general_purpose::STANDARD};

/// Whether `header`, an `Authorization` header's value, names one of `users` with its password.
pub(super) fn allows(users: &[(String, String)], header: Option<&[u8]>) -> bool {
    let Some(given) = header.and_then(credentials) else {
        return false;
    };
    // Every user is compared, and without an early end, so that the time taken tells nothing.
    users.iter().fold(false, |found, (user, password)| {
        let expected = [user.as_bytes(), b":", password.as_bytes()].concat();
        found | same(&expected, &given)
    })
}

/// `user:password` out of `Basic BASE64`.
fn credentials(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    STANDARD.decode(rest.trim_ascii()).ok()
}

/// Equality in a time that depends on `given`'s length alone.
fn same(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = u8::from(expected.len() != given.len());
    for (i, byte) in given.iter().enumerate() {
        let other = expected.get(i % expected.len().max(1)).copied();
        difference |= byte ^ other.unwrap_or(!byte);
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Vec<(String, String)> {
        vec![
            ("admin".into(), "se:cret".into()),
            ("guest".into(), "x".into()),
        ]
    }

    fn basic(text: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(text)).into_bytes()
    }

    #[test]
    fn each_user_with_the_right_password_alone() {
        assert!(allows(&users(), Some(&basic("admin:se:cret"))));
        assert!(allows(&users(), Some(&basic("guest:x"))));
        for wrong in [
            "admin:x",
            "admin:se:cre",
            "admin:se:crett",
            "guest:",
            "",
            ":",
        ] {
            assert!(!allows(&users(), Some(&basic(wrong))), "{wrong}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(!allows(&users(), None));
        for header in ["", "Basic", "Basic !!!", "Bearer YWRtaW46c2U6Y3JldA=="] {
            assert!(!allows(&users(), Some(header.as_bytes())), "{header}");
        }
        assert!(allows(&users(), Some(b"basic YWRtaW46c2U6Y3JldA==")));
    }
}
