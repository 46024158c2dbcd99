//! Conditions: tests, and what `all`, `any` and `not` make of them.

use std::sync::Arc;

use super::{
    expr::Expr,
    matching::{How, Matcher},
    scene::Scene,
};

/// A condition.
#[derive(Debug, Clone)]
pub enum Condition {
    /// A sample that has to match.
    Test(Test),
    /// All of these.
    All(Vec<Condition>),
    /// One of these at least.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// One that has a name.
    Named(Arc<Condition>),
}

/// A sample and what it has to be.
#[derive(Debug, Clone)]
pub struct Test {
    /// The sample.
    pub expr: Expr,
    /// How it is compared, for messages and to choose a cast.
    pub how: How,
    /// What it has to be.
    pub matcher: Matcher,
}

impl Test {
    /// Whether the sample is what it has to be. One that there is not never is.
    pub fn holds<'a>(&'a self, scene: &Scene<'a>) -> bool {
        self.expr
            .any(scene, &mut |value| self.matcher.matches(value))
    }
}

impl Condition {
    /// Whether it holds.
    pub fn holds<'a>(&'a self, scene: &Scene<'a>) -> bool {
        match self {
            Self::Test(test) => test.holds(scene),
            Self::All(all) => all.iter().all(|one| one.holds(scene)),
            Self::Any(any) => any.iter().any(|one| one.holds(scene)),
            Self::Not(one) => !one.holds(scene),
            Self::Named(one) => one.holds(scene),
        }
    }

    /// Calls `visit` with each expression in it.
    pub fn each_expr(&self, visit: &mut dyn FnMut(&Expr)) {
        match self {
            Self::Test(test) => visit(&test.expr),
            Self::All(many) | Self::Any(many) => many.iter().for_each(|one| one.each_expr(visit)),
            Self::Not(one) => one.each_expr(visit),
            Self::Named(one) => one.each_expr(visit),
        }
    }

    /// Whether it looks at a response.
    pub fn needs_response(&self) -> bool {
        let mut needs = false;
        self.each_expr(&mut |expr| needs |= expr.needs_response());
        needs
    }

    /// Whether it looks at a request.
    pub fn needs_request(&self) -> bool {
        let mut needs = false;
        self.each_expr(&mut |expr| needs |= expr.needs_request());
        needs
    }
}
