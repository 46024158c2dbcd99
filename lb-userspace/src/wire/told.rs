//! What a PROXY header of version 2 tells besides the ends: of the client's TLS, the request, and whether the header is whole.

use super::heard::Heard;
use crate::{config::model::ProxyOptions, tls::Session};

/// Types of the protocol's text, section 2.2.
const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CHECKSUM: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;
const TLS: u8 = 0x20;
const TLS_VERSION: u8 = 0x21;
const TLS_NAME: u8 = 0x22;
const TLS_CIPHER: u8 = 0x23;
const TLS_SIGNATURE: u8 = 0x24;
const TLS_KEY: u8 = 0x25;

/// The client came by TLS, has shown a certificate with this connection, and with this session: one that goes on has shown
/// its own with an earlier connection.
const BY_TLS: u8 = 0x01;
const BY_CONNECTION: u8 = 0x02;
const BY_SESSION: u8 = 0x04;

/// Adds a type, a length and a value.
fn add(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    // Names and ids are shorter; what is not is left out rather than cut.
    if let Ok(length) = u16::try_from(value.len()) {
        to.push(kind);
        to.extend_from_slice(&length.to_be_bytes());
        to.extend_from_slice(value);
    }
}

/// What is told of a client with this TLS and this request, in HAProxy's order. `heard` is what it was introduced with: the
/// name that another proxy was asked for goes before the one that was asked for here.
pub fn told(
    options: ProxyOptions,
    session: Option<&Session>,
    heard: Option<&Heard>,
    id: Option<&[u8]>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    if options.crc32c {
        add(&mut bytes, CHECKSUM, &[0; 4]);
    }
    if let Some(alpn) = session.and_then(|session| session.alpn.as_deref()) {
        add(&mut bytes, ALPN, alpn);
    }
    let asked = session.and_then(|session| session.server_name.as_deref());
    let name = heard
        .and_then(|heard| heard.authority.as_deref())
        .or(asked.map(str::as_bytes));
    if let Some(name) = name.filter(|_| options.authority) {
        add(&mut bytes, AUTHORITY, name);
    }
    if let Some(id) = id.filter(|_| options.unique_id) {
        add(&mut bytes, UNIQUE_ID, id);
    }
    if options.ssl {
        let mut inner = vec![0; 5];
        if let Some(session) = session {
            inner[0] = BY_TLS;
            add(&mut inner, TLS_VERSION, session.version.as_bytes());
            if let Some(client) = &session.peer {
                inner[0] |= BY_SESSION;
                if !session.resumed {
                    inner[0] |= BY_CONNECTION;
                }
                let name = client.part(false, "CN", 1).filter(|_| options.cert_cn);
                if let Some(name) = name {
                    add(&mut inner, TLS_NAME, name.as_bytes());
                }
            }
            if options.cert_key
                && let Some(ours) = &session.ours
            {
                add(&mut inner, TLS_KEY, ours.key.as_bytes());
            }
            if options.cert_sig
                && let Some(ours) = &session.ours
            {
                add(&mut inner, TLS_SIGNATURE, ours.signature_kind.as_bytes());
            }
            if options.ssl_cipher {
                add(&mut inner, TLS_CIPHER, session.cipher.as_bytes());
            }
        }
        add(&mut bytes, TLS, &inner);
    }
    bytes
}

/// Adds what is told to a header of `fixed` bytes and its ends, says how long that makes it, and fills the checksum in.
pub(super) fn complete(header: &mut Vec<u8>, fixed: usize, told: &[u8]) {
    let ends = header.len();
    header.extend_from_slice(told);
    let Ok(length) = u16::try_from(header.len() - fixed) else {
        header.truncate(ends);
        return;
    };
    header[fixed - 2..fixed].copy_from_slice(&length.to_be_bytes());
    if told.first() == Some(&CHECKSUM) {
        let sum = crc32c(header);
        header[ends + 3..ends + 7].copy_from_slice(&sum.to_be_bytes());
    }
}

/// RFC 3720, appendix B.4. Headers are too short for tables to pay.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(!0_u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::ClientCertificate;

    #[test]
    fn a_checksum_is_that_of_the_header_with_none() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let options = ProxyOptions {
            crc32c: true,
            unique_id: true,
            ..ProxyOptions::default()
        };
        let told = told(options, None, None, Some(b"/u"));
        assert_eq!(told, b"\x03\0\x04\0\0\0\0\x05\0\x02/u");
        let mut header = b"0123456789abcd\0\x0cENDSENDSENDS".to_vec();
        complete(&mut header, 16, &told);
        assert_eq!(header[14..16], [0, 24]);
        let sum = header[31..35].to_vec();
        header[31..35].fill(0);
        assert_eq!(sum, crc32c(&header).to_be_bytes());
    }

    #[test]
    fn of_tls_is_told_what_is_asked_for() {
        let session = Session {
            server_name: Some("a.example".into()),
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
            alpn: Some((*b"http/1.1").into()),
            resumed: false,
            peer: None,
            verdict: Default::default(),
            ours: None,
        };
        let all = ProxyOptions {
            ssl: true,
            cert_cn: true,
            ssl_cipher: true,
            authority: true,
            ..ProxyOptions::default()
        };
        assert_eq!(
            told(all, Some(&session), None, None),
            [
                &b"\x01\0\x08http/1.1\x02\0\x09a.example"[..],
                b"\x20\0\x28\x01\0\0\0\0\x21\0\x07TLSv1.3\x23\0\x16TLS_AES_256_GCM_SHA384",
            ]
            .concat()
        );
        let client = Some(Box::new(ClientCertificate::named("c")));
        let session = |resumed| Session {
            peer: client.clone(),
            resumed,
            ..session.clone()
        };
        for (resumed, flags) in [(false, 7), (true, 5)] {
            let bytes = told(all, Some(&session(resumed)), None, None);
            assert_eq!(bytes[23 + 3], flags, "{resumed}");
            assert!(bytes.windows(4).any(|part| part == b"\x22\0\x01c"));
        }
        let session = session(false);
        assert_eq!(told(all, None, None, None), b"\x20\0\x05\0\0\0\0\0");
        let heard = Heard {
            authority: Some((*b"b.example").into()),
            unique_id: None,
        };
        let authority = ProxyOptions {
            authority: true,
            ..ProxyOptions::default()
        };
        for session in [None, Some(&session)] {
            let bytes = told(authority, session, Some(&heard), None);
            assert!(bytes.ends_with(b"\x02\0\x09b.example"), "{bytes:?}");
        }
        assert_eq!(
            told(ProxyOptions::default(), Some(&session), None, None),
            b"\x01\0\x08http/1.1"
        );
    }
}
