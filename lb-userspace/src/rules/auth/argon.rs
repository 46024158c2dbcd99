//! Argon2 hashes in the form that everybody writes them in: `$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH`.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::same;

/// Most memory that a password may be hashed in, KiB: whoever writes more would have the daemon killed.
const MOST_MEMORY: u32 = 1 << 20;

/// A hash with its salt and cost.
pub(super) struct Hash {
    argon: Argon2<'static>,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Hash {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('$')?.split('$');
        let algorithm = match parts.next()? {
            "argon2id" => Algorithm::Argon2id,
            "argon2i" => Algorithm::Argon2i,
            "argon2d" => Algorithm::Argon2d,
            _ => return None,
        };
        let mut next = parts.next()?;
        // Without one it is the first.
        let version = match next.strip_prefix("v=") {
            Some("19") => Version::V0x13,
            Some("16") | None => Version::V0x10,
            Some(_) => return None,
        };
        if next.starts_with("v=") {
            next = parts.next()?;
        }
        let mut costs = [None; 3];
        for cost in next.split(',') {
            let (key, value) = cost.split_once('=')?;
            let place = ["m", "t", "p"].iter().position(|known| *known == key)?;
            *costs.get_mut(place)? = Some(value.parse::<u32>().ok()?);
        }
        let [Some(memory), Some(passes), Some(lanes)] = costs else {
            return None;
        };
        let config =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let base64 = GeneralPurpose::new(&STANDARD, config);
        let salt = base64.decode(parts.next()?).ok()?;
        let hash = base64.decode(parts.next()?).ok()?;
        if parts.next().is_some() || memory > MOST_MEMORY {
            return None;
        }
        let params = Params::new(memory, passes, lanes, Some(hash.len())).ok()?;
        Some(Self {
            argon: Argon2::new(algorithm, version, params),
            salt,
            hash,
        })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let mut found = vec![0; self.hash.len()];
        let hashed = self
            .argon
            .hash_password_into(password, &self.salt, &mut found);
        hashed.is_ok() && same(&found, &self.hash)
    }
}
