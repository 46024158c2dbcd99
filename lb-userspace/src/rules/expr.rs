//! A fetch and its converters.

use std::sync::Arc;

use super::{
    args,
    auth::Users,
    convert::{self, Converter, More},
    fetch::{self, Fetch, Side},
    matching::How,
    problem::Problem,
    process::Var,
    registry::Registry,
    scene::{Fact, Scene},
    tls_fact::TlsFact,
    value::{Kind, Value},
};

/// A sample: where it comes from and what is done to it.
#[derive(Debug, Clone)]
pub struct Expr {
    fetch: Fetch,
    converters: Vec<Converter>,
    kind: Option<Kind>,
}

impl Expr {
    /// The list of users that it asks for.
    pub(super) fn users(&self) -> Option<&Arc<Users>> {
        match &self.fetch {
            Fetch::Auth(users) | Fetch::Groups(users) => Some(users),
            _ => None,
        }
    }

    /// The number about proxies and servers that it asks for.
    pub fn fact(&self) -> Option<&Fact> {
        match &self.fetch {
            Fetch::Fact(fact) => Some(fact),
            _ => None,
        }
    }

    /// What a fetch gives, as it is.
    pub fn new(fetch: Fetch) -> Self {
        Self {
            kind: Some(fetch.kind()),
            fetch,
            converters: Vec::new(),
        }
    }

    /// `fetch(args),converter(args),…`, HAProxy's names and types.
    ///
    /// # Errors
    /// There is no such fetch or converter, its arguments are wrong, or a converter cannot take what comes before it.
    pub fn parse(text: &str, registry: &mut Registry<'_>) -> Result<Self, Problem> {
        let calls = args::calls(text)?;
        // Never empty: see `calls`.
        let Some((first, rest)) = calls.split_first() else {
            return Err(Problem::bare("an expression is empty"));
        };
        let mut first = first.clone();
        let alias = fetch::alias(&mut first);
        let mut expr = Self::new(fetch::parse(&first, registry)?);
        for converter in alias {
            expr.push(converter);
        }
        if first.name.ends_with("hdr_ip") {
            expr.push(Converter::More(More::Address));
        } else if first.name.ends_with("hdr_val") {
            expr.push(Converter::More(More::Leading));
        }
        for call in rest {
            let converter = convert::parse(call, registry)?;
            if let (Some(kind), (Some(wanted), _)) = (expr.kind, converter.kinds())
                && !kind.casts_to(wanted)
            {
                return Err(Problem::new(
                    format!(
                        "`{}` takes {}, but what comes before it is {}",
                        call.name,
                        wanted.name(),
                        kind.name()
                    ),
                    "put a converter between them, or take another",
                ));
            }
            expr.push(converter);
        }
        Ok(expr)
    }

    /// The same, where the first word may also say how to match: `path_beg`, `hdr_dom(host)`.
    ///
    /// # Errors
    /// As [`Expr::parse`].
    pub fn parse_keyword(text: &str, registry: &mut Registry<'_>) -> Result<(Self, How), Problem> {
        let end = text.find(['(', ',']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if let Some((fetch, how)) = fetch::shorthand(name.trim()) {
            let expr = Self::parse(&format!("{fetch}{rest}"), registry)?;
            return Ok((expr, how));
        }
        let expr = Self::parse(text, registry)?;
        let how = expr.default_match();
        Ok((expr, how))
    }

    /// How samples of this text are compared unless something else is said, which is known without the files, tables and
    /// the like that it names; `None` if it cannot be read.
    pub fn way_of(text: &str) -> Option<How> {
        let (_, how) = Self::parse_keyword(text, &mut Registry::imagined()).ok()?;
        Some(how)
    }

    /// With a converter more.
    pub fn push(&mut self, converter: Converter) {
        if !converter.keeps_kind() {
            self.kind = converter.kinds().1;
        }
        self.converters.push(converter);
    }

    /// The type of its values, where it is always the same.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// What it is compared by unless something else is said.
    pub fn default_match(&self) -> How {
        How::default_of(self.kind.unwrap_or(Kind::Str))
    }

    /// Whether it looks at a response.
    pub fn needs_response(&self) -> bool {
        self.fetch.needs_response()
    }

    /// Whether it looks at a request.
    pub fn needs_request(&self) -> bool {
        self.fetch.needs_request()
    }

    /// Whether a check has nothing that it could ask.
    pub fn is_unknown_to_checks(&self) -> bool {
        self.fetch.is_unknown_to_checks()
    }

    /// Whether it looks at a message's fields, which are gone when the line for the log is written.
    pub fn needs_fields(&self) -> bool {
        self.fetch.needs_fields()
    }

    /// Whether it looks at a message's body; if so, whose.
    pub fn asks_for_body(&self) -> Option<Side> {
        match self.fetch {
            Fetch::Body(side, _) => Some(side),
            _ => None,
        }
    }

    /// Whether it looks at the bytes of a connection of mode tcp; if so, whether at the server's.
    pub fn payload(&self) -> Option<bool> {
        self.fetch.payload()
    }

    /// Whether more bytes of the connection may change its value, or bring it.
    pub fn may_change(&self, scene: &Scene<'_>) -> bool {
        self.fetch.may_change(scene)
    }

    /// Whether it asks for this of the client's TLS.
    pub fn asks(&self, fact: TlsFact) -> bool {
        matches!(&self.fetch, Fetch::Tls(asked) if *asked == fact)
    }

    /// Whether there may be such a thing in mode tcp before the server is asked.
    pub fn is_of_stream(&self) -> bool {
        !self.needs_request() && !self.needs_response() && self.payload() != Some(true)
    }

    /// Whether a connection of mode tcp has it: its ends, and the name that its TLS asks for.
    pub fn is_of_connection(&self) -> bool {
        let known = matches!(
            self.fetch,
            Fetch::Source
                | Fetch::SourcePort
                | Fetch::Destination
                | Fetch::DestinationPort
                | Fetch::Tls(TlsFact::Sni)
                | Fetch::Constant(_)
        );
        known && self.converters.iter().all(Converter::is_pure)
    }

    /// Whether it looks at nothing but the process: there is such a thing without a connection.
    pub fn is_of_process(&self) -> bool {
        matches!(
            self.fetch,
            Fetch::Constant(_)
                | Fetch::Var(Var::Process(_), _)
                | Fetch::Date { .. }
                | Fetch::Random(_)
                | Fetch::Uuid
        )
    }

    /// Its value.
    pub fn sample<'a>(&'a self, scene: &Scene<'a>) -> Option<Value<'a>> {
        self.convert(self.fetch.sample(scene)?, scene)
    }

    /// Whether `holds` says so of any of its values.
    pub fn any<'a>(&'a self, scene: &Scene<'a>, holds: &mut dyn FnMut(&Value<'a>) -> bool) -> bool {
        self.fetch.any(scene, &mut |value| {
            self.convert(value, scene)
                .is_some_and(|value| holds(&value))
        })
    }

    /// The same of one whose values are texts as they stand in the message; `None` if it is not, or they may be others.
    pub(super) fn any_text<'a>(
        &'a self,
        scene: &Scene<'a>,
        holds: impl Fn(&[u8]) -> bool,
    ) -> Option<bool> {
        match self.converters.is_empty() {
            true => self.fetch.any_text(scene, holds),
            false => None,
        }
    }

    fn convert<'a>(&'a self, value: Value<'a>, scene: &Scene<'a>) -> Option<Value<'a>> {
        self.converters.iter().try_fold(value, |value, converter| {
            converter.apply(value, scene).map(Value::bounded)
        })
    }
}
