//! What goes without saying in either language, and what `defaults` say already.

use super::{
    says::Says,
    value::{Map, Value, What},
};
use crate::config::{
    model::{Balance, HashType, has_fixed_weights},
    source::Span,
};

/// How long a request's head may take without `timeout http-request`: as long as a client may be silent, while lb has
/// a time of its own for it.
pub(super) fn complete(map: &mut Map, common: Option<&Map>) {
    let of = |map: &Map, key: &str| match map.get("timeouts").map(|timeouts| &timeouts.what) {
        Some(What::Map(timeouts)) => timeouts.get(key).cloned(),
        _ => None,
    };
    let (None, Some(client)) = (of(map, "http_request"), of(map, "client")) else {
        return;
    };
    let same = client.as_text() == Some(HEAD);
    let other = common.is_some_and(|common| of(common, "http_request").is_some());
    if !same || other {
        map.inner("timeouts", client.span)
            .set("http_request", client);
    }
}

/// How long a tunnel may be silent without `timeout tunnel`: as long as either side may be otherwise, while lb has a time of
/// its own for it.
pub(super) fn complete_tunnels(map: &mut Map, common: Option<&Map>, span: Span) {
    let (span, known) = match map.get("timeouts") {
        Some(value) => (value.span, has_tunnel(map)),
        None => (span, false),
    };
    if !known && !common.is_some_and(has_tunnel) {
        map.inner("timeouts", span)
            .set("tunnel", Value::plain("none", span));
    }
}

fn has_tunnel(map: &Map) -> bool {
    let timeouts = map.get("timeouts").map(|timeouts| &timeouts.what);
    matches!(timeouts, Some(What::Map(timeouts)) if timeouts.get("tunnel").is_some())
}

/// What a request's head may take if nothing is said of it.
const HEAD: &str = "10s";

/// Takes out what `defaults` say already.
pub(super) fn less(map: &mut Map, common: Option<&(Map, Span)>) {
    let keeps = |map: &Map| {
        let mode = map.get("connection_mode");
        mode.is_some_and(|mode| mode.is_same(&Value::plain("keep-alive", mode.span)))
    };
    let changes = common.is_some_and(|(common, _)| common.get("connection_mode").is_some());
    if keeps(map) && !changes {
        map.remove("connection_mode");
    }
    let Some((common, _)) = common else { return };
    map.0
        .retain_mut(|key| match (&mut key.value.what, common.get(&key.name)) {
            (
                What::Map(own),
                Some(Value {
                    what: What::Map(all),
                    ..
                }),
            ) if matches!(key.name.as_str(), "timeouts" | "errorfiles") => {
                own.0.retain(|key| {
                    !all.get(&key.name)
                        .is_some_and(|value| value.is_same(&key.value))
                });
                !own.is_empty()
            }
            (_, Some(value)) => !value.is_same(&key.value),
            (_, None) => true,
        });
}

/// Takes out of a server what has no effect in its backend: HAProxy takes no notice of that, lb would refuse it.
pub(super) fn without_idle(keys: &mut Map, backend: &Map, has_cookie: bool, says: &mut Says) {
    let (balance, hash_type) = balancing(backend);
    let introduces = keys.get("send_proxy").and_then(Value::as_text) == Some("v2");
    let mut idle = |key: &str, why: &str| {
        if let Some(value) = keys.get(key) {
            let word = key.replace('_', "-");
            let message = format!("`{word}` has no effect {why}, as in HAProxy");
            says.warn(value.span, message);
            keys.remove(key);
        }
    };
    if has_fixed_weights(balance, hash_type) {
        let why = match balance.has_hash_type() {
            true => "where each step would move clients to other servers",
            false => "where weights are fixed or have no effect",
        };
        idle("slowstart", why);
    }
    if !has_cookie {
        idle("cookie", "without a `cookie` of the backend");
    }
    if !introduces {
        idle("proxy_v2_options", "without `send-proxy-v2`");
    }
}

/// Takes out how hashes are made where none is: HAProxy takes no notice of that, lb would refuse it.
pub(super) fn without_idle_hash(map: &mut Map) {
    if !balancing(map).0.has_hash_type() {
        map.remove("hash_type");
        map.remove("hash_balance_factor");
    }
}

/// How a backend balances. What is misspelt is told of by whoever reads the value.
fn balancing(backend: &Map) -> (Balance, HashType) {
    let word = |key: &str| {
        let text = backend.get(key).and_then(Value::as_text);
        text.and_then(|text| text.split(' ').next())
    };
    let mut all = Balance::ALL.into_iter();
    let balance = all.find(|balance| word("balance") == Some(balance.name()));
    let hash_type = match word("hash_type") {
        Some("consistent") => HashType::Consistent,
        _ => HashType::MapBased,
    };
    (balance.unwrap_or(Balance::RoundRobin), hash_type)
}

/// Takes out a key that no cookie's values are computed of, and says where it stood.
pub(super) fn without_idle_key(map: &mut Map) -> Option<Span> {
    let Some(What::Map(cookie)) = map.get("cookie").map(|cookie| &cookie.what) else {
        return None;
    };
    let (alone, used) = (cookie.0.len() == 1, cookie.get("dynamic").is_some());
    let key = cookie.get("dynamic_cookie_key").filter(|_| !used);
    let span = key?.span;
    if alone {
        map.remove("cookie");
    } else {
        map.inner("cookie", span).remove("dynamic_cookie_key");
    }
    Some(span)
}
