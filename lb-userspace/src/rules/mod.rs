//! The language of conditions and rules: compiled once, evaluated against each request.
//!
//! Every condition and every `%[…]` has the one form *fetch → converters → match* ([`expr`]), typed and with HAProxy's
//! names. The keys of the YAML file are sugar over it; whatever else is read into a configuration compiles to the same.
//! Evaluation is pure: no socket, no lock, no clock of its own; what it has to know of the connection and the process it
//! asks of a [`World`]. It allocates only where a converter has to change a text.
//!
//! | file | idea |
//! | --- | --- |
//! | `value` | values, types, casts |
//! | `scene`, `process` | what an expression sees; variables and tracked counters |
//! | `args`, `expr`, `fetch/`, `convert/` | expressions and their text form |
//! | `matching`, `regex`, `condition` | what a sample has to be; all, any, not |
//! | `text`, `template` | texts with expressions in them: taken apart, and filled in |
//! | `action`, `edit`, `run` | rules: what they do, and the evaluation of a list |
//! | `normalize` | targets in one of their spellings |
//! | `priority` | whose turn it is in a queue |
//! | `map`, `table`, `limit`, `auth`, `capture` | what they look up, count, limit, verify and keep |
//! | `stick` | clients that stay on their server by what a table remembers |
//! | `registry` | what expressions refer to by name |

pub mod action;
mod args;
mod auth;
mod body;
pub mod calendar;
mod capture;
mod condition;
mod content;
mod convert;
pub mod cookies;
mod edit;
mod expr;
mod fetch;
mod limit;
mod live;
mod map;
mod matching;
mod named;
mod normalize;
mod patience;
mod place;
mod priority;
mod problem;
mod process;
mod reason;
mod regex;
mod registry;
mod reply;
mod run;
mod scene;
pub mod stick;
pub mod suggest;
mod table;
mod template;
mod text;
mod tls_fact;
mod value;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};

use http::HeaderName;

pub use action::{Edit, End, FieldNames, LogLevel, Rule};
pub use auth::Users;
pub use body::BodySeen;
pub use capture::{Captured, Captures, CookieSlot, Slot};
pub use condition::{Condition, Judged, Test};
pub use content::{Content, Counted};
pub use convert::Converter;
pub(crate) use convert::{Digest, avalanche};
pub(crate) use edit::field_value;
pub use expr::Expr;
pub use fetch::{
    Fault, Fetch, Side, credentials, first_value, hello, host_name,
    link::{Asked, Link, Links, TcpPart, Told},
    parameter,
    payload::{MOST as MOST_PAYLOAD, Seen},
    rdp,
};
pub use limit::Limiter;
pub use live::{Change, Live};
pub use map::{CarriedMap, Line, Map, Output, Which, halves};
pub use matching::{How, Matcher, Range, network};
pub use named::Named;
pub use normalize::Normalizer;
pub use patience::{Awaited, Patience};
pub use place::Place;
pub use priority::{Priority, PriorityPart};
pub use problem::Problem;
pub use process::{Only, Process, Shared, Var, Variables, out_of_nowhere};
pub use reason::reason;
pub use regex::Regex;
pub use registry::Registry;
pub use reply::Reply;
pub use run::{Denial, Later, Outcome, Reached, RuleSet, Verdict};
pub use scene::{
    Fact, RequestView, ResponseView, Scene, Scope, SessionVars, State, TRACKED, Unknown, VarId,
    World,
};
pub use stick::{Remember, Stick};
pub use table::{CarriedTable, Data, Entry, Handle, Key, Layout, Removed, Table, Tracked};
pub use template::Template;
pub use text::{Style, Token, tokens, unquoted};
pub use tls_fact::{CertificatePart, TlsFact, Whose};
pub use value::{Kind, Value};

/// Whether a field says where a message ends or belongs to the connection: it is ours alone to write.
pub fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// A number that nobody can foresee.
pub(crate) fn random() -> u64 {
    // Each has keys of its own; hashing nothing makes them a number.
    RandomState::new().hash_one(())
}
