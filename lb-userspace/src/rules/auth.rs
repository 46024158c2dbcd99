//! Users and their passwords: in clear, or as crypt(3)'s SHA-256 and SHA-512 hashes (`$5$`, `$6$`).
//!
//! Such a hash takes milliseconds to verify, on purpose. A password that was right is therefore remembered as a keyed
//! fast hash of this process, so that only the first request with it, and wrong ones, cost that much. A name that nobody
//! has costs as much as one of those that somebody has, so that no answer's time tells who is a user.

use std::{
    hash::{BuildHasher, RandomState},
    sync::OnceLock,
};

use super::problem::Problem;

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
    secret: Secret,
}

enum Secret {
    Clear(String),
    Hash {
        hash: crypt::Hash,
        /// Two keyed hashes of the password that was right.
        right: OnceLock<(u64, u64)>,
        keys: (RandomState, RandomState),
    },
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
                    hash: crypt::Hash::parse(&secret).ok_or_else(|| {
                        Problem::new(
                            format!("the password of `{name}` is a hash of a kind that is not understood"),
                            "make it with `openssl passwd -6`: SHA-512 (`$6$`) and SHA-256 (`$5$`) are",
                        )
                    })?,
                    right: OnceLock::new(),
                    keys: (RandomState::new(), RandomState::new()),
                },
            };
            Ok(User { name, secret })
        });
        Ok(Self {
            users: users.collect::<Result<_, Problem>>()?,
            stand_in: RandomState::new(),
        })
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
            (
                "rounds".into(),
                "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA".into(),
            ),
        ])
        .unwrap();
        for (name, right) in [
            ("clear", "secret"),
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
        assert!(Users::new(vec![("md5".into(), "$1$a$b".into())]).is_err());
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
