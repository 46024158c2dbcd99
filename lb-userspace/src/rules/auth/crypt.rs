//! SHA-crypt as Ulrich Drepper specified it, which every crypt(3) has.

use sha2::{Digest, Sha256, Sha512};

/// A hash with its salt and cost.
#[derive(Debug)]
pub(super) struct Hash {
    long: bool,
    rounds: u32,
    salt: Vec<u8>,
    hash: String,
}

impl Hash {
    /// `$5$` or `$6$`, `rounds=N$`, salt, `$`, hash.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (long, rest) = match text.strip_prefix("$6$") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("$5$")?),
        };
        let (rounds, rest) = match rest.strip_prefix("rounds=") {
            Some(rest) => {
                let (rounds, rest) = rest.split_once('$')?;
                (rounds.parse::<u32>().ok()?.clamp(1000, 999_999), rest)
            }
            None => (5000, rest),
        };
        let (salt, hash) = rest.split_once('$')?;
        if hash.len() != if long { 86 } else { 43 } {
            return None;
        }
        Some(Self {
            long,
            rounds,
            salt: salt.bytes().take(16).collect(),
            hash: hash.to_owned(),
        })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let hash = match self.long {
            true => encode::<64>(
                &digest::<Sha512>(password, &self.salt, self.rounds),
                &ORDER_512,
            ),
            false => encode::<32>(
                &digest::<Sha256>(password, &self.salt, self.rounds),
                &ORDER_256,
            ),
        };
        super::same(hash.as_bytes(), self.hash.as_bytes())
    }
}

fn digest<D: Digest>(password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
    let length = password.len();
    let alternate = D::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut first = D::new().chain_update(password).chain_update(salt);
    first.update(repeated(&alternate, length));
    let mut bits = length;
    while bits > 0 {
        match bits & 1 {
            1 => first.update(&alternate),
            _ => first.update(password),
        }
        bits >>= 1;
    }
    let mut last = first.finalize();

    let mut passwords = D::new();
    for _ in 0..length {
        passwords.update(password);
    }
    let passwords = repeated(&passwords.finalize(), length);
    let mut salts = D::new();
    for _ in 0..16 + usize::from(last[0]) {
        salts.update(salt);
    }
    let salts = repeated(&salts.finalize(), salt.len());
    for round in 0..rounds {
        let mut next = D::new();
        match round % 2 {
            1 => next.update(&passwords),
            _ => next.update(&last),
        }
        if round % 3 != 0 {
            next.update(&salts);
        }
        if round % 7 != 0 {
            next.update(&passwords);
        }
        match round % 2 {
            1 => next.update(&last),
            _ => next.update(&passwords),
        }
        last = next.finalize();
    }
    last.to_vec()
}

/// The first `length` bytes of `bytes` over and over.
fn repeated(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(length).collect()
}

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The order in which the bytes are written, three at a time from the highest.
type Order = [[u8; 3]];

const ORDER_256: [[u8; 3]; 10] = [
    [0, 10, 20],
    [21, 1, 11],
    [12, 22, 2],
    [3, 13, 23],
    [24, 4, 14],
    [15, 25, 5],
    [6, 16, 26],
    [27, 7, 17],
    [18, 28, 8],
    [9, 19, 29],
];

const ORDER_512: [[u8; 3]; 21] = [
    [0, 21, 42],
    [22, 43, 1],
    [44, 2, 23],
    [3, 24, 45],
    [25, 46, 4],
    [47, 5, 26],
    [6, 27, 48],
    [28, 49, 7],
    [50, 8, 29],
    [9, 30, 51],
    [31, 52, 10],
    [53, 11, 32],
    [12, 33, 54],
    [34, 55, 13],
    [56, 14, 35],
    [15, 36, 57],
    [37, 58, 16],
    [59, 17, 38],
    [18, 39, 60],
    [40, 61, 19],
    [62, 20, 41],
];

fn encode<const N: usize>(digest: &[u8], order: &Order) -> String {
    let byte = |index: u8| u32::from(digest.get(usize::from(index)).copied().unwrap_or_default());
    let mut text = String::with_capacity(N * 4 / 3 + 1);
    let mut put = |mut bits: u32, count: usize| {
        for _ in 0..count {
            text.push(char::from(ALPHABET[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    for [high, middle, low] in order {
        put(byte(*high) << 16 | byte(*middle) << 8 | byte(*low), 4);
    }
    match N {
        64 => put(byte(63), 2),
        _ => put(byte(31) << 8 | byte(30), 3),
    }
    text
}
