//! What a frontend keeps of messages for its log: HAProxy's `capture`.

use std::{borrow::Cow, cell::RefCell, sync::Arc};

use http::{
    HeaderMap, HeaderName,
    header::{COOKIE, SET_COOKIE},
};

use super::{
    cookies::{Pair, Pairs},
    fetch::Side,
};

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captures {
    /// Of requests, in the order of the log.
    pub request: Vec<Slot>,
    /// Of responses.
    pub response: Vec<Slot>,
    /// A cookie of both.
    pub cookie: Option<CookieSlot>,
}

/// A place for a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The field that fills it; `None` where a rule does.
    pub header: Option<HeaderName>,
    /// No more bytes are kept.
    pub len: usize,
}

/// A cookie that is kept, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieSlot {
    /// What name and value begin with: `NAME=` is exactly this cookie, `NAME` all whose names begin so.
    pub begins: String,
    /// No more bytes are kept, the name included.
    pub len: usize,
}

impl Captures {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty() && self.cookie.is_none()
    }

    /// The places of a side.
    pub fn of(&self, side: Side) -> &[Slot] {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }
}

/// A text for a place.
type Noted = (Side, usize, Box<[u8]>);

/// What was kept of one request and its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    captures: Arc<Captures>,
    request: Vec<Option<Box<[u8]>>>,
    response: Vec<Option<Box<[u8]>>>,
    request_cookie: Option<Box<[u8]>>,
    response_cookie: Option<Box<[u8]>>,
    /// What expressions have put into places, which change nothing else.
    noted: RefCell<Vec<Noted>>,
}

impl Captured {
    /// What `captures` keep of a request with these fields.
    pub fn of_request(captures: &Arc<Captures>, headers: &HeaderMap) -> Self {
        let cookie = captures.cookie.as_ref().and_then(|slot| {
            let lines = headers.get_all(COOKIE).iter();
            let mut pairs = lines.flat_map(|line| Pairs::new(line.as_bytes()));
            // `$Path` and the like belong to the cookie before them.
            pairs.find_map(|pair| slot.taken(&pair).filter(|_| !pair.name.starts_with(b"$")))
        });
        Self {
            request: captures
                .request
                .iter()
                .map(|slot| slot.taken(headers))
                .collect(),
            response: vec![None; captures.response.len()],
            request_cookie: cookie,
            response_cookie: None,
            noted: RefCell::default(),
            captures: Arc::clone(captures),
        }
    }

    /// Keeps what is to be kept of the response as the server sent it, but for what is said of the connection alone.
    pub fn response(&mut self, headers: &HeaderMap) {
        for (slot, kept) in self.captures.response.iter().zip(&mut self.response) {
            *kept = slot.taken(headers);
        }
        self.response_cookie = self.captures.cookie.as_ref().and_then(|slot| {
            let lines = headers.get_all(SET_COOKIE).iter();
            let mut pairs = lines.filter_map(|line| Pairs::new(line.as_bytes()).next());
            pairs.find_map(|pair| slot.taken(&pair))
        });
    }

    /// Puts a text into a place, if there is one of this number.
    pub fn put(&mut self, side: Side, place: usize, text: &[u8]) {
        let noted = self.noted.get_mut();
        noted.retain(|(of, at, _)| (*of, *at) != (side, place));
        let slots = match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        };
        if let (Some(slot), Some(kept)) = (self.captures.of(side).get(place), slots.get_mut(place))
        {
            *kept = Some(cut(text, slot.len));
        }
    }

    /// The same by an expression; whether there is such a place.
    pub fn note(&self, side: Side, place: usize, text: &[u8]) -> bool {
        let Some(slot) = self.captures.of(side).get(place) else {
            return false;
        };
        let mut noted = self.noted.borrow_mut();
        noted.retain(|(of, at, _)| (*of, *at) != (side, place));
        noted.push((side, place, cut(text, slot.len)));
        true
    }

    /// What is in a place.
    pub fn get(&self, side: Side, place: usize) -> Option<Cow<'_, [u8]>> {
        match self.all(side) {
            Cow::Borrowed(all) => all.get(place)?.as_deref().map(Cow::Borrowed),
            Cow::Owned(mut all) => all
                .get_mut(place)?
                .take()
                .map(|kept| kept.into_vec().into()),
        }
    }

    /// All places of a side.
    pub fn all(&self, side: Side) -> Cow<'_, [Option<Box<[u8]>>]> {
        let kept = match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        };
        let noted = self.noted.borrow();
        if noted.is_empty() {
            return Cow::Borrowed(kept);
        }
        let mut all = kept.clone();
        for (_, place, text) in noted.iter().filter(|(of, ..)| *of == side) {
            if let Some(kept) = all.get_mut(*place) {
                *kept = Some(text.clone());
            }
        }
        Cow::Owned(all)
    }

    /// The cookie, `NAME=VALUE`.
    pub fn cookie(&self, side: Side) -> Option<&[u8]> {
        match side {
            Side::Request => self.request_cookie.as_deref(),
            Side::Response => self.response_cookie.as_deref(),
        }
    }
}

impl Slot {
    /// The last line of the field.
    fn taken(&self, headers: &HeaderMap) -> Option<Box<[u8]>> {
        let line = headers.get_all(self.header.as_ref()?).iter().next_back()?;
        Some(cut(line.as_bytes().trim_ascii(), self.len))
    }
}

impl CookieSlot {
    /// Name and value without the spaces around them, if it is such a cookie.
    fn taken(&self, pair: &Pair<'_>) -> Option<Box<[u8]>> {
        let text = [pair.name, pair.value?].join(&b'=');
        text.starts_with(self.begins.as_bytes())
            .then(|| cut(&text, self.len))
    }
}

fn cut(text: &[u8], most: usize) -> Box<[u8]> {
    text[..text.len().min(most)].into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn text(kept: Option<&[u8]>) -> Option<String> {
        kept.map(|kept| String::from_utf8_lossy(kept).into_owned())
    }

    #[test]
    fn cookies_are_told_apart_as_haproxy_does() {
        let captures = Arc::new(Captures {
            cookie: Some(CookieSlot {
                begins: "app".into(),
                len: 20,
            }),
            ..Captures::default()
        });
        let of = |cookie, set: &'static str| {
            let mut kept = Captured::of_request(&captures, &headers(&[("cookie", cookie)]));
            kept.response(&headers(&[("set-cookie", set)]));
            [Side::Request, Side::Response].map(|side| text(kept.cookie(side)))
        };
        for (field, kept) in [
            ("app=x; app=y", Some("app=x")),
            ("app = x ;app=y", Some("app=x")),
            ("application=x", Some("application=x")),
            ("app=\"a;b\"; c", Some("app=\"a;b\"")),
            ("app=\"a\\\";b\"; c", Some("app=\"a\\\";b\"")),
            ("app=\"a;b", Some("app=\"a;b")),
            ("app=x,app=y", Some("app=x")),
            ("app=", Some("app=")),
            // None of these is one.
            ("app; xapp=x", None),
            ("appx", None),
            ("$app=x", None),
            ("APP=x", None),
        ] {
            let [request, response] = of(field, field);
            assert_eq!(request.as_deref(), kept, "{field}");
            assert_eq!(response.as_deref(), kept, "{field}");
        }
        let [request, response] = of("a=1; app=2", "a=1; app=2");
        assert_eq!((request.as_deref(), response), (Some("app=2"), None));
    }

    #[test]
    fn the_last_line_is_kept_and_cut() {
        let slot = |header, len| Slot {
            header: Some(HeaderName::from_static(header)),
            len,
        };
        let captures = Arc::new(Captures {
            request: vec![
                slot("x-a", 4),
                slot("x-b", 9),
                Slot {
                    header: None,
                    len: 3,
                },
            ],
            response: vec![slot("server", 9)],
            cookie: Some(CookieSlot {
                begins: "SESS".into(),
                len: 9,
            }),
        });
        let request = headers(&[
            ("x-a", "first"),
            ("x-a", "second"),
            ("cookie", "a=1; SESSION=123456; SESS=2"),
        ]);
        let mut kept = Captured::of_request(&captures, &request);
        kept.put(Side::Request, 2, b"abcdef");
        kept.put(Side::Request, 3, b"nowhere");
        let of = |kept: &Captured, side, place| text(kept.get(side, place).as_deref());
        assert_eq!(of(&kept, Side::Request, 0).as_deref(), Some("seco"));
        assert_eq!(of(&kept, Side::Request, 1), None);
        assert_eq!(of(&kept, Side::Request, 2).as_deref(), Some("abc"));
        assert_eq!(of(&kept, Side::Response, 0), None);
        assert!(kept.note(Side::Request, 2, b"ghijk") && !kept.note(Side::Request, 3, b""));
        assert_eq!(of(&kept, Side::Request, 2).as_deref(), Some("ghi"));
        assert_eq!(of(&kept, Side::Request, 0).as_deref(), Some("seco"));
        assert_eq!(
            text(kept.cookie(Side::Request)).as_deref(),
            Some("SESSION=1")
        );
        kept.response(&headers(&[
            ("server", ""),
            ("set-cookie", "b=SESS"),
            ("set-cookie", "SESS=3; path=/"),
        ]));
        assert_eq!(of(&kept, Side::Response, 0).as_deref(), Some(""));
        assert_eq!(text(kept.cookie(Side::Response)).as_deref(), Some("SESS=3"));
    }
}
