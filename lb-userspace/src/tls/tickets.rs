//! Keys of session tickets, which may be told to the process that takes this one's place, so that clients go on with their
//! sessions there. They are in memory alone, and never shown.
//!
//! A ticket is a key's name, a salt, and the session, sealed by a key that is derived of both: no two tickets share a key, and
//! so no nonce either.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest, hmac, rand,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};

/// A key makes tickets for so many seconds, and reads them for as long again.
const LIFETIME: u32 = 6 * 3600;
const NAME: usize = 16;
const SALT: usize = 32;
const KEY: usize = 32;

/// Bytes that nobody is to see.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Secret(pub(super) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

/// Keys, as another process is told them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CarriedKeys {
    /// Since when the first one has been in use, in seconds of CLOCK_MONOTONIC.
    since: u64,
    /// Name and key of each: that of new tickets, and the one before.
    keys: Vec<(Secret, Secret)>,
}

#[derive(Clone)]
struct Key {
    name: [u8; NAME],
    secret: hmac::Key,
    bytes: [u8; KEY],
}

impl Key {
    fn new() -> Option<Self> {
        let (mut name, mut bytes) = ([0; NAME], [0; KEY]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut bytes).ok()?;
        Some(Self::of(name, bytes))
    }

    fn of(name: [u8; NAME], bytes: [u8; KEY]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Self {
            name,
            secret,
            bytes,
        }
    }

    fn sealing(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let derived = hmac::sign(&self.secret, salt);
        let key = UnboundKey::new(&AES_256_GCM, derived.as_ref()).ok()?;
        Some(LessSafeKey::new(key))
    }
}

/// The one that makes tickets, and the one before it.
#[derive(Clone)]
struct Keys {
    since: u64,
    current: Key,
    previous: Option<Key>,
}

/// Makes tickets and reads them, for all workers.
pub(super) struct Tickets {
    keys: ArcSwap<Keys>,
    /// Held by whoever changes them.
    changing: Mutex<()>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tickets")
    }
}

impl Tickets {
    /// With a new key; `None` if there are no random numbers to be had.
    pub(super) fn new() -> Option<Self> {
        let keys = Keys {
            since: now(),
            current: Key::new()?,
            previous: None,
        };
        Some(Self {
            keys: ArcSwap::from_pointee(keys),
            changing: Mutex::new(()),
        })
    }

    /// Its keys, for another process.
    pub(super) fn carried(&self) -> CarriedKeys {
        let keys = self.keys.load();
        let each = [Some(&keys.current), keys.previous.as_ref()];
        let each = each.into_iter().flatten();
        CarriedKeys {
            since: keys.since,
            keys: each
                .map(|key| (Secret(key.name.to_vec()), Secret(key.bytes.to_vec())))
                .collect(),
        }
    }

    /// Goes on with another process's keys; whether they are some.
    pub(super) fn take(&self, carried: &CarriedKeys) -> bool {
        let mut keys = carried.keys.iter().map_while(|(name, bytes)| {
            let name = name.0.as_slice().try_into().ok()?;
            let bytes = bytes.0.as_slice().try_into().ok()?;
            Some(Key::of(name, bytes))
        });
        let Some(current) = keys.next() else {
            return false;
        };
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.keys.store(Arc::new(Keys {
            since: carried.since,
            current,
            previous: keys.next(),
        }));
        true
    }

    /// The keys of `now`.
    fn keys(&self, now: u64) -> Arc<Keys> {
        let keys = self.keys.load_full();
        if now.saturating_sub(keys.since) < LIFETIME.into() {
            return keys;
        }
        let Ok(_changing) = self.changing.try_lock() else {
            return keys;
        };
        // Another may have been faster.
        let keys = self.keys.load_full();
        let age = now.saturating_sub(keys.since);
        let next = (age >= LIFETIME.into()).then(Key::new).flatten();
        let Some(current) = next else {
            return keys;
        };
        let next = Arc::new(Keys {
            since: now,
            current,
            // One whose tickets are all too old by now is none.
            previous: (age < 2 * u64::from(LIFETIME)).then(|| keys.current.clone()),
        });
        self.keys.store(Arc::clone(&next));
        next
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        self.keys(now).current.seal(plain)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let keys = self.keys(now);
        let each = [Some(&keys.current), keys.previous.as_ref()];
        open(each.into_iter().flatten(), ticket)
    }
}

impl Key {
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut salt = [0; SALT];
        rand::fill(&mut salt).ok()?;
        let mut sealed = plain.to_vec();
        // A key of its own has one nonce.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let sealing = self.sealing(&salt)?;
        sealing
            .seal_in_place_append_tag(nonce, Aad::from(&self.name), &mut sealed)
            .ok()?;
        Some([&self.name[..], &salt, &sealed].concat())
    }
}

fn open<'k>(mut keys: impl Iterator<Item = &'k Key>, ticket: &[u8]) -> Option<Vec<u8>> {
    let (name, rest) = ticket.split_first_chunk::<NAME>()?;
    let (salt, sealed) = rest.split_first_chunk::<SALT>()?;
    let key = keys.find(|key| key.name == *name)?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let opening = key.sealing(salt)?;
    let plain = opening
        .open_in_place(nonce, Aad::from(name), &mut sealed)
        .ok()?;
    let length = plain.len();
    sealed.truncate(length);
    Some(sealed)
}

/// Keys of a file of HAProxy's (`tls-ticket-keys`): lines of 48 or 80 bytes in base64, a name of 16 and what the key is made
/// of. The last three count; new tickets are of the last but one. Whoever has the same file and asks the same of clients reads
/// them: another lb, not HAProxy, whose sessions are OpenSSL's.
pub(super) struct Given(Vec<Key>);

impl fmt::Debug for Given {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Given")
    }
}

/// As many of a file's keys count.
const COUNTED: usize = 3;

impl Given {
    /// Those in `text`, for whom clients are `trust`ed by: rustls asks nobody for a certificate who comes with a ticket, so it
    /// must not be one of a bind that asks for less.
    pub(super) fn read(text: &str, trust: &[u8]) -> Result<Self, String> {
        let mut keys = Vec::new();
        let mut length = None;
        for (at, line) in text.lines().enumerate() {
            let bytes = BASE64.decode(line.trim()).unwrap_or_default();
            let same = length.is_none_or(|length| length == bytes.len());
            let (true, 48 | 80) = (same, bytes.len()) else {
                return Err(format!("line {} is no 48 or 80 bytes in base64", at + 1));
            };
            length = Some(bytes.len());
            let Some((name, secret)) = bytes.split_first_chunk::<NAME>() else {
                continue;
            };
            let made = digest::digest(&digest::SHA256, &[secret, trust].concat());
            let mut key = [0; KEY];
            key.copy_from_slice(made.as_ref());
            keys.push(Key::of(*name, key));
        }
        if keys.len() < COUNTED {
            return Err(format!("it has {} of at least {COUNTED} keys", keys.len()));
        }
        keys.drain(..keys.len() - COUNTED);
        Ok(Self(keys))
    }
}

impl ProducesTickets for Given {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.get(COUNTED - 2)?.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        open(self.0.iter(), cipher)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, now())
    }
}

/// Seconds of a clock that all processes have and nobody sets.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_by_who_has_the_keys() {
        let (one, other) = (Tickets::new().unwrap(), Tickets::new().unwrap());
        let now = now();
        let ticket = one.seal(b"a session", now).unwrap();
        let again = one.seal(b"a session", now).unwrap();
        assert_ne!(ticket, again, "nobody can tell that it is the same");
        assert_eq!(one.open(&ticket, now).unwrap(), b"a session");
        assert!(other.open(&ticket, now).is_none());
        assert!(other.take(&one.carried()));
        assert_eq!(other.open(&ticket, now).unwrap(), b"a session");
        let back = other.seal(b"another", now).unwrap();
        assert_eq!(one.open(&back, now).unwrap(), b"another");
        for at in 0..ticket.len() {
            let mut broken = ticket.clone();
            broken[at] ^= 1;
            assert!(one.open(&broken, now).is_none(), "{at}");
            assert!(one.open(&ticket[..at], now).is_none(), "{at}");
        }
    }

    #[test]
    fn keys_are_exchanged_and_the_one_before_reads_on() {
        let tickets = Tickets::new().unwrap();
        let begin = now();
        let after = |times: u64| begin + times * u64::from(LIFETIME) + 1;
        let ticket = tickets.seal(b"a session", begin).unwrap();
        assert!(tickets.open(&ticket, after(1)).is_some());
        let next = tickets.seal(b"a session", after(1)).unwrap();
        assert_ne!(ticket[..NAME], next[..NAME]);
        let other = Tickets::new().unwrap();
        other.take(&tickets.carried());
        assert!(other.open(&ticket, after(1)).is_some(), "both go along");
        assert!(tickets.open(&next, after(2)).is_some());
        assert!(tickets.open(&ticket, after(2)).is_none());
        // Nobody came for a day.
        assert!(tickets.open(&next, after(9)).is_none());
    }

    #[test]
    fn keys_of_a_file_read_each_others_tickets() {
        let line = |byte: u8, length| BASE64.encode(vec![byte; length]);
        let lines = [1, 2, 3, 4].map(|byte| line(byte, 80)).join("\n");
        let keys = Given::read(&lines, &[]).unwrap();
        let ticket = keys.encrypt(b"a session").unwrap();
        assert_eq!(ticket[..NAME], [3; NAME], "the last but one");
        let later = [2, 3, 4, 5].map(|byte| line(byte, 80)).join("\n");
        let later = Given::read(&later, &[]).unwrap();
        assert_eq!(later.decrypt(&ticket).unwrap(), b"a session");
        let other = Given::read(&[5, 6, 7].map(|byte| line(byte, 48)).join("\n"), &[]).unwrap();
        assert!(other.decrypt(&ticket).is_none());
        let others = Given::read(&lines, b"a CA").unwrap();
        assert!(others.decrypt(&ticket).is_none(), "of other clients");
        for (text, said) in [
            (String::new(), "it has 0 of at least 3 keys"),
            (line(1, 80), "it has 1 of at least 3 keys"),
            (
                format!("{}\n{}", line(1, 80), line(2, 48)),
                "line 2 is no 48 or 80 bytes in base64",
            ),
            ("x".to_owned(), "line 1 is no 48 or 80 bytes in base64"),
        ] {
            assert_eq!(Given::read(&text, &[]).err().unwrap(), said, "{text}");
        }
    }

    #[test]
    fn keys_are_never_shown() {
        let tickets = Tickets::new().unwrap();
        let shown = format!("{:?} {tickets:?}", tickets.carried());
        assert!(shown.contains('…'), "{shown}");
        let bytes = format!("{:?}", tickets.keys.load().current.bytes);
        assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
        assert!(!tickets.take(&CarriedKeys {
            since: 0,
            keys: vec![(Secret(vec![1]), Secret(vec![2]))]
        }));
    }
}
