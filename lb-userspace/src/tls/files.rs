//! Reading PEM files, and telling whether they have changed.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject},
};

use super::{
    client_auth::roots,
    error::TlsError,
    options::{CertificateFiles, Certificates},
};
use crate::watched::Stamp;

/// No file of certificates is that large; a device or a mistake is.
const MAX_FILE: u64 = 4 << 20;
/// What a certificate of a kind is called beside a file that is not there itself (HAProxy's bundles).
const BUNDLE: &[&str] = &["rsa", "dsa", "ecdsa"];
/// What beside a certificate in a folder is no certificate itself (HAProxy's list).
const COMPANIONS: &[&str] = &["key", "ocsp", "issuer", "sctl"];

/// What in a folder of CAs is looked at (HAProxy's list).
const AUTHORITIES: &[&str] = &["pem", "crt", "cer"];

/// What an operator has handed over to stand for files.
pub type Overrides = HashMap<PathBuf, Vec<u8>>;

/// What is read of the disk, and when it was as it was read.
#[derive(Debug, Default)]
pub(super) struct Reader<'a> {
    pub(super) overrides: Option<&'a Overrides>,
    /// Every path that was looked at.
    pub(super) seen: Vec<(PathBuf, Stamp)>,
}

impl Reader<'_> {
    /// The whole of a file.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, TlsError> {
        // Before the bytes: a file that changes in between is seen to have changed.
        self.seen.push((path.to_owned(), Stamp::of(path)));
        if let Some(bytes) = self.overrides.and_then(|overrides| overrides.get(path)) {
            return Ok(bytes.clone());
        }
        let unreadable = |error: io::Error| TlsError::unreadable(path, &error);
        let length = fs::metadata(path).map_err(unreadable)?.len();
        if length > MAX_FILE {
            return Err(unreadable(io::Error::other("it is too large")));
        }
        fs::read(path).map_err(unreadable)
    }

    /// Certificates of CAs: those of a file, or of all files in a folder that have some. What else lies there, or is broken,
    /// is passed over, as HAProxy does.
    pub(super) fn authorities(&mut self, path: &Path) -> Result<Vec<u8>, TlsError> {
        if !path.is_dir() {
            return self.read(path);
        }
        self.seen.push((path.to_owned(), Stamp::of(path)));
        let unreadable = |error: io::Error| TlsError::unreadable(path, &error);
        let found = fs::read_dir(path).map_err(unreadable)?;
        let mut found: Vec<PathBuf> = found.filter_map(|e| Some(e.ok()?.path())).collect();
        found.sort();
        let is_one = |path: &PathBuf| {
            let mut kinds = AUTHORITIES.iter();
            let extension = path.extension();
            extension.is_some_and(|ext| kinds.any(|kind| ext == *kind)) && path.is_file()
        };
        let mut all = Vec::new();
        for file in found.into_iter().filter(is_one) {
            let pem = self.read(&file)?;
            if roots(&file, &pem).is_ok() {
                all.extend(pem);
                all.push(b'\n');
            }
        }
        match all.is_empty() {
            true => Err(TlsError::EmptyFolder(path.to_owned())),
            false => Ok(all),
        }
    }

    /// The certificates that there are to be loaded.
    pub(super) fn certificates(
        &mut self,
        certificates: &Certificates,
    ) -> Result<Vec<CertificateFiles>, TlsError> {
        let all = match certificates {
            Certificates::Files(files) => files.clone(),
            Certificates::Path(path) => vec![CertificateFiles {
                cert: path.clone(),
                key: None,
                ocsp: None,
            }],
        };
        let mut found = Vec::new();
        for files in all {
            match &files {
                CertificateFiles {
                    cert,
                    key: None,
                    ocsp: None,
                } => match cert.is_dir() {
                    true => found.extend(self.folder(cert)?),
                    false => found.extend(self.bare(cert)),
                },
                _ => found.push(files),
            }
        }
        Ok(found)
    }

    /// Those in a folder.
    fn folder(&mut self, folder: &Path) -> Result<Vec<CertificateFiles>, TlsError> {
        self.seen.push((folder.to_owned(), Stamp::of(folder)));
        let unreadable = |error: io::Error| TlsError::unreadable(folder, &error);
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let companion = path
                .extension()
                .is_some_and(|ext| COMPANIONS.iter().any(|word| ext == *word));
            if name.starts_with('.') || companion || !path.is_file() {
                continue;
            }
            found.push(CertificateFiles {
                key: None,
                // The folder itself changes when there is another.
                ocsp: beside(&path, "ocsp"),
                cert: path,
            });
        }
        if found.is_empty() {
            return Err(TlsError::EmptyFolder(folder.to_owned()));
        }
        found.sort();
        Ok(found)
    }

    /// A certificate of which nothing is said but its file: with an OCSP response, if there is one beside it. If there is no such
    /// file, those of each kind that are called like it.
    pub(super) fn bare(&mut self, cert: &Path) -> Vec<CertificateFiles> {
        let mut bundle = Vec::new();
        if !self.is_there(cert) {
            let kinds = BUNDLE.iter().map(|kind| appended(cert, kind));
            bundle.extend(kinds.filter(|path| self.is_there(path)));
        }
        if bundle.is_empty() {
            bundle.push(cert.to_owned());
        }
        let with_ocsp = bundle.into_iter().map(|cert| CertificateFiles {
            key: None,
            ocsp: self.beside(&cert, "ocsp"),
            cert,
        });
        with_ocsp.collect()
    }

    /// What [`beside`] finds.
    pub(super) fn beside(&mut self, cert: &Path, extension: &str) -> Option<PathBuf> {
        let mut places = places(cert, extension).into_iter();
        places.find(|path| self.is_there(path))
    }

    /// Whether an operator has handed over what is to stand for it.
    pub(super) fn is_given(&self, path: &Path) -> bool {
        self.overrides
            .is_some_and(|overrides| overrides.contains_key(path))
    }

    /// Whether there is such a file. If not, it is noticed once there is.
    fn is_there(&mut self, path: &Path) -> bool {
        let stamp = Stamp::of(path);
        let is_there = path.is_file();
        if !is_there {
            self.seen.push((path.to_owned(), stamp));
        }
        is_there
    }
}

/// `a.crt.key`, else `a.key`, if it is there.
fn beside(cert: &Path, extension: &str) -> Option<PathBuf> {
    let mut places = places(cert, extension).into_iter();
    places.find(|path| path.is_file())
}

fn places(cert: &Path, extension: &str) -> [PathBuf; 2] {
    [appended(cert, extension), cert.with_extension(extension)]
}

pub(super) fn appended(cert: &Path, extension: &str) -> PathBuf {
    let mut name = cert.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// The certificates in a file, which has at least one.
pub(super) fn chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| match is_encrypted(pem) {
            // An old form of these keeps lines that are no base64.
            true => TlsError::EncryptedKey(path.to_owned()),
            false => broken(path, error),
        })?;
    match chain.is_empty() {
        true => Err(TlsError::NoCertificate(path.to_owned())),
        false => Ok(chain),
    }
}

/// The lists of revoked certificates in a file, which has at least one.
pub(super) fn revoked(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| broken(path, error))?;
    match lists.is_empty() {
        true => Err(TlsError::Broken {
            path: path.to_owned(),
            why: "it has no list of revoked certificates in PEM".into(),
        }),
        false => Ok(lists),
    }
}

/// The private key in a file; `None` if there is none.
pub(super) fn key(path: &Path, pem: &[u8]) -> Result<Option<PrivateKeyDer<'static>>, TlsError> {
    if is_encrypted(pem) {
        return Err(TlsError::EncryptedKey(path.to_owned()));
    }
    PrivateKeyDer::pem_slice_iter(pem)
        .next()
        .transpose()
        .map_err(|error| broken(path, error))
}

/// Whether a key in it wants a pass phrase.
fn is_encrypted(pem: &[u8]) -> bool {
    let mentions = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    mentions(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || mentions(b"Proc-Type: 4,ENCRYPTED")
}

/// The part of a PEM file that is its private key.
pub(super) fn key_text(pem: &[u8]) -> Option<&[u8]> {
    let text = std::str::from_utf8(pem).ok()?;
    let begins = text
        .match_indices("-----BEGIN ")
        .find(|(at, _)| {
            let line = text[*at..].lines().next().unwrap_or_default();
            line.ends_with("PRIVATE KEY-----")
        })?
        .0;
    let rest = &text[begins..];
    let end = rest.find("-----END ")?;
    let end = rest[end..]
        .find('\n')
        .map_or(rest.len(), |line| end + line + 1);
    rest.as_bytes().get(..end)
}

/// A PEM file without its private keys.
pub(super) fn without_key(pem: &[u8]) -> Vec<u8> {
    let mut rest = pem.to_vec();
    while let Some(key) = key_text(&rest) {
        let (length, begins) = (key.len(), key.as_ptr().addr() - rest.as_ptr().addr());
        rest.drain(begins..begins + length);
    }
    rest
}

fn broken(path: &Path, error: PemError) -> TlsError {
    let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let why = match error {
        PemError::MissingSectionEnd { end_marker } => {
            let label = line(&end_marker);
            format!("it has no `-----END {label}-----`, as if it had been cut off")
        }
        PemError::IllegalSectionStart { line: start } => {
            format!("`{}` begins nothing that PEM has", line(&start))
        }
        PemError::Base64Decode(_) => {
            "between the lines of PEM there is something else than base64".into()
        }
        error => error.to_string(),
    };
    TlsError::Broken {
        path: path.to_owned(),
        why,
    }
}
