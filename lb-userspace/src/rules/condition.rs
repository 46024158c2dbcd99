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
        // Most conditions compare a text that is there: no value has to be made of it and be asked what it is.
        if let Matcher::Among(patterns) = &self.matcher
            && patterns.are_of_text()
            && let Some(any) = self.expr.any_text(scene, |text| patterns.match_text(text))
        {
            return any;
        }
        self.expr
            .any(scene, &mut |value| self.matcher.matches(value))
    }
}

/// What can be said of a condition while more may come of what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It may yet.
    NotYet,
}

impl Condition {
    /// Whether it holds, for what is known so far.
    pub fn judge<'a>(&'a self, scene: &Scene<'a>) -> Judged {
        match self {
            Self::Test(test) if test.holds(scene) => Judged::Yes,
            Self::Test(test) if test.expr.may_change(scene) => Judged::NotYet,
            Self::Test(_) => Judged::No,
            // The first that does not hold decides, as HAProxy has it.
            Self::All(all) => {
                let mut judged = all.iter().map(|one| one.judge(scene));
                judged
                    .find(|one| *one != Judged::Yes)
                    .unwrap_or(Judged::Yes)
            }
            Self::Any(any) => {
                let mut found = Judged::No;
                for one in any {
                    match one.judge(scene) {
                        Judged::Yes => return Judged::Yes,
                        Judged::NotYet => found = Judged::NotYet,
                        Judged::No => {}
                    }
                }
                found
            }
            Self::Not(one) => match one.judge(scene) {
                Judged::Yes => Judged::No,
                Judged::No => Judged::Yes,
                Judged::NotYet => Judged::NotYet,
            },
            Self::Named(one) => one.judge(scene),
        }
    }

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
