//! A certificate as `show ssl cert` describes it, in HAProxy's words.

use std::{fmt::Write, path::Path};

use aws_lc_rs::digest;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
    revocation_list::CertificateRevocationList,
    time::ASN1Time,
};

use super::{
    certificate::distinguished_name,
    error::TlsError,
    files,
    session::{hex, key, kind},
};

/// The lines that describe the certificate in `pem`, which is what the file at `path` is taken to hold.
///
/// # Errors
/// It holds none.
pub fn describe(path: &Path, pem: &[u8]) -> Result<String, TlsError> {
    let chain = files::chain(path, pem)?;
    let mut out = String::new();
    for (at, der) in chain.iter().enumerate() {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| TlsError::Broken {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
        let of = if at == 0 { "" } else { "Chain " };
        if at == 0 {
            leaf(&mut out, &parsed, der);
        }
        // A String takes everything, here and below.
        let _ = writeln!(out, "{of}Subject: {}", distinguished_name(parsed.subject()));
        let _ = writeln!(out, "{of}Issuer: {}", distinguished_name(parsed.issuer()));
    }
    Ok(out)
}

/// The same of each certificate in it by itself, as `show ssl ca-file` has them.
///
/// # Errors
/// It holds none.
pub fn describe_each(path: &Path, pem: &[u8]) -> Result<Vec<String>, TlsError> {
    let chain = files::chain(path, pem)?;
    let each = chain.iter().map(|der| {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| TlsError::Broken {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
        let mut out = String::new();
        leaf(&mut out, &parsed, der);
        // A String takes everything.
        let _ = writeln!(out, "Subject: {}", distinguished_name(parsed.subject()));
        let _ = writeln!(out, "Issuer: {}", distinguished_name(parsed.issuer()));
        Ok(out)
    });
    each.collect()
}

/// The lists of revoked certificates in `pem`, as `show ssl crl-file` has them.
///
/// # Errors
/// It holds none.
pub fn describe_revoked(path: &Path, pem: &[u8]) -> Result<Vec<String>, TlsError> {
    let lists = files::revoked(path, pem)?;
    let each = lists.iter().map(|der| {
        let parsed = CertificateRevocationList::from_der(der.as_ref());
        let (_, list) = parsed.map_err(|error| TlsError::Broken {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
        let mut out = String::new();
        let version = list.version().map_or(1, |version| version.0 + 1);
        // A String takes everything, here and below.
        let _ = writeln!(out, "Version {version}");
        let _ = writeln!(
            out,
            "Signature Algorithm: {}",
            kind(&list.signature_algorithm)
        );
        let _ = writeln!(out, "Issuer: {}", distinguished_name(list.issuer()));
        let _ = writeln!(out, "Last Update: {}", date(&list.last_update()));
        if let Some(next) = list.next_update() {
            let _ = writeln!(out, "Next Update: {}", date(&next));
        }
        let mut revoked = list.iter_revoked_certificates().peekable();
        out.push_str(match revoked.peek() {
            Some(_) => "Revoked Certificates:\n",
            None => "No Revoked Certificates.\n",
        });
        for one in revoked {
            let serial = one.raw_serial();
            let bare = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty());
            let _ = writeln!(out, "    Serial Number: {}", hex(bare.unwrap_or(serial)));
            let _ = writeln!(
                out,
                "        Revocation Date: {}",
                date(&one.revocation_date)
            );
        }
        Ok(out)
    });
    each.collect()
}

fn leaf(out: &mut String, certificate: &X509Certificate<'_>, der: &[u8]) {
    let serial = certificate.raw_serial();
    // A byte in front keeps a number from being read as a negative one.
    let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty());
    let validity = certificate.validity();
    let _ = writeln!(
        out,
        "Serial: {}",
        hex(serial.unwrap_or(certificate.raw_serial()))
    );
    let _ = writeln!(out, "notBefore: {}", date(&validity.not_before));
    let _ = writeln!(out, "notAfter: {}", date(&validity.not_after));
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let names = names.iter().map(|name| match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        // HAProxy leaves the others out, but not what parts them.
        _ => String::new(),
    });
    let names: Vec<String> = names.collect();
    let _ = writeln!(out, "Subject Alternative Name: {}", names.join(", "));
    let _ = writeln!(out, "Algorithm: {}", key(certificate));
    let print = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der);
    let _ = writeln!(out, "SHA1 FingerPrint: {}", hex(print.as_ref()));
}

/// `Nov 27 15:06:32 2026 GMT`
fn date(time: &ASN1Time) -> String {
    let at = time.to_datetime();
    let month = at.month().to_string();
    let month = month.get(..3).unwrap_or(&month);
    let (hour, minute, second) = at.to_hms();
    format!(
        "{month} {:>2} {hour:02}:{minute:02}:{second:02} {} GMT",
        at.day(),
        at.year()
    )
}
