//! `balance`, `hash_type` and `hash_balance_factor`.

use lb_common::slots;

use super::{
    cookie::is_token,
    decode::Decoder,
    draft::BalanceDraft,
    elsewhere,
    model::{Balance, BalanceArguments, HashFunction, HashType, Hashing},
    source::Spanned,
    table::Table,
    tree::{Entry, Kind, Node},
};

/// Most servers that `random` draws: one draw more costs a look at one server more.
const MOST_DRAWS: u32 = 256;
/// Longest part of a path that is hashed, and most folders.
const MOST_URI: u32 = 65_535;

/// The cookie that RDP clients send of themselves: who it is.
const RDP_COOKIE: &str = "mstshash";

/// `balance`: a word with its arguments as HAProxy writes them, or a mapping of `algorithm` and arguments.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry) -> Option<BalanceDraft> {
    let choices = Balance::ALL.map(|algorithm| (algorithm.name(), algorithm));
    if !matches!(entry.value.kind, Kind::Mapping(_)) {
        let text = d.word(&entry.value, "`balance`")?.replace(['(', ')'], " ");
        let mut words = text.split_whitespace();
        let named = words.next().and_then(|first| {
            let named = choices.iter().find(|(name, _)| *name == first);
            named.map(|(_, algorithm)| *algorithm)
        });
        let algorithm = match named {
            Some(algorithm) => algorithm,
            None => d.hinted_choice(&entry.value, "`balance`", &choices, elsewhere::ALGORITHMS)?,
        };
        let arguments = spoken(d, &entry.value, algorithm, words)?;
        return Some(BalanceDraft {
            span: entry.key_span,
            algorithm,
            arguments,
            table_size: None,
        });
    }
    let mut table = d.table(&entry.value, entry.key_span, "`balance`")?;
    let algorithm = match table.take("algorithm") {
        Some(e) => d.hinted_choice(&e.value, "`algorithm`", &choices, elsewhere::ALGORITHMS),
        None => {
            d.missing(
                &table,
                "algorithm",
                "write `balance: { algorithm: maglev, table_size: 65537 }`",
            );
            None
        }
    };
    let table_size = argument(d, table.take("table_size"), algorithm, &[Balance::Maglev])
        .and_then(|e| table_size(d, e));
    let mut arguments = BalanceArguments::default();
    let uri = [Balance::Uri];
    if let Some(e) = argument(d, table.take("whole"), algorithm, &uri) {
        arguments.whole = d.boolean(&e.value, "`whole`").unwrap_or_default();
    }
    if let Some(e) = argument(d, table.take("depth"), algorithm, &uri) {
        arguments.depth = d.number(&e.value, "`depth`", 1..=MOST_URI);
    }
    if let Some(e) = argument(d, table.take("len"), algorithm, &uri) {
        arguments.len = d.number(&e.value, "`len`", 1..=MOST_URI);
    }
    if let Some(e) = argument(d, table.take("draws"), algorithm, &[Balance::Random])
        && let Some(draws) = d.number(&e.value, "`draws`", 1..=MOST_DRAWS)
    {
        arguments.draws = draws;
    }
    if let Some(e) = argument(d, table.take("domain_only"), algorithm, &[Balance::Hdr]) {
        arguments.domain_only = d.boolean(&e.value, "`domain_only`").unwrap_or_default();
    }
    if let Some(e) = argument(d, table.take("check_post"), algorithm, &[Balance::UrlParam]) {
        arguments.check_post = d.boolean(&e.value, "`check_post`").unwrap_or_default();
    }
    let named = [Balance::UrlParam, Balance::Hdr, Balance::RdpCookie];
    match argument(d, table.take("name"), algorithm, &named) {
        Some(e) => {
            arguments.name = d
                .line(&e.value, "`name`")
                .filter(|name| is_name(d, &e.value, algorithm, name))?;
        }
        None if algorithm == Some(Balance::RdpCookie) => arguments.name = RDP_COOKIE.to_owned(),
        None if algorithm.is_some_and(|algorithm| named.contains(&algorithm)) => {
            let word = algorithm.map_or("", Balance::name);
            let mend = format!("write `balance: {{ algorithm: {word}, name: … }}`");
            d.missing(&table, "name", mend);
            return None;
        }
        None => {}
    }
    table.finish(d, &[], elsewhere::BALANCE);
    Some(BalanceDraft {
        span: entry.key_span,
        algorithm: algorithm?,
        arguments,
        table_size,
    })
}

/// An argument, unless the algorithm has none such.
fn argument<'n>(
    d: &mut Decoder<'_>,
    entry: Option<&'n Entry>,
    algorithm: Option<Balance>,
    of: &[Balance],
) -> Option<&'n Entry> {
    let entry = entry?;
    if algorithm.is_some_and(|algorithm| !of.contains(&algorithm)) {
        let of: Vec<String> = of
            .iter()
            .map(|algorithm| format!("`algorithm: {}`", algorithm.name()))
            .collect();
        let message = format!("`{}` has no effect without {}", entry.key, of.join(" or "));
        d.error(entry.key_span, message, "remove it");
        return None;
    }
    Some(entry)
}

fn table_size(d: &mut Decoder<'_>, e: &Entry) -> Option<Spanned<u32>> {
    let size = d.number(&e.value, "`table_size`", 2..=slots::MAGLEV_SLOTS)?;
    if !slots::is_prime(size) {
        let near = (2..size).rev().find(|n| slots::is_prime(*n)).unwrap_or(2);
        d.error(
            e.value.span,
            format!("`table_size` must be a prime number, which {size} is not"),
            format!("write `{near}`"),
        );
        return None;
    }
    Some(Spanned::new(size, e.value.span))
}

/// Whether an algorithm can look for what is called `name`.
fn is_name(d: &mut Decoder<'_>, node: &Node, algorithm: Option<Balance>, name: &str) -> bool {
    let good = match algorithm {
        Some(Balance::Hdr | Balance::RdpCookie) => is_token(name),
        _ => !name.is_empty() && !name.contains(['&', '=', '#', ' ']),
    };
    if !good {
        d.error(
            node.span,
            format!("`{name}` cannot be the name of a header or parameter"),
            "write a name such as `X-User` or `userid`",
        );
    }
    good
}

/// Arguments after the word, in HAProxy's order and form.
fn spoken<'a>(
    d: &mut Decoder<'_>,
    node: &Node,
    algorithm: Balance,
    mut words: impl Iterator<Item = &'a str>,
) -> Option<BalanceArguments> {
    let mut arguments = BalanceArguments::default();
    let word = algorithm.name();
    match algorithm {
        Balance::UrlParam | Balance::Hdr => {
            let Some(name) = words.next() else {
                return refused(
                    d,
                    node,
                    format!("`balance: {word}` does not say which"),
                    &format!("write `balance: {word} NAME`"),
                );
            };
            if !is_name(d, node, Some(algorithm), name) {
                return None;
            }
            arguments.name = name.to_owned();
            let (word, says) = match algorithm {
                Balance::Hdr => ("use_domain_only", &mut arguments.domain_only),
                _ => ("check_post", &mut arguments.check_post),
            };
            let mut rest = words.by_ref().peekable();
            *says = rest.next_if_eq(&word).is_some();
            if let Some(more) = rest.next() {
                let text = format!("`balance: {}` does not take `{more}`", algorithm.name());
                d.error(node.span, text, "remove it");
                return None;
            }
        }
        Balance::RdpCookie => {
            let name = words.next().unwrap_or(RDP_COOKIE);
            if !is_name(d, node, Some(algorithm), name) {
                return None;
            }
            arguments.name = name.to_owned();
        }
        Balance::Random => {
            if let Some(text) = words.next() {
                match text.parse() {
                    Ok(draws @ 1..=MOST_DRAWS) => arguments.draws = draws,
                    _ => {
                        return refused(
                            d,
                            node,
                            format!("`balance: random` cannot draw `{text}` servers"),
                            &format!("write a number from 1 to {MOST_DRAWS}"),
                        );
                    }
                }
            }
        }
        Balance::Uri => {
            while let Some(key) = words.next() {
                let mut number = || words.next().and_then(|text| text.parse().ok());
                match key {
                    "whole" => arguments.whole = true,
                    "depth" | "len" => match number() {
                        Some(n @ 1..=MOST_URI) if key == "len" => arguments.len = Some(n),
                        Some(n @ 1..=MOST_URI) => arguments.depth = Some(n),
                        _ => {
                            return refused(
                                d,
                                node,
                                format!("`{key}` of `balance: uri` needs a number"),
                                &format!("write `balance: uri {key} N`, N from 1 to {MOST_URI}"),
                            );
                        }
                    },
                    _ => {
                        return refused(
                            d,
                            node,
                            format!("`balance: uri` does not take `{key}`"),
                            "write `whole`, `depth N` or `len N`",
                        );
                    }
                }
            }
        }
        _ => {}
    }
    match words.next() {
        Some(more) => {
            let text = format!("`balance: {word}` does not take `{more}`");
            d.error(node.span, text, "remove it");
            None
        }
        None => Some(arguments),
    }
}

fn refused(d: &mut Decoder<'_>, node: &Node, text: String, mend: &str) -> Option<BalanceArguments> {
    d.error(node.span, text, mend);
    None
}

/// `hash_type`: HAProxy's words for how a hash becomes a server, how it is made, and whether it is mixed once more.
pub(super) fn hash_type(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
) -> Option<Spanned<(HashType, Hashing)>> {
    let e = table.take("hash_type")?;
    let text = d.word(&e.value, "`hash_type`")?;
    let mut words = text.split_whitespace();
    let hash_type = match words.next() {
        Some("map-based") => HashType::MapBased,
        Some("consistent") => HashType::Consistent,
        _ => {
            let choices = [
                ("map-based", HashType::MapBased),
                ("consistent", HashType::Consistent),
            ];
            d.choice(&e.value, "`hash_type`", &choices, &[])?
        }
    };
    let mut hashing = Hashing {
        function: HashFunction::Sdbm,
        // HAProxy's default, unless a function is named.
        avalanche: hash_type == HashType::Consistent,
    };
    if let Some(word) = words.next() {
        hashing.avalanche = false;
        hashing.function = match word {
            "sdbm" => HashFunction::Sdbm,
            "djb2" => HashFunction::Djb2,
            "wt6" => HashFunction::Wt6,
            "crc32" => HashFunction::Crc32,
            "none" => HashFunction::None,
            _ => {
                d.error(
                    e.value.span,
                    format!("`{word}` is no hash function"),
                    "write `sdbm`, `djb2`, `wt6`, `crc32` or `none`",
                );
                return None;
            }
        };
    }
    if let Some(word) = words.next() {
        if word != "avalanche" || words.next().is_some() {
            let text = format!("`hash_type` does not take `{word}` there");
            d.error(e.value.span, text, "write `avalanche` or nothing");
            return None;
        }
        hashing.avalanche = true;
    }
    Some(Spanned::new((hash_type, hashing), e.key_span))
}

/// `hash_balance_factor`: 0 is none, and at 100 percent or less some request would find no server.
pub(super) fn hash_balance_factor(
    d: &mut Decoder<'_>,
    table: &mut Table<'_>,
) -> Option<Spanned<Option<u16>>> {
    let e = table.take("hash_balance_factor")?;
    let factor = d.number(&e.value, "`hash_balance_factor`", 0..=u16::MAX)?;
    if (1..=100).contains(&factor) {
        d.error(
            e.value.span,
            format!("`hash_balance_factor` must be 0 or more than 100, not {factor}"),
            "write 150: no server has more than one and a half times the mean load",
        );
        return None;
    }
    Some(Spanned::new(
        Some(factor).filter(|factor| *factor > 0),
        e.key_span,
    ))
}
