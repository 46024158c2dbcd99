//! The static table and the one that a peer fills. Pure.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{
    HeaderValue,
    header::{
        ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_RANGES,
        ACCESS_CONTROL_ALLOW_ORIGIN, AGE, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_DISPOSITION,
        CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE,
        CONTENT_TYPE, COOKIE, DATE, ETAG, EXPECT, EXPIRES, FROM, HOST, IF_MATCH, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, LINK, LOCATION, MAX_FORWARDS,
        PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, REFERER, REFRESH, RETRY_AFTER, SERVER,
        SET_COOKIE, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, USER_AGENT, VARY, VIA,
        WWW_AUTHENTICATE,
    },
};

use super::{
    Name::{self, Field},
    OVERHEAD, Pseudo, TABLE, Value,
};

const AUTHORITY: Name = Name::Pseudo(Pseudo::Authority);
const METHOD: Name = Name::Pseudo(Pseudo::Method);
const PATH: Name = Name::Pseudo(Pseudo::Path);
const SCHEME: Name = Name::Pseudo(Pseudo::Scheme);
const STATUS: Name = Name::Pseudo(Pseudo::Status);

/// RFC 7541 appendix A; the first is number 1.
static STATIC: [(Name, &str); 61] = [
    (AUTHORITY, ""),
    (METHOD, "GET"),
    (METHOD, "POST"),
    (PATH, "/"),
    (PATH, "/index.html"),
    (SCHEME, "http"),
    (SCHEME, "https"),
    (STATUS, "200"),
    (STATUS, "204"),
    (STATUS, "206"),
    (STATUS, "304"),
    (STATUS, "400"),
    (STATUS, "404"),
    (STATUS, "500"),
    (Field(ACCEPT_CHARSET), ""),
    (Field(ACCEPT_ENCODING), "gzip, deflate"),
    (Field(ACCEPT_LANGUAGE), ""),
    (Field(ACCEPT_RANGES), ""),
    (Field(ACCEPT), ""),
    (Field(ACCESS_CONTROL_ALLOW_ORIGIN), ""),
    (Field(AGE), ""),
    (Field(ALLOW), ""),
    (Field(AUTHORIZATION), ""),
    (Field(CACHE_CONTROL), ""),
    (Field(CONTENT_DISPOSITION), ""),
    (Field(CONTENT_ENCODING), ""),
    (Field(CONTENT_LANGUAGE), ""),
    (Field(CONTENT_LENGTH), ""),
    (Field(CONTENT_LOCATION), ""),
    (Field(CONTENT_RANGE), ""),
    (Field(CONTENT_TYPE), ""),
    (Field(COOKIE), ""),
    (Field(DATE), ""),
    (Field(ETAG), ""),
    (Field(EXPECT), ""),
    (Field(EXPIRES), ""),
    (Field(FROM), ""),
    (Field(HOST), ""),
    (Field(IF_MATCH), ""),
    (Field(IF_MODIFIED_SINCE), ""),
    (Field(IF_NONE_MATCH), ""),
    (Field(IF_RANGE), ""),
    (Field(IF_UNMODIFIED_SINCE), ""),
    (Field(LAST_MODIFIED), ""),
    (Field(LINK), ""),
    (Field(LOCATION), ""),
    (Field(MAX_FORWARDS), ""),
    (Field(PROXY_AUTHENTICATE), ""),
    (Field(PROXY_AUTHORIZATION), ""),
    (Field(RANGE), ""),
    (Field(REFERER), ""),
    (Field(REFRESH), ""),
    (Field(RETRY_AFTER), ""),
    (Field(SERVER), ""),
    (Field(SET_COOKIE), ""),
    (Field(STRICT_TRANSPORT_SECURITY), ""),
    (Field(TRANSFER_ENCODING), ""),
    (Field(USER_AGENT), ""),
    (Field(VARY), ""),
    (Field(VIA), ""),
    (Field(WWW_AUTHENTICATE), ""),
];

/// The number of a name in the static table. By length first, which leaves few.
pub(super) fn number(name: &str) -> Option<u8> {
    Some(match name.len() {
        3 => match name {
            "age" => 21,
            "via" => 60,
            _ => return None,
        },
        4 => match name {
            "date" => 33,
            "etag" => 34,
            "vary" => 59,
            "link" => 45,
            "from" => 37,
            "host" => 38,
            _ => return None,
        },
        5 => match name {
            "allow" => 22,
            "range" => 50,
            _ => return None,
        },
        6 => match name {
            "server" => 54,
            "accept" => 19,
            "cookie" => 32,
            "expect" => 35,
            _ => return None,
        },
        7 => match name {
            "expires" => 36,
            "referer" => 51,
            "refresh" => 52,
            _ => return None,
        },
        8 => match name {
            "location" => 46,
            "if-match" => 39,
            "if-range" => 42,
            _ => return None,
        },
        10 => match name {
            "set-cookie" => 55,
            "user-agent" => 58,
            _ => return None,
        },
        11 if name == "retry-after" => 53,
        12 => match name {
            "content-type" => 31,
            "max-forwards" => 47,
            _ => return None,
        },
        13 => match name {
            "last-modified" => 44,
            "cache-control" => 24,
            "accept-ranges" => 18,
            "content-range" => 30,
            "authorization" => 23,
            "if-none-match" => 41,
            _ => return None,
        },
        14 => match name {
            "content-length" => 28,
            "accept-charset" => 15,
            _ => return None,
        },
        15 => match name {
            "accept-encoding" => 16,
            "accept-language" => 17,
            _ => return None,
        },
        16 => match name {
            "content-encoding" => 26,
            "content-language" => 27,
            "content-location" => 29,
            "www-authenticate" => 61,
            _ => return None,
        },
        17 => match name {
            "transfer-encoding" => 57,
            "if-modified-since" => 40,
            _ => return None,
        },
        18 if name == "proxy-authenticate" => 48,
        19 => match name {
            "content-disposition" => 25,
            "if-unmodified-since" => 43,
            "proxy-authorization" => 49,
            _ => return None,
        },
        25 if name == "strict-transport-security" => 56,
        27 if name == "access-control-allow-origin" => 20,
        _ => return None,
    })
}

/// What a peer has said before and may refer to, after the static table.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<(Name, Value)>,
    /// What they count.
    size: usize,
    /// What they may.
    most: usize,
}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: TABLE,
        }
    }

    /// The name and the value of a number.
    pub(super) fn entry(&self, number: usize) -> Option<(Name, Value)> {
        let at = number.checked_sub(1)?;
        match STATIC.get(at) {
            Some((name, value)) => {
                let value = match name {
                    Field(_) => Value::Field(HeaderValue::from_static(value)),
                    _ => Value::Pseudo(Bytes::from_static(value.as_bytes())),
                };
                Some((name.clone(), value))
            }
            None => self.entries.get(at - STATIC.len()).cloned(),
        }
    }

    /// The name of a number.
    pub(super) fn name(&self, number: usize) -> Option<Name> {
        let at = number.checked_sub(1)?;
        match STATIC.get(at) {
            Some((name, _)) => Some(name.clone()),
            None => Some(self.entries.get(at - STATIC.len())?.0.clone()),
        }
    }

    /// Takes an entry in, for which old ones go. One that is larger than the table empties it.
    pub(super) fn insert(&mut self, name: Name, value: Value) {
        let size = name.len() + value.len() + OVERHEAD;
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.entries.push_front((name, value));
        }
    }

    /// Changes what the entries may count.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.shrink(most);
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most
            && let Some((name, value)) = self.entries.pop_back()
        {
            self.size -= name.len() + value.len() + OVERHEAD;
        }
    }

    /// What the entries count, and how many they are.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.size, self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_numbers_of_the_table() {
        let table = Table::new();
        for at in 15..=61 {
            let Some(Field(name)) = table.name(at) else {
                panic!("{at}");
            };
            assert_eq!(number(name.as_str()).map(usize::from), Some(at), "{name}");
        }
        assert_eq!(number("x"), None);
        assert_eq!(number("x-powered-by"), None);
        assert!(table.name(0).is_none() && table.name(62).is_none());
    }
}
