//! Rules of what a connection of mode tcp has brought so far, asked again whenever more has come.

use super::{
    action::{Edit, End, Rule},
    condition::Judged,
    edit,
    run::RuleSet,
    scene::{Scene, State, World},
};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It goes on.
    Pass,
    /// More has to come first.
    Wait,
    /// It ends; if it is so, silently.
    Drop(bool),
    /// The server says no more.
    Close,
}

/// The rules of a list that have counted, by their places: none does so twice for one connection.
#[derive(Debug, Default)]
pub struct Counted(Vec<usize>);

impl RuleSet {
    /// Carries the list out for what has come so far. Each time it begins anew, as HAProxy has it, so that what is
    /// remembered is what there is in the end; `counted` is which rules have counted already.
    pub fn content(&self, counted: &mut Counted, state: &mut State, world: &dyn World) -> Content {
        for (at, rule) in self.rules().iter().enumerate() {
            let scene = Scene {
                request: None,
                response: None,
                state,
                world,
            };
            match rule.condition.as_ref().map(|c| c.judge(&scene)) {
                Some(Judged::No) => continue,
                Some(Judged::NotYet) => return Content::Wait,
                Some(Judged::Yes) | None => {}
            }
            if follows_what_may_come(rule, &scene) {
                return Content::Wait;
            }
            let has_counted = counted.0.contains(&at);
            for edit in &rule.edits {
                if !has_counted || !edit.counts() {
                    edit::connection(edit, state, world);
                }
            }
            if !has_counted && rule.edits.iter().any(Edit::counts) {
                counted.0.push(at);
            }
            let content = match &rule.end {
                Some(End::Allow) => Content::Pass,
                Some(End::Drop { silent }) => Content::Drop(*silent),
                Some(End::Close) => Content::Close,
                _ => continue,
            };
            state.last_rule = rule.place;
            return content;
        }
        Content::Pass
    }
}

/// Whether a rule tracks by or keeps what is not there yet: HAProxy waits for that, and not for what variables are set to.
fn follows_what_may_come(rule: &Rule, scene: &Scene<'_>) -> bool {
    rule.edits.iter().any(|edit| match edit {
        Edit::Track { key, .. } | Edit::Capture { value: key, .. } => {
            key.expressions().any(|expr| expr.may_change(scene))
        }
        _ => false,
    })
}
