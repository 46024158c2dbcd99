//! What operators hand over in the place of a certificate's files, one after the other: itself, its key, its OCSP response.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{
    acceptor::Acceptor,
    certificate::now,
    error::TlsError,
    files::{self, Overrides, Reader, appended},
    ocsp,
};

/// What a file is of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Itself, perhaps with its key.
    Certificate,
    /// `.key`: its key.
    Key,
    /// `.ocsp`: its OCSP response, in base64.
    Ocsp,
}

/// What has been handed over of one certificate.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    pem: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    ocsp: Option<Vec<u8>>,
}

impl Parts {
    /// Takes `bytes` for a part of the certificate in `file`. Whether the parts fit together is not looked at: the next may
    /// be on its way.
    ///
    /// # Errors
    /// It is no such part.
    pub fn set(&mut self, part: Part, file: &Path, bytes: &[u8]) -> Result<(), TlsError> {
        match part {
            Part::Certificate => {
                files::chain(file, bytes)?;
                if files::key(file, bytes)?.is_some() {
                    self.key = None;
                }
                self.pem = Some(bytes.to_vec());
            }
            Part::Key => {
                let path = appended(file, "key");
                if files::key(&path, bytes)?.is_none() {
                    return Err(TlsError::NoKey(path));
                }
                self.key = Some(bytes.to_vec());
            }
            Part::Ocsp => {
                let digits: Vec<u8> = bytes
                    .iter()
                    .copied()
                    .filter(|b| !b.is_ascii_whitespace())
                    .collect();
                let response = BASE64
                    .decode(digits)
                    .ok()
                    .filter(|der| ocsp::is_response(der));
                let broken = || TlsError::Broken {
                    path: appended(file, "ocsp"),
                    why: "it is no OCSP response in base64".into(),
                };
                self.ocsp = Some(response.ok_or_else(broken)?);
            }
        }
        Ok(())
    }

    /// The certificate with its key, where `before` was what there was of it.
    pub fn whole(&self, before: Option<&[u8]>) -> Vec<u8> {
        let pem = self.pem.as_deref().or(before).unwrap_or_default();
        match &self.key {
            None => pem.to_vec(),
            Some(key) => [&files::without_key(pem), &b"\n"[..], key].concat(),
        }
    }

    /// Whether there is an OCSP response among them.
    pub fn has_response(&self) -> bool {
        self.ocsp.is_some()
    }
}

impl Acceptor {
    /// What stands for which file if `parts` are to stand for the certificate in `file`: a key that comes along takes the
    /// place of the old one wherever that is, and without one the old key stays.
    pub fn stage(&self, file: &Path, parts: &Parts) -> Overrides {
        let listed = self.listed(&mut Reader::default());
        let mut listed = listed.unwrap_or_default().into_iter();
        let known = listed.find(|listed| listed.files.cert == file);
        let (separate, response): (Option<PathBuf>, Option<PathBuf>) =
            known.map_or((None, None), |listed| (listed.files.key, listed.files.ocsp));
        let mut staged = Overrides::new();
        if let Some(der) = &parts.ocsp {
            let path = response.unwrap_or_else(|| appended(file, "ocsp"));
            staged.insert(path, der.clone());
        }
        if parts.pem.is_none() && parts.key.is_none() {
            return staged;
        }
        let before = self.bytes(file).ok();
        let mut bytes = parts.whole(before.as_deref());
        let has_key = !matches!(files::key(file, &bytes), Ok(None));
        match separate {
            Some(key) if has_key => drop(staged.insert(key, bytes.clone())),
            None if !has_key => {
                if let Some(key) = before.as_deref().and_then(files::key_text) {
                    bytes.push(b'\n');
                    bytes.extend_from_slice(key);
                }
            }
            _ => {}
        }
        staged.insert(file.to_owned(), bytes);
        staged
    }

    /// Whether the OCSP response among `parts`, if there is one, can be stapled to the certificate in `file` once `staged` is
    /// in use.
    ///
    /// # Errors
    /// Why not.
    pub fn try_response(
        &self,
        file: &Path,
        parts: &Parts,
        staged: &Overrides,
    ) -> Result<(), TlsError> {
        let Some(der) = &parts.ocsp else {
            return Ok(());
        };
        let pem = match staged.get(file) {
            Some(pem) => pem.clone(),
            None => self.bytes(file)?,
        };
        let chain = files::chain(file, &pem)?;
        let held = ocsp::holds_until(der, &chain, now());
        held.map(drop).map_err(|why| TlsError::Broken {
            path: appended(file, "ocsp"),
            why,
        })
    }
}
