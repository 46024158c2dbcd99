//! Variables of the whole process, `proc.NAME`: all threads and connections have the same.
//!
//! An expression refers to one by a [`Shared`], which finds its value once the configuration that it stands in is run.
//! [`Variables`] has the values, by name: they outlive the configuration.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use arc_swap::ArcSwapOption;

use super::{
    problem::Problem,
    scene::{Fact, Scene, State, VarId, World},
    template::Template,
    tls_fact::TlsFact,
    value::Value,
};

/// A variable, whoever it belongs to.
#[derive(Debug, Clone)]
pub enum Var {
    /// Of a connection, or of what it brings.
    Own(VarId),
    /// Of the process.
    Process(Arc<Shared>),
}

impl Var {
    /// Its value.
    pub fn get<'a>(&self, state: &'a State) -> Option<Value<'a>> {
        match self {
            Self::Own(id) => state.var(*id),
            Self::Process(shared) => shared.slot.get()?.get(),
        }
    }

    /// Sets it while an expression is asked; `None` forgets it.
    pub(super) fn write(&self, state: &State, value: Option<Value<'static>>) {
        match self {
            Self::Own(id) => state.write_var(*id, value),
            Self::Process(shared) => {
                if let Some(slot) = shared.slot.get() {
                    slot.set(value);
                }
            }
        }
    }

    /// Sets it where these conditions hold; `None` forgets it.
    pub fn assign(&self, state: &mut State, only: Only, value: Option<Value<'static>>) {
        if only.allows(self, self.get(state).as_ref(), value.as_ref()) {
            self.set(state, value);
        }
    }

    /// Sets it; `None` forgets it.
    pub(super) fn set(&self, state: &mut State, value: Option<Value<'static>>) {
        match self {
            Self::Own(id) => state.set_var(*id, value),
            Self::Process(shared) => {
                if let Some(slot) = shared.slot.get() {
                    slot.set(value);
                }
            }
        }
    }
}

/// In which cases alone a variable is set: HAProxy's conditions of `set-var`, all of which have to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Only(u8);

impl Only {
    const EXISTS: u8 = 1;
    const NOT_EXISTS: u8 = 1 << 1;
    const EMPTY: u8 = 1 << 2;
    const NOT_EMPTY: u8 = 1 << 3;
    const SET: u8 = 1 << 4;
    const NOT_SET: u8 = 1 << 5;
    const GREATER: u8 = 1 << 6;
    const LESS: u8 = 1 << 7;

    /// Reads `ifexists,ifgt`; nothing is no condition.
    ///
    /// # Errors
    /// The word that is none.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
        words.try_fold(Self::default(), |Self(sofar), word| {
            let bit = match word {
                "ifexists" => Self::EXISTS,
                "ifnotexists" => Self::NOT_EXISTS,
                "ifempty" => Self::EMPTY,
                "ifnotempty" => Self::NOT_EMPTY,
                "ifset" => Self::SET,
                "ifnotset" => Self::NOT_SET,
                "ifgt" => Self::GREATER,
                "iflt" => Self::LESS,
                _ => {
                    return Err(Problem::new(
                        format!("`{word}` is no condition of a variable"),
                        "write `ifexists`, `ifnotexists`, `ifempty`, `ifnotempty`, `ifset`, `ifnotset`, `ifgt` or `iflt`",
                    ));
                }
            };
            Ok(Self(sofar | bit))
        })
    }

    /// Whether `var`, which is `old`, becomes `new`. Variables of the process exist before they are set, and what are no
    /// numbers are not compared.
    pub(super) fn allows(
        self,
        var: &Var,
        old: Option<&Value<'_>>,
        new: Option<&Value<'_>>,
    ) -> bool {
        let Self(conditions) = self;
        let wanted = |bit: u8| conditions & bit != 0;
        if conditions == 0 {
            return true;
        }
        let exists = old.is_some() || matches!(var, Var::Process(_));
        let is_empty = match new {
            Some(Value::Str(text) | Value::Bin(text)) => text.is_empty(),
            _ => false,
        };
        let order = match (old, new) {
            (Some(Value::Int(old)), Some(Value::Int(new))) => Some(old.cmp(new)),
            _ => None,
        };
        let is = |wanted: Ordering| order.is_none_or(|order| order == wanted);
        (!wanted(Self::EXISTS) || exists)
            && (!wanted(Self::NOT_EXISTS) || !exists)
            && (!wanted(Self::EMPTY) || is_empty)
            && (!wanted(Self::NOT_EMPTY) || !is_empty)
            && (!wanted(Self::SET) || old.is_some())
            && (!wanted(Self::NOT_SET) || old.is_none())
            && (!wanted(Self::GREATER) || is(Ordering::Greater))
            && (!wanted(Self::LESS) || is(Ordering::Less))
    }
}

/// A variable of the process as a configuration names it. Until that is run it has no value, and keeps none.
#[derive(Debug)]
pub struct Shared {
    name: String,
    slot: OnceLock<Arc<Slot>>,
}

impl Shared {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            slot: OnceLock::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// A value.
#[derive(Debug, Default)]
struct Slot(ArcSwapOption<Value<'static>>);

impl Slot {
    fn get(&self) -> Option<Value<'static>> {
        self.0.load().as_deref().cloned()
    }

    fn set(&self, value: Option<Value<'static>>) {
        self.0.store(value.map(|value| Arc::new(value.bounded())));
    }
}

/// The values of all variables of the process, by their names without the scope.
#[derive(Debug, Default)]
pub struct Variables(Mutex<BTreeMap<String, Arc<Slot>>>);

impl Variables {
    /// Gives a configuration's variables their values.
    pub fn bind<'s>(&self, shared: impl IntoIterator<Item = &'s Arc<Shared>>) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for shared in shared {
            let slot = slots.entry(shared.name.clone()).or_default();
            // A configuration is run in one process alone; what is bound already is bound to the same.
            let _ = shared.slot.set(Arc::clone(slot));
        }
    }

    /// The value of `NAME`, without its scope.
    pub fn get(&self, name: &str) -> Option<Value<'static>> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(name)?.get()
    }

    /// Sets the value of `NAME`, without its scope.
    pub fn set(&self, name: &str, value: Value<'static>) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(name.to_owned()).or_default();
        slot.set(Some(value));
    }
}

/// What a configuration has of such variables.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Those that it names.
    pub named: Vec<Arc<Shared>>,
    /// What it sets before anything else is done, in this order: `global.set_var`.
    pub first: Vec<(Var, Template)>,
}

impl Process {
    /// Whether both were read from the file at once.
    pub fn is_read_with(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<Shared>, &Arc<Shared>)| Arc::ptr_eq(one, other);
        self.named.len() == other.named.len() && self.named.iter().zip(&other.named).all(same)
    }

    /// Sets what is to be set first. They are bound.
    pub fn begin(&self) {
        let mut state = State::default();
        for (var, value) in &self.first {
            if let Some(value) = nowhere(value, &state) {
                var.set(&mut state, Some(value));
            }
        }
    }
}

/// The value of a text where there is no connection.
pub fn out_of_nowhere(text: &Template) -> Option<Value<'static>> {
    nowhere(text, &State::default())
}

fn nowhere(text: &Template, state: &State) -> Option<Value<'static>> {
    text.value(&Scene {
        request: None,
        response: None,
        state,
        world: &Nowhere,
    })
}

/// What there is where there is no connection.
struct Nowhere;

impl World for Nowhere {
    fn source(&self) -> Option<SocketAddr> {
        None
    }

    fn destination(&self) -> Option<SocketAddr> {
        None
    }

    fn frontend(&self) -> &str {
        ""
    }

    fn backend(&self) -> Option<&str> {
        None
    }

    fn fact(&self, _fact: &Fact) -> Option<i64> {
        None
    }

    fn tls(&self, _fact: TlsFact) -> Option<Value<'_>> {
        None
    }

    fn now_ms(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::rules::Registry;

    #[test]
    fn all_configurations_have_the_same_values() {
        let values = Variables::default();
        let run = |texts: &[(&str, &str)]| {
            let mut registry = Registry::new(Path::new("."));
            for (name, text) in texts {
                let var = registry.var(name).expect("a good name");
                let text = Template::parse(text, &mut registry).expect("a good text");
                registry.set_first(var, text);
            }
            let process = registry.process().clone();
            values.bind(&process.named);
            process
        };
        let one = run(&[
            ("proc.a", "%[int(7)]"),
            ("proc.b", "a is %[var(proc.a)], c is %[var(proc.c)]."),
        ]);
        assert_eq!(values.get("a"), None, "nothing is set yet");
        one.begin();
        assert_eq!(values.get("a"), Some(Value::Int(7)));
        assert_eq!(values.get("b"), Some(Value::text("a is 7, c is .")));
        values.set("c", Value::Bool(true));
        // What a later one does not set stays; what has no value changes nothing.
        run(&[("proc.b", "%[var(proc.c)]"), ("proc.a", "%[var(proc.d)]")]).begin();
        assert_eq!(values.get("a"), Some(Value::Int(7)));
        assert_eq!(values.get("b"), Some(Value::Bool(true)));
        assert_eq!(values.get("d"), None);
    }
}
