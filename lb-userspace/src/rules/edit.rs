//! Changes to heads.

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::HOST,
    request, response,
    uri::{Parts, PathAndQuery},
};
use hyper::ext::ReasonPhrase;

use super::{
    action::{Edit, FieldNames, HeaderOp},
    regex::Regex,
    scene::{RequestView, ResponseView, Scene, State, World},
    table::Tracked,
    template,
    value::{Kind, Value},
};
use crate::percent;

/// Changes a request.
pub(super) fn request(
    edit: &Edit,
    head: &mut request::Parts,
    state: &mut State,
    world: &dyn World,
) {
    let scene = Scene {
        request: Some(RequestView::new(head)),
        response: None,
        state,
        world,
    };
    match edit {
        Edit::Header(name, operation) => {
            let change = prepare(operation, name, &head.headers, &scene);
            carry_out(change, name, &mut head.headers);
        }
        Edit::DeleteHeaders(names) => delete(names, &mut head.headers),
        Edit::SetPath(path) => {
            let path = path.render(&scene);
            set_target(head, Some(path), None);
        }
        Edit::ReplacePath(regex, by) => {
            let by = by.render(&scene);
            let path = replaced(regex, &by, head.uri.path().as_bytes());
            set_target(head, path, None);
        }
        Edit::SetQuery(query) => {
            let query = query.render(&scene);
            let query = query.strip_prefix(b"?").unwrap_or(&query).to_vec();
            set_target(head, None, Some(query));
        }
        Edit::SetUri(uri) => {
            let uri = uri.render(&scene);
            set_uri(head, uri);
        }
        Edit::SetPathQuery(target) => {
            let target = target.render(&scene);
            set_path_and_query(head, of_any_host(target));
        }
        Edit::SetMethod(method) => {
            // What is no method or one that we do not serve is not taken, and HEAD stays HEAD: whether the client gets a
            // body depends on it.
            let method = super::fetch::method(&method.render(&scene));
            let serves = |method: &Method| {
                *method != Method::CONNECT
                    && (*method == Method::HEAD) == (head.method == Method::HEAD)
            };
            if let Some(method) = method.filter(serves) {
                head.method = method;
            }
        }
        Edit::ReplacePathQuery(regex, by) | Edit::ReplaceUri(regex, by) => {
            let by = by.render(&scene);
            let whole = matches!(edit, Edit::ReplaceUri(..));
            let text = match head.uri.path_and_query() {
                Some(target) if !whole || head.uri.authority().is_none() => {
                    target.as_str().to_owned()
                }
                _ => head.uri.to_string(),
            };
            match replaced(regex, &by, text.as_bytes()) {
                Some(target) if whole => set_uri(head, target),
                Some(target) => set_path_and_query(head, of_any_host(target)),
                None => {}
            }
        }
        Edit::Normalize(normalizer) => {
            let target = head
                .uri
                .path_and_query()
                .map_or("", |target| target.as_str());
            if let Some(target) = normalizer.apply(target.as_bytes()) {
                set_path_and_query(head, target);
            }
        }
        Edit::SetSource(_)
        | Edit::SetSourcePort(_)
        | Edit::SetDestination(_)
        | Edit::SetDestinationPort(_) => rename(edit, &scene),
        Edit::EarlyHint(name, value) => {
            let value = value.field(&scene);
            state.hint(name.clone(), value);
        }
        Edit::SetStatus(..) => {}
        _ => remember(edit, scene_state(&scene, edit), state, world),
    }
}

/// Changes a response.
pub(super) fn response(
    edit: &Edit,
    head: &mut response::Parts,
    request: Option<RequestView<'_>>,
    state: &mut State,
    world: &dyn World,
) {
    let scene = Scene {
        request,
        response: Some(ResponseView {
            status: head.status,
            version: head.version,
            headers: &head.headers,
        }),
        state,
        world,
    };
    match edit {
        Edit::Header(name, operation) => {
            let change = prepare(operation, name, &head.headers, &scene);
            carry_out(change, name, &mut head.headers);
        }
        Edit::DeleteHeaders(names) => delete(names, &mut head.headers),
        Edit::SetStatus(status, reason) => {
            head.status = *status;
            head.extensions.remove::<ReasonPhrase>();
            let reason = match reason {
                Some(own) => ReasonPhrase::try_from(own.clone()).ok(),
                None => super::reason(*status),
            };
            if let Some(reason) = reason {
                head.extensions.insert(reason);
            }
        }
        _ => remember(edit, scene_state(&scene, edit), state, world),
    }
}

/// What is to be remembered of a connection.
pub(super) fn connection(edit: &Edit, state: &mut State, world: &dyn World) {
    let scene = Scene {
        request: None,
        response: None,
        state,
        world,
    };
    if let Edit::SetSource(_)
    | Edit::SetSourcePort(_)
    | Edit::SetDestination(_)
    | Edit::SetDestinationPort(_) = edit
    {
        return rename(edit, &scene);
    }
    remember(edit, scene_state(&scene, edit), state, world);
}

/// Who the client is from here on.
fn rename(edit: &Edit, scene: &Scene<'_>) {
    let world = scene.world;
    match edit {
        Edit::SetSource(address) => {
            if let Some(Value::Ip(ip)) = address.value(scene).and_then(|v| v.cast(Kind::Ip)) {
                let port = world.source().map_or(0, |source| source.port());
                world.set_source(SocketAddr::new(ip.to_canonical(), port));
            }
        }
        Edit::SetSourcePort(port) => {
            let port = address_port(port.value(scene));
            // A port without an address names nobody.
            if let (Some(port), Some(source)) = (port, world.source()) {
                world.set_source(SocketAddr::new(source.ip(), port));
            }
        }
        Edit::SetDestination(address) => {
            if let Some(Value::Ip(ip)) = address.value(scene).and_then(|v| v.cast(Kind::Ip)) {
                let port = world.destination().map_or(0, |there| there.port());
                world.set_destination(SocketAddr::new(ip.to_canonical(), port));
            }
        }
        Edit::SetDestinationPort(port) => {
            let port = address_port(port.value(scene));
            if let (Some(port), Some(there)) = (port, world.destination()) {
                world.set_destination(SocketAddr::new(there.ip(), port));
            }
        }
        _ => {}
    }
}

/// What a variable or counter is to become.
fn scene_state(scene: &Scene<'_>, edit: &Edit) -> Option<Value<'static>> {
    match edit {
        Edit::Live {
            file,
            change,
            key,
            value,
        } => {
            let text = |of: &template::Template| of.render(scene);
            let (key, value) = (text(key), text(value));
            // What is no text stands in no file.
            if let (Ok(key), Ok(value)) = (str::from_utf8(&key), str::from_utf8(&value)) {
                file.change(*change, key, value);
            }
            None
        }
        Edit::UseServer(name) => Some(Value::Str(name.render(scene).into())),
        Edit::SetTimeout(_, patience) => patience.value(scene),
        Edit::SetVar(_, _, value)
        | Edit::SetPriority(_, value)
        | Edit::SetNumber(_, _, value)
        | Edit::CountBy(_, _, value)
        | Edit::Capture { value, .. } => value.value(scene),
        Edit::Track { sc, key, .. } if scene.state.tracked(*sc).is_none() => key.value(scene),
        _ => None,
    }
}

fn remember(edit: &Edit, value: Option<Value<'static>>, state: &mut State, world: &dyn World) {
    match edit {
        // What has no value changes nothing, as in HAProxy.
        Edit::SetVar(_, _, _) if value.is_none() => {}
        Edit::SetVar(var, only, _) if only.allows(var, var.get(state).as_ref(), value.as_ref()) => {
            var.set(state, value);
        }
        Edit::SetVar(_, _, _) => {}
        Edit::UnsetVar(var) => var.set(state, None),
        // The first that says so.
        Edit::Persist(force) => {
            state.persist.get_or_insert(*force);
        }
        Edit::SendOnce => state.sent_once = true,
        Edit::UseServer(_) => {
            let name = value.map(|name| name.into_text().into_owned());
            state.servers.extend(name);
        }
        Edit::SetTimeout(of, _) => state.patiences.set(*of, value),
        Edit::SetPriority(part, _) => state.priority.set(*part, value),
        Edit::LogLevel(level) => state.log_level = Some(*level),
        Edit::CloseServer => state.closes_server = true,
        Edit::SetMark(mark) => world.mark(*mark),
        Edit::SetTos(tos) => world.tos(*tos),
        Edit::Track { sc, table, .. } => {
            if let Some(value) = value {
                let begin = match state.is_session {
                    true => Tracked::begin_connection,
                    false => Tracked::begin,
                };
                state.track(*sc, || begin(table, value, world.now_ms()));
            }
        }
        Edit::Count(sc, data) => {
            if let Some(tracked) = state.tracked(*sc) {
                tracked.count(*data, 1, world.now_ms());
            }
        }
        Edit::CountBy(sc, data, _) => {
            let number = value.and_then(|value| value.cast(Kind::Int)?.as_int());
            let number = number.and_then(|number| u64::try_from(number).ok());
            if let (Some(tracked), Some(number)) = (state.tracked(*sc), number) {
                tracked.count(*data, number, world.now_ms());
            }
        }
        Edit::Capture { side, place, .. } => {
            if let (Some(value), Some(captured)) = (value, state.captured_mut()) {
                captured.put(*side, *place, &value.into_text());
            }
        }
        Edit::SetNumber(sc, data, _) => {
            let number = value.and_then(|value| value.cast(Kind::Int)?.as_int());
            if let (Some(tracked), Some(number)) = (state.tracked(*sc), number) {
                tracked.set(*data, u64::try_from(number).unwrap_or(0));
            }
        }
        _ => {}
    }
}

/// What is to be done to a field, with the values worked out.
enum Change {
    Set(HeaderValue),
    Add(HeaderValue),
    Delete,
    Lines(Vec<HeaderValue>),
    Nothing,
}

fn prepare(
    operation: &HeaderOp,
    name: &HeaderName,
    headers: &HeaderMap,
    scene: &Scene<'_>,
) -> Change {
    match operation {
        HeaderOp::Set(value) => Change::Set(value.field(scene)),
        HeaderOp::Add(value) => Change::Add(value.field(scene)),
        HeaderOp::Delete => Change::Delete,
        HeaderOp::Replace { .. } if !headers.contains_key(name) => Change::Nothing,
        HeaderOp::Replace { regex, by, whole } => {
            let by = by.render(scene);
            let line = |line: &HeaderValue| {
                let text = line.as_bytes();
                if *whole {
                    let replaced = replaced(regex, &by, text);
                    return replaced.map_or_else(|| line.clone(), |text| field_value(&text));
                }
                // As HAProxy has it, what is not replaced keeps the blanks around it.
                let values: Vec<Vec<u8>> = text
                    .split(|&b| b == b',')
                    .map(|value| {
                        replaced(regex, &by, value.trim_ascii()).unwrap_or_else(|| value.to_vec())
                    })
                    .collect();
                field_value(&values.join(&b","[..]))
            };
            Change::Lines(headers.get_all(name).iter().map(line).collect())
        }
    }
}

fn carry_out(change: Change, name: &HeaderName, headers: &mut HeaderMap) {
    match change {
        Change::Set(value) => drop(headers.insert(name, value)),
        Change::Add(value) => drop(headers.append(name, value)),
        Change::Delete => drop(headers.remove(name)),
        Change::Nothing => {}
        Change::Lines(lines) => {
            headers.remove(name);
            for line in lines {
                headers.append(name, line);
            }
        }
    }
}

fn delete(names: &FieldNames, headers: &mut HeaderMap) {
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| names.has(name) && !super::is_framing(name))
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

/// What the whole of `text` becomes, as HAProxy's replace-… rules have it; `None` if nothing in it matches.
fn replaced(regex: &Regex, by: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    regex.expanded(text, &template::replacement(by))
}

/// A field's value. Control characters, which would end it, are percent-encoded; blanks around it are none of it (RFC 9110,
/// section 5.5).
pub(crate) fn field_value(text: &[u8]) -> HeaderValue {
    let text = percent::controls_encoded(text.into());
    // No blank but these is left.
    let value = HeaderValue::from_bytes(text.trim_ascii());
    // Only control characters are refused.
    value.unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The host of a target that has one, and what follows it.
fn authority(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let scheme = target.windows(3).position(|part| part == b"://")?;
    if !target[..scheme].iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let host = &target[scheme + 3..];
    let end = host.iter().position(|b| matches!(b, b'/' | b'?'));
    Some(host.split_at(end.unwrap_or(host.len())))
}

/// A new target; one with a host is a request for that.
fn set_uri(head: &mut request::Parts, target: Vec<u8>) {
    let Some((host, rest)) = authority(&target) else {
        return set_path_and_query(head, target);
    };
    if let Ok(host) = HeaderValue::from_bytes(host) {
        head.headers.insert(HOST, host);
    }
    let rest = rest.to_vec();
    set_path_and_query(head, rest);
}

/// A target without the host that it may have: whom a request is for is not said by a path and a query.
fn of_any_host(target: Vec<u8>) -> Vec<u8> {
    match authority(&target) {
        Some((_, rest)) => rest.to_vec(),
        None => target,
    }
}

/// A port's number.
fn address_port(value: Option<Value<'_>>) -> Option<u16> {
    u16::try_from(value?.as_int()?).ok()
}

/// A new path and a new query, or none.
fn set_path_and_query(head: &mut request::Parts, target: Vec<u8>) {
    let (path, query) = match target.iter().position(|&b| b == b'?') {
        Some(at) => (target[..at].to_vec(), target[at + 1..].to_vec()),
        None => (target, Vec::new()),
    };
    set_target(head, Some(path), Some(query));
}

/// A new path, or a new query; what there was stays where there is none. An empty query is none at all.
fn set_target(head: &mut request::Parts, path: Option<Vec<u8>>, query: Option<Vec<u8>>) {
    if path.is_none() && query.is_none() {
        return;
    }
    let mut target = match path {
        Some(path) => {
            let mut path = encoded(path, b"?#");
            if !path.starts_with(b"/") {
                path.insert(0, b'/');
            }
            path
        }
        None => head.uri.path().as_bytes().to_vec(),
    };
    let query = match query {
        Some(query) => encoded(query, b"#"),
        None => head.uri.query().unwrap_or_default().as_bytes().to_vec(),
    };
    if !query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(&query);
    }
    let Ok(target) = PathAndQuery::try_from(target) else {
        return;
    };
    let mut parts = Parts::from(head.uri.clone());
    parts.path_and_query = Some(target);
    if let Ok(uri) = Uri::from_parts(parts) {
        head.uri = uri;
    }
}

/// With all percent-encoded that may not stand there as it is.
fn encoded(text: Vec<u8>, besides: &[u8]) -> Vec<u8> {
    let stays = |b: u8| {
        b.is_ascii_graphic()
            && !besides.contains(&b)
            && !matches!(b, b'"' | b'<' | b'>' | b'`' | b'\\' | b'^')
    };
    if text.iter().all(|&b| stays(b)) {
        return text;
    }
    percent::encoded(&text, stays)
}
