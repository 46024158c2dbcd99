//! `set rate-limit`: how many connections the process accepts in a second.

use crate::topology::Rates;

const USAGE: &str = "'set rate-limit' only supports :
   - 'connections global' to set the per-process maximum connection rate
   - 'sessions global' to set the per-process maximum session rate
   - 'ssl-sessions global' to set the per-process maximum SSL session rate";

/// The answer to one of these; `None` if it is none.
pub(super) fn answer(rates: &Rates, words: &[&str]) -> Option<Result<String, String>> {
    let ["set", "rate-limit", rest @ ..] = words else {
        return None;
    };
    let [what, "global", value @ ..] = rest else {
        return Some(Err(USAGE.to_owned()));
    };
    let pace = match *what {
        "connections" => &rates.connections,
        "sessions" => &rates.sessions,
        "ssl-sessions" => &rates.tls,
        _ => return Some(Err(USAGE.to_owned())),
    };
    Some(number(value.first()).map(|rate| {
        pace.set_rate(rate);
        String::new()
    }))
}

/// A number as atol(3) reads it: what is none is 0.
fn number(text: Option<&&str>) -> Result<u32, String> {
    let text = text.ok_or("Expects an integer value.")?;
    if text.starts_with('-') {
        return Err("Value out of range.".to_owned());
    }
    let end = text.find(|c: char| !c.is_ascii_digit());
    match &text[..end.unwrap_or(text.len())] {
        "" => Ok(0),
        digits => digits.parse().map_err(|_| "Value out of range.".to_owned()),
    }
}
