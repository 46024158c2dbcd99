//! `errorfiles:`: pages of one's own for the answers that the balancer gives by itself.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION},
};
use hyper::ext::ReasonPhrase;

use super::{
    answers::{read, type_of},
    decode::Decoder,
    source::Spanned,
    table::Table,
    tree::{Entry, Kind, Node},
};
use crate::rules::{Template, is_framing, reason};

/// Pages by the status that they stand for; `None` is the usual one.
#[derive(Debug, Clone, Default)]
pub struct ErrorFiles {
    pages: Vec<(u16, Option<Page>)>,
    /// Known beforehand, since it is asked for each request.
    any_filled: bool,
}

/// A page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The status that it is sent with.
    pub status: StatusCode,
    /// Its reason phrase, if it is another than the status's usual one.
    pub reason: Option<ReasonPhrase>,
    /// Its header fields, without those that say where it ends.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// There is none: the connection ends without an answer.
    pub silent: bool,
    /// What of it is made anew each time.
    pub filled: Option<Arc<Filled>>,
}

/// What of a page has expressions in it.
#[derive(Debug, Default)]
pub struct Filled {
    /// Fields.
    pub headers: Vec<(HeaderName, Template)>,
    /// Its body, in place of the other, and what that is.
    pub body: Option<(Template, HeaderValue)>,
}

impl ErrorFiles {
    /// The page for a status, if anything is said of it: `None` is the usual one.
    pub fn page(&self, status: u16) -> Option<Option<&Page>> {
        let found = self.pages.iter().find(|(of, _)| *of == status);
        found.map(|(_, page)| page.as_ref())
    }

    /// Whether any of them has expressions in it.
    pub fn any_filled(&self) -> bool {
        self.any_filled
    }

    fn new(pages: Vec<(u16, Option<Page>)>) -> Self {
        let mut all = pages.iter().filter_map(|(_, page)| page.as_ref());
        let any_filled = all.any(|page| page.filled.is_some());
        Self { pages, any_filled }
    }

    /// What is written, if it is, and what `defaults` says for other statuses.
    pub(super) fn resolve(own: Option<Spanned<Self>>, defaults: Option<&Spanned<Self>>) -> Self {
        let own = own.map(|own| own.value).unwrap_or_default();
        match defaults {
            Some(defaults) => own.or(&defaults.value),
            None => own,
        }
    }

    fn or(mut self, defaults: &Self) -> Self {
        let more = defaults
            .pages
            .iter()
            .filter(|(status, _)| self.page(*status).is_none());
        let more: Vec<_> = more.cloned().collect();
        self.pages.extend(more);
        Self::new(self.pages)
    }
}

/// Reads `errorfiles:`.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Spanned<ErrorFiles>> {
    let e = table.take("errorfiles")?;
    let files = d.table(&e.value, e.key_span, "`errorfiles`")?;
    let pages = files.entries().iter().filter_map(|e| page(d, e)).collect();
    Some(Spanned::new(ErrorFiles::new(pages), e.key_span))
}

fn page(d: &mut Decoder<'_>, entry: &Entry) -> Option<(u16, Option<Page>)> {
    let status = entry
        .key
        .parse::<u16>()
        .ok()
        .filter(|status| (400..=599).contains(status));
    let Some(status) = status else {
        let message = format!("`{}` is no status of an error", entry.key);
        d.error(entry.key_span, message, "write a number from 400 to 599");
        return None;
    };
    if let Kind::Mapping(_) = &entry.value.kind {
        let table = d.table(&entry.value, entry.key_span, format!("`{}`", entry.key))?;
        let page = match table.entries().iter().any(|e| {
            matches!(
                e.key.as_str(),
                "body" | "file" | "template" | "template_file"
            )
        }) {
            true => written(d, status, table),
            false => elsewhere(d, table),
        };
        return Some((status, Some(page?)));
    }
    if matches!(&entry.value.kind, Kind::Scalar(text) if text.plain && text.text == "false") {
        return Some((status, None));
    }
    let what = format!("`{status}`");
    Some((status, Some(file(d, status, &entry.value, &what)?)))
}

/// A file that is the page for a status; `what` is its key.
pub(super) fn file(d: &mut Decoder<'_>, status: u16, node: &Node, what: &str) -> Option<Page> {
    let path = d.path(node, what)?;
    let bytes = read(d, &path, node.span)?;
    let page = match bytes.starts_with(b"HTTP/") {
        true => message(&bytes),
        false => {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(type_of(&path)));
            StatusCode::from_u16(status).ok().map(|status| Page {
                status,
                reason: None,
                headers,
                silent: bytes.is_empty(),
                body: bytes,
                filled: None,
            })
        }
    };
    if page.is_none() {
        let message = format!("{} begins like an HTTP message and is none", path.display());
        d.error(
            node.span,
            message,
            "write a status line, header fields, an empty line and a body, or a body alone",
        );
    }
    page
}

/// `{ location: URL, code: 302 }`: the client is sent there.
fn elsewhere(d: &mut Decoder<'_>, mut table: Table<'_>) -> Option<Page> {
    let location = match table.take("location") {
        Some(e) => {
            let text = d.line(&e.value, "`location`")?;
            let value = HeaderValue::from_str(&text).ok();
            if value.is_none() {
                let message = "`location` has characters that no header can carry";
                d.error(e.value.span, message, "write a URL");
            }
            value
        }
        None => {
            d.missing(&table, "location", "write a file, or `{ location: URL }`");
            None
        }
    };
    let code = match table.take("code") {
        Some(e) => {
            let choices = [("302", StatusCode::FOUND), ("303", StatusCode::SEE_OTHER)];
            d.choice(&e.value, "`code`", &choices, &[])?
        }
        None => StatusCode::FOUND,
    };
    table.finish(d, &[], &[("status", "it is `code`")]);
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(LOCATION, location?);
    Some(Page {
        status: code,
        reason: None,
        headers,
        body: Bytes::new(),
        silent: false,
        filled: None,
    })
}

/// `{ body: TEXT, content_type: text/html, headers: { NAME: VALUE } }`, or with `file` for `body`: as it stands there; or with
/// `template` or `template_file`, in which there are expressions.
fn written(d: &mut Decoder<'_>, status: u16, mut table: Table<'_>) -> Option<Page> {
    let mut headers = HeaderMap::new();
    let mut good = true;
    let bodies = ["body", "file", "template", "template_file"].map(|key| table.take(key));
    let mut bodies = bodies.into_iter().flatten();
    let body = bodies.next();
    if let (Some(body), Some(second)) = (body, bodies.next()) {
        let (key, other) = (&second.key, &body.key);
        let message = format!("`{key}` beside `{other}`: a page is one or the other");
        d.error(second.key_span, message, "remove one of them");
        good = false;
    }
    let mut kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut filled = Filled::default();
    let mut template = None;
    let body = match body {
        None => Bytes::new(),
        Some(e) if e.key == "body" => Bytes::from(d.text(&e.value, "`body`")?),
        Some(e) if e.key == "template" => {
            template = Some(d.template(&e.value, "`template`")?);
            Bytes::new()
        }
        Some(e) => {
            let path = d.path(&e.value, &format!("`{}`", e.key))?;
            kind = HeaderValue::from_static(type_of(&path));
            let bytes = read(d, &path, e.value.span)?;
            match e.key.as_str() {
                "file" => bytes,
                _ => {
                    let text = String::from_utf8_lossy(&bytes);
                    template = Some(d.template_of(e.value.span, &text)?);
                    Bytes::new()
                }
            }
        }
    };
    let field = |d: &mut Decoder<'_>, key: &str, node: &Node| {
        let text = d.line(node, &format!("`{key}`"))?;
        let value = HeaderValue::from_str(&text).ok();
        if value.is_none() {
            let message = format!("`{key}` has characters that no header can carry");
            d.error(node.span, message, "write plain text");
        }
        value
    };
    if let Some(e) = table.take("headers") {
        let fields = d.table(&e.value, e.key_span, "`headers`")?;
        for e in fields.entries() {
            let name = HeaderName::from_bytes(e.key.as_bytes()).ok();
            match name.filter(|name| !is_framing(name)) {
                Some(name) => {
                    for node in d.one_or_more(&e.value) {
                        let value = d.template(node, &format!("`{}`", e.key));
                        let literal = value.as_ref().and_then(Template::as_literal);
                        match literal.map(HeaderValue::from_str) {
                            Some(Ok(value)) => _ = headers.append(&name, value),
                            Some(Err(_)) => {
                                let message =
                                    format!("`{}` has characters that no header can carry", e.key);
                                d.error(node.span, message, "write plain text");
                                good = false;
                            }
                            None => {
                                good &= value.is_some();
                                filled
                                    .headers
                                    .extend(value.map(|value| (name.clone(), value)));
                            }
                        }
                    }
                }
                None => {
                    let message = format!("`{}` is no header field of a page", e.key);
                    d.error(e.key_span, message, "write a name such as `Retry-After`");
                    good = false;
                }
            }
        }
    }
    if let Some(e) = table.take("content_type") {
        kind = field(d, &e.key, &e.value)?;
    }
    table.finish(
        d,
        &[],
        &[("string", "it is `body`"), ("hdr", "it is `headers`")],
    );
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, kind.clone());
    }
    filled.body = template.map(|template| (template, kind));
    let any = filled.body.is_some() || !filled.headers.is_empty();
    Some(Page {
        status: StatusCode::from_u16(status).ok()?,
        reason: StatusCode::from_u16(status).ok().and_then(reason),
        headers,
        body,
        silent: false,
        filled: any.then(|| Arc::new(filled)),
    })
    .filter(|_| good)
}

/// A whole message, as HAProxy's errorfiles are.
fn message(bytes: &Bytes) -> Option<Page> {
    // Lines may end as the editor ends them.
    let (head, body) = [&b"\r\n\r\n"[..], b"\n\n"]
        .iter()
        .filter_map(|end| {
            let at = bytes.windows(end.len()).position(|window| window == *end)?;
            Some((at, at + end.len()))
        })
        .min()
        .map(|(head, body)| (&bytes[..head], bytes.slice(body..)))?;
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let mut words = lines.next()?.splitn(3, ' ').skip(1);
    let status: StatusCode = words.next()?.parse().ok()?;
    let reason = match words.next().unwrap_or_default().trim() {
        reason if reason.is_empty() || status.canonical_reason() == Some(reason) => None,
        reason => Some(ReasonPhrase::try_from(reason.as_bytes()).ok()?),
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        if !is_framing(&name) {
            headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
        }
    }
    Some(Page {
        status,
        reason,
        headers,
        body,
        silent: false,
        filled: None,
    })
}
