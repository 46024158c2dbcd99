//! Converters by HAProxy's names.

use std::{net::Ipv6Addr, sync::Arc};

use super::{
    Converter, Digest, Math, Operand, Plain, Query,
    json::Input,
    jwt::Token,
    more,
    stateful::{self, EntryPart},
    time,
};
use crate::rules::{
    args::Call,
    map::{Map, Output},
    matching::How,
    problem::Problem,
    regex::Regex,
    registry::Registry,
    suggest,
    table::Data,
    template,
    value::{Kind, Value},
};

/// A converter by its name and arguments.
pub(in crate::rules) fn parse(
    call: &Call,
    registry: &mut Registry<'_>,
) -> Result<Converter, Problem> {
    if let Some(found) = simple(&call.name) {
        call.most(0)?;
        return Ok(found);
    }
    if let Some(found) = number(call, registry)? {
        return Ok(found);
    }
    if let Some(found) = lookup(call, registry)? {
        return Ok(found);
    }
    if let Some(found) = Token::parse(call, registry)? {
        return Ok(found);
    }
    if let Some(found) = stateful::parse(call, registry)? {
        return Ok(found);
    }
    if let Some(found) = more::parse(call, registry)? {
        return Ok(found);
    }
    let (converter, most) = text(call, registry)?;
    call.most(most)?;
    Ok(converter)
}

fn simple(name: &str) -> Option<Converter> {
    Some(match name {
        "lower" => Converter::Plain(Plain::Lower),
        "upper" => Converter::Plain(Plain::Upper),
        "host_only" => Converter::Plain(Plain::HostOnly),
        "port_only" => Converter::Plain(Plain::PortOnly),
        "length" => Converter::Length,
        "base64" => Converter::Base64,
        "b64dec" => Converter::Base64Decode,
        "ub64enc" => Converter::Base64Url,
        "ub64dec" => Converter::Base64UrlDecode,
        "hex" => Converter::Hex,
        "hex2i" => Converter::HexNumber,
        "sha1" => Converter::Digest(Digest::Sha1),
        "neg" => Converter::Negate,
        "cpl" => Converter::Complement,
        "not" => Converter::Not,
        "even" => Converter::Parity(false),
        "odd" => Converter::Parity(true),
        "bool" => Converter::Truth,
        _ => return None,
    })
}

/// Those that have numbers for arguments.
fn number(call: &Call, registry: &mut Registry<'_>) -> Result<Option<Converter>, Problem> {
    let math = match call.name.as_str() {
        "add" => Math::Add,
        "sub" => Math::Sub,
        "mul" => Math::Mul,
        "div" => Math::Div,
        "mod" => Math::Mod,
        "and" => Math::And,
        "or" => Math::Or,
        "xor" => Math::Xor,
        "djb2" | "sdbm" | "crc32" | "crc32c" => {
            call.most(1)?;
            let again = call.number(0)?.is_some_and(|n| n != 0);
            return Ok(Some(Converter::Digest(match call.name.as_str() {
                "djb2" => Digest::Djb2(again),
                "crc32" => Digest::Crc32(again),
                "crc32c" => Digest::Crc32c(again),
                _ => Digest::Sdbm(again),
            })));
        }
        "xxh32" | "xxh64" | "xxh3" => {
            call.most(1)?;
            let seed = call.number(0)?.unwrap_or_default().cast_unsigned();
            return Ok(Some(Converter::Digest(match call.name.as_str() {
                "xxh32" => Digest::Xxh32(seed as u32),
                "xxh64" => Digest::Xxh64(seed),
                _ => Digest::Xxh3(seed),
            })));
        }
        "sha2" => {
            call.most(1)?;
            let bits = call.number(0)?.unwrap_or(256);
            return match bits {
                224 | 256 | 384 | 512 => Ok(Some(Converter::Digest(Digest::Sha2(bits as u16)))),
                _ => Err(Problem::new(
                    format!("there is no SHA-2 of {bits} bits"),
                    "write 224, 256, 384 or 512",
                )),
            };
        }
        "bytes" => {
            call.most(2)?;
            let at = |index| -> Result<Option<usize>, Problem> {
                Ok(call.number(index)?.map(|n| usize::try_from(n).unwrap_or(0)))
            };
            return Ok(Some(Converter::Bytes(at(0)?.unwrap_or(0), at(1)?)));
        }
        "ipmask" => {
            call.most(2)?;
            let four = mask(call.need(0, "a length: `24`")?, 32)?;
            let six = call.optional(1).map_or(Ok(128), |text| mask(text, 128))?;
            return Ok(Some(Converter::Mask(four, six)));
        }
        _ => return Ok(None),
    };
    call.most(1)?;
    let text = call.need(0, "a number or a variable")?;
    let operand = match text.parse() {
        Ok(number) => Operand::Number(number),
        Err(_) => Operand::Var(registry.var(text)?),
    };
    Ok(Some(Converter::Math(math, operand)))
}

/// A mask's length, or a mask.
fn mask(text: &str, most: u8) -> Result<u8, Problem> {
    let bad = || {
        Problem::new(
            format!("`{text}` is no mask"),
            format!("write a length up to {most}"),
        )
    };
    match text.parse::<u8>() {
        Ok(length) if length <= most => Ok(length),
        Ok(_) => Err(bad()),
        Err(_) if most == 128 => {
            let bits = text.parse::<Ipv6Addr>().map_err(|_| bad())?.to_bits();
            // Of HAProxy's masks with holes there is none that anybody needs.
            match bits.leading_ones() + bits.trailing_zeros() >= 128 {
                true => u8::try_from(bits.leading_ones()).map_err(|_| bad()),
                false => Err(bad()),
            }
        }
        Err(_) => crate::rules::matching::network(&format!("0.0.0.0/{text}"))
            .map(|(_, length)| length)
            .map_err(|_| bad()),
    }
}

/// Maps and tables.
fn lookup(call: &Call, registry: &mut Registry<'_>) -> Result<Option<Converter>, Problem> {
    let name = call.name.as_str();
    if name == "in_table" {
        call.most(1)?;
        return Ok(Some(Converter::InTable(
            registry.table(call.need(0, "a table's name")?),
        )));
    }
    if let Some(data) = name
        .strip_prefix("table_")
        .and_then(Data::by_table_converter)
    {
        call.most(1)?;
        let handle = registry.table(call.need(0, "a table's name")?);
        return Ok(Some(Converter::Table(handle, data)));
    }
    if let Some(part) = EntryPart::named(name) {
        call.most(2)?;
        let handle = registry.table(call.need(0, "a table's name")?);
        let default = match part {
            EntryPart::Followers => Some(0),
            _ => call.number(1)?,
        };
        return Ok(Some(Converter::TableEntry(handle, part, default)));
    }
    if let Some(array @ ("gpc" | "gpc_rate" | "gpt")) = name.strip_prefix("table_") {
        call.most(2)?;
        let place = call.need(0, "a place in the array, counted from 0")?;
        let index = place.trim().parse().ok().filter(|index| *index < 100);
        let data = index.and_then(|index| Data::of_array_named(array, index));
        let data = data.ok_or_else(|| {
            Problem::new(
                format!("`{place}` is no place in an array"),
                "write a number from 0 to 99",
            )
        })?;
        let handle = registry.table(call.need(1, "a table's name")?);
        return Ok(Some(Converter::Table(handle, data)));
    }
    let Some(rest) = name
        .strip_prefix("map")
        .filter(|rest| rest.is_empty() || rest.starts_with('_'))
    else {
        return Ok(None);
    };
    let mut words = rest.split('_').skip(1);
    let how = match words.next() {
        None | Some("str") => How::Exact,
        Some("beg") => How::Prefix,
        Some("end") => How::Suffix,
        Some("sub") => How::Contains,
        Some("dir") => How::Directory,
        Some("dom") => How::DomainPart,
        Some("reg" | "regm") => How::Regex,
        Some("int") => How::Number,
        Some("ip") => How::Address,
        Some(_) => return Ok(None),
    };
    let output = match words.next() {
        None | Some("str") => Output::Text,
        Some("int") => Output::Number,
        Some("ip") => Output::Address,
        Some(_) => return Ok(None),
    };
    call.most(2)?;
    if !registry.has_maps() {
        return Err(Problem::bare(format!(
            "invalid args in converter '{name}' : map: cannot load map at runtime"
        )));
    }
    let map: Arc<Map> = registry.map(call.need(0, "a file")?, how, output)?;
    let default = match call.optional(1) {
        None => None,
        Some(text) => {
            let value = Value::Str(text.as_bytes().to_vec().into());
            Some(value.read(output.kind()).ok_or_else(|| {
                Problem::bare(format!(
                    "the default `{text}` is not {}",
                    output.kind().name()
                ))
            })?)
        }
    };
    Ok(Some(Converter::Map(map, default)))
}

/// Those that have texts for arguments; with how many they take.
fn text(call: &Call, registry: &mut Registry<'_>) -> Result<(Converter, usize), Problem> {
    let arg = |index: usize| {
        call.args
            .get(index)
            .cloned()
            .unwrap_or_default()
            .into_bytes()
    };
    Ok(match call.name.as_str() {
        "url_dec" => {
            let form = call.number(0)?.is_some_and(|n| n != 0);
            (Converter::Plain(Plain::UrlDecode { form }), 1)
        }
        "url_enc" => (Converter::Plain(Plain::UrlEncode), 1),
        "json" => {
            let input = Input::named(call.optional(0).unwrap_or("ascii"))?;
            (Converter::Plain(Plain::JsonEscape(input)), 1)
        }
        "ltrim" | "rtrim" => {
            let end = call.name == "rtrim";
            let of = call
                .args
                .first()
                .cloned()
                .unwrap_or_else(|| " ".into())
                .into_bytes();
            (Converter::Trim { of, end }, 1)
        }
        "regsub" => {
            let flags = call.optional(2).unwrap_or_default();
            if let Some(flag) = flags.chars().find(|flag| !matches!(flag, 'g' | 'i')) {
                return Err(Problem::new(
                    format!("`{flag}` is no flag of `regsub`"),
                    "write `g` for all, `i` for any case",
                ));
            }
            let pattern = call.need(0, "a regular expression")?;
            let by = template::replacement(call.args.get(1).map_or(b"", String::as_bytes));
            let regex = Regex::new(pattern, flags.contains('i'))?;
            let all = flags.contains('g');
            (Converter::Replace { regex, by, all }, 3)
        }
        "field" | "word" => {
            let index = call.number(0)?.unwrap_or_default();
            if index == 0 {
                return Err(Problem::new(
                    format!("`{}` needs the number of a part", call.name),
                    "count from 1, or from -1 backwards",
                ));
            }
            let delimiters = arg(1);
            if delimiters.is_empty() {
                return Err(Problem::new(
                    format!("`{}` needs what divides the parts", call.name),
                    format!("write `{}({index},/)`; quote a comma: `\",\"`", call.name),
                ));
            }
            let count = usize::try_from(call.number(2)?.unwrap_or(1)).unwrap_or(1);
            let words = call.name == "word";
            (
                Converter::Field {
                    index,
                    delimiters,
                    count,
                    words,
                },
                3,
            )
        }
        "concat" => {
            let var = match call.optional(1) {
                Some(name) => Some(registry.var(name)?),
                None => None,
            };
            (Converter::Concat(arg(0), var, arg(2)), 3)
        }
        "iif" => (Converter::Choose(arg(0), arg(1)), 2),
        "ltime" | "utime" => {
            let format = call.need(0, "a format")?.to_owned();
            if !time::is_format(&format) {
                return Err(Problem::new(
                    format!("`{format}` has a letter that is not known"),
                    "write strftime's, as in `%Y-%m-%d %H:%M:%S`",
                ));
            }
            let offset = call.number(1)?.unwrap_or_default();
            let local = call.name == "ltime";
            (
                Converter::Time {
                    format,
                    local,
                    offset,
                },
                2,
            )
        }
        "http_date" => (
            Converter::Time {
                format: "%a, %d %b %Y %T GMT".into(),
                local: false,
                offset: call.number(0)?.unwrap_or_default(),
            },
            1,
        ),
        "language" => {
            let known = call.need(0, "languages: `de;en`")?;
            (
                Converter::Language(
                    known.split(';').map(str::to_owned).collect(),
                    call.optional(1).map(str::to_owned),
                ),
                2,
            )
        }
        "json_query" => {
            let path = call.need(0, "a path")?;
            let number = match call.optional(1) {
                None => false,
                Some("int") => true,
                Some(other) => {
                    return Err(Problem::new(
                        format!("`{other}` is no type"),
                        "write `int`, or leave it out",
                    ));
                }
            };
            (Converter::Json(Query::parse(path, number)?), 2)
        }
        "strcmp" => (
            Converter::Compare(registry.var(call.need(0, "a variable")?)?),
            1,
        ),
        "int" => (Converter::Cast(Kind::Int), 0),
        "str" => (Converter::Cast(Kind::Str), 0),
        "ip" => (Converter::Cast(Kind::Ip), 0),
        unknown => {
            return Err(match suggest::nearest(unknown, NAMES.iter().copied()) {
                Some(near) => Problem::new(
                    format!("there is no converter `{unknown}`"),
                    format!("did you mean `{near}`?"),
                ),
                None => Problem::bare(format!("there is no converter `{unknown}`")),
            });
        }
    })
}

/// For "did you mean".
const NAMES: &[&str] = &[
    "lower",
    "upper",
    "host_only",
    "port_only",
    "length",
    "base64",
    "b64dec",
    "ub64enc",
    "ub64dec",
    "hex",
    "hex2i",
    "sha1",
    "sha2",
    "crc32",
    "crc32c",
    "djb2",
    "sdbm",
    "xxh32",
    "xxh64",
    "xxh3",
    "neg",
    "cpl",
    "not",
    "even",
    "odd",
    "bool",
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "and",
    "or",
    "xor",
    "bytes",
    "ipmask",
    "map",
    "map_str",
    "map_beg",
    "map_end",
    "map_sub",
    "map_dir",
    "map_dom",
    "map_reg",
    "map_int",
    "map_ip",
    "map_str_int",
    "map_ip_int",
    "in_table",
    "table_http_req_rate",
    "table_conn_cur",
    "url_dec",
    "url_enc",
    "json",
    "ltrim",
    "rtrim",
    "regsub",
    "field",
    "word",
    "concat",
    "iif",
    "ltime",
    "utime",
    "http_date",
    "language",
    "json_query",
    "strcmp",
    "secure_memcmp",
    "hmac",
    "digest",
    "wt6",
    "be2dec",
    "be2hex",
    "htonl",
    "cut_crlf",
    "capture-req",
    "capture-res",
    "debug",
    "jwt_header_query",
    "jwt_payload_query",
    "jwt_verify",
    "set-var",
    "unset-var",
    "nbsrv",
    "srv_queue",
    "add_item",
    "aes_gcm_dec",
];
