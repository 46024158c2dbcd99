//! What balancing knows of whoever asks for a server. Pure.

use std::net::SocketAddr;

use http::{HeaderMap, Uri, header::HOST};

use super::{Peer, hashing::hash, queue::Turn};
use crate::{
    config::model::{self, Balance},
    rules::{first_value, parameter, rdp},
};

/// Who asks for a server, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// The client; one that has no address is balanced in turn where the address decides.
    pub client: Option<SocketAddr>,
    /// Hash of what [`Balance::Uri`] and its like look at; `None` where the request has none, which is then balanced in
    /// turn.
    pub hash: Option<u32>,
    /// Where it stands if it waits; `None` if it has just come, and is behind all who do.
    pub turn: Option<Turn>,
}

impl From<SocketAddr> for Asking {
    fn from(client: SocketAddr) -> Self {
        Peer::Inet(client).into()
    }
}

impl From<Peer> for Asking {
    fn from(client: Peer) -> Self {
        Self {
            client: client.inet(),
            hash: None,
            turn: None,
        }
    }
}

impl Asking {
    /// A request of `client` to `backend`; `form` is what has come of its body where that is looked at.
    pub fn of_request(
        client: Peer,
        backend: &model::Backend,
        uri: &Uri,
        headers: &HeaderMap,
        form: &[u8],
    ) -> Self {
        let arguments = &backend.balance_arguments;
        let of_form = || parameter_of_form(form, &arguments.name);
        let key = match backend.balance {
            Balance::Uri => Some(part(uri, arguments)),
            Balance::UrlParam => uri
                .query()
                .and_then(|query| parameter(query, &arguments.name))
                .or_else(of_form),
            Balance::Hdr if arguments.domain_only => {
                header(headers, uri, &arguments.name).map(domain)
            }
            Balance::Hdr => header(headers, uri, &arguments.name),
            _ => None,
        };
        Self {
            client: client.inet(),
            hash: key
                .filter(|key| !key.is_empty())
                .map(|key| hash(backend.hashing, key)),
            turn: None,
        }
    }

    /// A connection of `client` to `backend` that has brought `bytes` so far.
    pub fn of_bytes(client: Peer, backend: &model::Backend, bytes: &[u8]) -> Self {
        let name = backend.balance_arguments.name.as_bytes();
        let key = match backend.balance {
            Balance::RdpCookie => rdp::value(bytes, name),
            _ => None,
        };
        Self {
            client: client.inet(),
            hash: key.map(|key| hash(backend.hashing, key)),
            turn: None,
        }
    }
}

/// The part of the path that [`Balance::Uri`] hashes, as HAProxy cuts it: `len` bytes at most, up to the slash that ends
/// `depth` folders, and without the query unless it is to be `whole`.
fn part<'a>(uri: &'a Uri, arguments: &model::BalanceArguments) -> &'a [u8] {
    let text = match uri.path_and_query() {
        Some(path) => path.as_str().as_bytes(),
        None => b"/",
    };
    let most = arguments
        .len
        .and_then(|len| usize::try_from(len).ok())
        .unwrap_or(usize::MAX);
    let mut slashes = 0;
    let end = text.iter().take(most).position(|&byte| match byte {
        b'/' => {
            slashes += 1;
            arguments.depth.is_some_and(|depth| slashes > depth)
        }
        b'?' => !arguments.whole,
        _ => false,
    });
    &text[..end.unwrap_or_else(|| text.len().min(most))]
}

/// A field of a form in the body of a POST, whose end may not have come.
fn parameter_of_form<'a>(form: &'a [u8], name: &'a str) -> Option<&'a [u8]> {
    let text = match str::from_utf8(form) {
        Ok(text) => text,
        // What is no text may follow.
        Err(error) => str::from_utf8(form.get(..error.valid_up_to())?).ok()?,
    };
    parameter(text, name)
}

/// `example` of `www.example.org:80`, as HAProxy's `use_domain_only` has it.
fn domain(name: &[u8]) -> &[u8] {
    let mut labels = name.rsplitn(3, |&byte| byte == b'.');
    let last = labels.next().unwrap_or(name);
    labels.next().unwrap_or(last)
}

/// The first value of the first field of this name, up to a comma; for Host, what stands for it in HTTP/2.
fn header<'a>(headers: &'a HeaderMap, uri: &'a Uri, name: &str) -> Option<&'a [u8]> {
    let field = headers.get(name).map(|value| first_value(value.as_bytes()));
    field.or_else(|| {
        let host = name.eq_ignore_ascii_case(HOST.as_str());
        uri.authority()
            .filter(|_| host)
            .map(|a| a.as_str().as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::{config::model::BalanceArguments, topology::fixtures};

    fn cut(uri: &str, whole: bool, depth: Option<u32>, len: Option<u32>) -> String {
        let arguments = BalanceArguments {
            whole,
            depth,
            len,
            ..BalanceArguments::default()
        };
        let uri: Uri = uri.parse().unwrap();
        String::from_utf8(part(&uri, &arguments).to_vec()).unwrap()
    }

    #[test]
    fn a_path_is_cut_as_haproxy_cuts_it() {
        assert_eq!(cut("/a/b/c?d=/e", false, None, None), "/a/b/c");
        assert_eq!(cut("/a/b/c?d=/e", true, None, None), "/a/b/c?d=/e");
        assert_eq!(cut("/a/b/c?d=/e", false, Some(1), None), "/a");
        assert_eq!(cut("/a/b/c?d=/e", false, Some(2), None), "/a/b");
        assert_eq!(cut("/a/b/c?d=/e", true, Some(9), None), "/a/b/c?d=/e");
        assert_eq!(cut("/a/b/c", false, None, Some(4)), "/a/b");
        assert_eq!(cut("/a/b/c", false, Some(2), Some(3)), "/a/");
        assert_eq!(cut("http://h.example/a?b", false, None, None), "/a");
        assert_eq!(cut("http://h.example", false, None, None), "/");
    }

    fn hash_of(balance: Balance, name: &str, uri: &str, header: Option<&str>) -> Option<u32> {
        let mut backend = fixtures::backend("b", balance, Vec::new());
        backend.balance_arguments.name = name.into();
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x-user", HeaderValue::from_str(value).unwrap());
        }
        let client = Peer::Inet(([192, 0, 2, 1], 5).into());
        Asking::of_request(client, &backend, &uri.parse().unwrap(), &headers, b"").hash
    }

    #[test]
    fn a_parameter_or_header_is_looked_up_and_may_be_absent() {
        let param = |uri| hash_of(Balance::UrlParam, "id", uri, None);
        assert_eq!(param("/?id=7"), param("/other?a=b&id=7&c"));
        assert_ne!(param("/?id=7"), param("/?id=8"));
        assert_eq!(
            [param("/"), param("/?id="), param("/?idx=7"), param("/?id")],
            [None; 4]
        );
        let user = |value| hash_of(Balance::Hdr, "X-User", "/", value);
        assert_eq!(user(Some("ann")), user(Some("ann")));
        assert_ne!(user(Some("ann")), user(Some("bob")));
        assert_eq!([user(None), user(Some(""))], [None; 2]);
        assert_eq!(user(Some("ann , bob")), user(Some("ann")));
        assert_ne!(user(Some("\"ann,\", bob")), user(Some("\"ann")));
        let host = |uri| hash_of(Balance::Hdr, "host", uri, None);
        assert!(host("https://h.example/").is_some());
        assert_eq!(host("/"), None);
        assert_eq!(hash_of(Balance::RoundRobin, "", "/a", Some("x")), None);
    }
}
