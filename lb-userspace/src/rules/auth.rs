//! Users and their passwords: in clear, as crypt(3)'s SHA-256 and SHA-512 hashes (`$5$`, `$6$`), or as Argon2's.
//!
//! Such a hash takes milliseconds to verify, on purpose. A password that was right is therefore remembered as a keyed
//! fast hash of this process, so that only the first request with it, and wrong ones, cost that much. A name that nobody
//! has costs as much as one of those that somebody has, so that no answer's time tells who is a user.

use std::{
    hash::{BuildHasher, RandomState},
    sync::OnceLock,
};

use http::HeaderMap;

use super::{fetch::credentials, problem::Problem};

mod argon;
mod crypt;

/// Longest password, bytes: that of libxcrypt's `crypt(5)`, CRYPT_MAX_PASSPHRASE_SIZE, is 512.
const LONGEST: usize = 256;

/// A list of users.
#[derive(Debug)]
pub struct Users {
    users: Vec<User>,
    /// Chooses who stands in for a name that nobody has.
    stand_in: RandomState,
}

#[derive(Debug)]
struct User {
    name: String,
    groups: Vec<String>,
    secret: Secret,
}

enum Secret {
    Clear(String),
    Hash {
        hash: Hash,
        /// Two keyed hashes of the password that was right.
        right: OnceLock<(u64, u64)>,
        keys: (RandomState, RandomState),
    },
}

enum Hash {
    Crypt(crypt::Hash),
    Argon(argon::Hash),
}

impl Hash {
    fn parse(text: &str) -> Option<Self> {
        let argon = || argon::Hash::parse(text).map(Self::Argon);
        crypt::Hash::parse(text).map(Self::Crypt).or_else(argon)
    }

    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Crypt(hash) => hash.verify(password),
            Self::Argon(hash) => hash.verify(password),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Users {
    /// From names and passwords.
    ///
    /// # Errors
    /// A hash is of a kind that is not understood; with the user's name.
    pub fn new(users: Vec<(String, String)>) -> Result<Self, Problem> {
        let users = users.into_iter().map(|(name, secret)| {
            let secret = match secret.starts_with('$') {
                false => Secret::Clear(secret),
                true => Secret::Hash {
                    hash: Hash::parse(&secret).ok_or_else(|| {
                        Problem::new(
                            format!("the password of `{name}` is a hash of a kind that is not understood"),
                            "make it with `openssl passwd -6`: SHA-512 (`$6$`), SHA-256 (`$5$`) and Argon2 (`$argon2id$`) are",
                        )
                    })?,
                    right: OnceLock::new(),
                    keys: (RandomState::new(), RandomState::new()),
                },
            };
            Ok(User {
                name,
                groups: Vec::new(),
                secret,
            })
        });
        Ok(Self {
            users: users.collect::<Result<_, Problem>>()?,
            stand_in: RandomState::new(),
        })
    }

    /// Puts a user into groups.
    pub fn join(&mut self, name: &str, groups: &[String]) {
        for user in self.users.iter_mut().filter(|user| user.name == name) {
            user.groups.extend_from_slice(groups);
        }
    }

    /// The groups of a user.
    pub(super) fn groups(&self, name: &[u8]) -> impl Iterator<Item = &str> {
        let mut users = self.users.iter();
        let user = users.find(|user| user.name.as_bytes() == name);
        user.into_iter()
            .flat_map(|user| user.groups.iter().map(String::as_str))
    }

    /// Whether a wrong password takes long to look at.
    pub fn is_slow(&self) -> bool {
        let mut users = self.users.iter();
        users.any(|user| matches!(user.secret, Secret::Hash { .. }))
    }

    /// Whether a request names one of them with its password (RFC 7617).
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        credentials(headers).is_some_and(|(name, password)| self.verify(&name, &password))
    }

    /// As [`Self::verify`] where that takes no time: `None` if a hash has to be computed.
    pub fn at_once(&self, name: &[u8], password: &[u8]) -> Option<bool> {
        match self.user(name).map(|(user, known)| (&user.secret, known)) {
            Some((Secret::Hash { right, keys, .. }, known)) if password.len() <= LONGEST => {
                let quick = (keys.0.hash_one(password), keys.1.hash_one(password));
                (known && right.get() == Some(&quick)).then_some(true)
            }
            _ => Some(self.verify(name, password)),
        }
    }

    /// Whether this is the user's password. One of more than [`LONGEST`] bytes is nobody's: to hash it takes the square
    /// of its length.
    pub fn verify(&self, name: &[u8], password: &[u8]) -> bool {
        if password.len() > LONGEST {
            return false;
        }
        let Some((user, known)) = self.user(name) else {
            return false;
        };
        match &user.secret {
            Secret::Clear(secret) => same(secret.as_bytes(), password) && known,
            Secret::Hash { hash, .. } if !known => {
                std::hint::black_box(hash.verify(password));
                false
            }
            Secret::Hash { hash, right, keys } => {
                let quick = (keys.0.hash_one(password), keys.1.hash_one(password));
                if right.get() == Some(&quick) {
                    return true;
                }
                let verified = hash.verify(password);
                if verified {
                    let _ = right.set(quick);
                }
                verified
            }
        }
    }

    /// The user of a name and whether it is that user's: for another name always the same one of all, whose password then
    /// costs its time. `None` if there are no users.
    fn user(&self, name: &[u8]) -> Option<(&User, bool)> {
        if let Some(user) = self.users.iter().find(|user| user.name.as_bytes() == name) {
            return Some((user, true));
        }
        let drawn = self.stand_in.hash_one(name) % (self.users.len() as u64).max(1);
        Some((self.users.get(drawn as usize)?, false))
    }
}

/// Compares in a time that does not tell how much is alike.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn passwords_in_clear_and_as_hashes() {
        // As `openssl passwd` makes them.
        let users = Users::new(vec![
            ("clear".into(), "secret".into()),
            (
                "six".into(),
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1".into(),
            ),
            (
                "five".into(),
                "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5".into(),
            ),
            // As Argon2's own program makes them.
            (
                "argon".into(),
                "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc".into(),
            ),
            (
                "old".into(),
                "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ".into(),
            ),
            (
                "rounds".into(),
                "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA".into(),
            ),
        ])
        .unwrap();
        for (name, right) in [
            ("clear", "secret"),
            ("argon", "password"),
            ("old", "password"),
            ("six", "Hello world!"),
            ("five", "Hello world!"),
            ("rounds", "Hello world!"),
        ] {
            // The second time it is remembered.
            for _ in 0..2 {
                assert!(users.verify(name.as_bytes(), right.as_bytes()), "{name}");
                assert!(!users.verify(name.as_bytes(), b"Hello world"), "{name}");
            }
        }
        assert!(!users.verify(b"nobody", b"secret"));
        let long = "x".repeat(LONGEST + 1);
        let in_clear = Users::new(vec![("long".into(), long.clone())]).unwrap();
        assert!(
            !in_clear.verify(b"long", long.as_bytes()),
            "never looked at"
        );
        for bad in [
            "$1$a$b",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=18$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=2$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ] {
            assert!(Users::new(vec![("x".into(), bad.into())]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_names_a_user_and_the_password() {
        let users = [("admin", "se:cret"), ("guest", "x")];
        let users = users.map(|(name, password)| (name.to_owned(), password.to_owned()));
        let users = Users::new(users.to_vec()).unwrap();
        let allows = |lines: &[&str]| {
            let lines = lines
                .iter()
                .map(|line| (AUTHORIZATION, line.parse().unwrap()));
            users.allow(&lines.collect())
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(allows(&[&basic("admin:se:cret")]) && allows(&[&basic("guest:x")]));
        for wrong in [
            "admin:x",
            "admin:se:cre",
            "admin:se:crett",
            "guest:",
            "guest",
            "",
            ":",
        ] {
            assert!(!allows(&[&basic(wrong)]), "{wrong}");
        }
        for header in ["", "Basic", "Basic !!!", "Bearer YWRtaW46c2U6Y3JldA=="] {
            assert!(!allows(&[header]), "{header}");
        }
        assert!(allows(&["basic YWRtaW46c2U6Y3JldA=="]));
        // A server might go by the other.
        assert!(!allows(&[&basic("guest:x"), &basic("guest:y")]));
    }

    #[test]
    fn a_name_that_nobody_has_costs_a_hash_and_lets_nobody_in() {
        let users = Users::new(vec![(
            "six".into(),
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1".into(),
        )])
        .unwrap();
        let (stand_in, known) = users.user(b"nobody").unwrap();
        assert!(matches!(stand_in.secret, Secret::Hash { .. }) && !known);
        for _ in 0..2 {
            assert!(!users.verify(b"nobody", b"Hello world!"));
            assert!(users.verify(b"six", b"Hello world!"));
        }
        let nobody = Users::new(Vec::new()).unwrap();
        assert!(!nobody.verify(b"nobody", b""));
    }
}
