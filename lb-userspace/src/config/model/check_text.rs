//! What a check says in words of its own: texts with expressions, variables, and what its results are called.

use std::sync::Arc;

use crate::rules::{Expr, Fact, Only, Scene, State, Template, Var, World};

/// A text with expressions, which are asked whenever it is needed.
#[derive(Debug, Clone)]
pub struct CheckText {
    /// As it was written.
    written: String,
    template: Arc<Template>,
}

impl CheckText {
    /// A text that has been compiled.
    pub fn new(written: String, template: Template) -> Self {
        Self {
            written,
            template: Arc::new(template),
        }
    }

    /// What comes of it now.
    pub fn fill(&self, scene: &Scene<'_>) -> Vec<u8> {
        self.template.raw(scene)
    }

    /// Where the proxies and servers stand that it names.
    fn places(&self) -> impl Iterator<Item = [Option<usize>; 3]> {
        let facts = self.template.expressions().filter_map(Expr::fact);
        facts.map(Fact::places)
    }

    /// The text, if there is no expression in it.
    pub fn as_literal(&self) -> Option<&str> {
        self.template.as_literal()
    }
}

impl From<&str> for CheckText {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned(), Template::literal(text))
    }
}

impl From<String> for CheckText {
    fn from(text: String) -> Self {
        let template = Template::literal(&text);
        Self::new(text, template)
    }
}

impl PartialEq for CheckText {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
            && self.as_literal() == other.as_literal()
            // One that goes on with another configuration finds there what it names.
            && self.places().eq(other.places())
    }
}

/// A variable that a check sets for itself, or forgets.
#[derive(Debug, Clone)]
pub struct Setting {
    name: String,
    var: Var,
    /// What to, and when alone; `None`: it is forgotten.
    to: Option<(Only, CheckText)>,
}

impl Setting {
    /// Of the variable `var`, which is called `name`.
    pub fn new(name: String, var: Var, to: Option<(Only, CheckText)>) -> Self {
        Self { name, var, to }
    }

    /// Does it. What has no value sets nothing.
    pub fn apply(&self, state: &mut State, world: &dyn World) {
        let (only, value) = match &self.to {
            None => (Only::default(), None),
            Some((only, text)) => {
                let value = text.template.value(&Scene {
                    request: None,
                    response: None,
                    state,
                    world,
                });
                let Some(value) = value else { return };
                (*only, Some(value))
            }
        };
        self.var.assign(state, only, value);
    }
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.to) == (&other.name, &other.to)
    }
}

/// What is said of an answer beside what it has to contain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Terms {
    /// Bytes that have to be there before it is looked at.
    pub least: usize,
    /// HAProxy's name of the result where it passes.
    pub passed: Option<&'static str>,
    /// Where it does not.
    pub failed: Option<&'static str>,
    /// Where it does not come in time.
    pub late: Option<&'static str>,
    /// What is told where it passes.
    pub on_success: Option<CheckText>,
    /// Where it does not.
    pub on_error: Option<CheckText>,
    /// The number that goes with the result.
    pub code: Option<CheckText>,
}
