//! What operators want of frontends, for the process that takes this one's place.

use serde::{Deserialize, Serialize};

use crate::topology::{Passage, Topology};

/// What operators want of a frontend. What is not known of it must not be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontendState {
    /// Its name.
    pub frontend: String,
    /// `open`, `paused` or `closed`.
    pub passage: String,
    /// Most connections at a time.
    pub maxconn: Option<u32>,
    /// What the file said of that: one that says something else by now has the word.
    pub file_maxconn: Option<u32>,
}

impl Topology {
    /// What operators want of every frontend.
    pub fn frontend_states(&self) -> impl Iterator<Item = FrontendState> {
        self.frontends.iter().map(|frontend| FrontendState {
            frontend: frontend.name.to_string(),
            passage: frontend.gate().passage().carried().to_owned(),
            maxconn: frontend.maxconn(),
            file_maxconn: frontend.config.maxconn,
        })
    }

    /// The same holds here.
    ///
    /// # Errors
    /// A word that is not understood.
    pub fn take_frontends(&self, states: &[FrontendState]) -> Result<(), String> {
        for state in states {
            // What is there no longer needs no state.
            let Some(frontend) = self.frontend(&state.frontend) else {
                continue;
            };
            let passage = Passage::of_carried(&state.passage).ok_or_else(|| {
                format!(
                    "frontend {} is in a state called `{}`, which this version does not know",
                    state.frontend, state.passage
                )
            })?;
            if frontend.gate().passage() != passage {
                self.set_gate(frontend, passage);
            }
            if frontend.config.maxconn == state.file_maxconn && frontend.maxconn() != state.maxconn
            {
                frontend.set_maxconn(state.maxconn);
            }
        }
        Ok(())
    }
}

impl Passage {
    fn carried(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }

    fn of_carried(word: &str) -> Option<Self> {
        let all = [Self::Open, Self::Paused, Self::Closed];
        all.into_iter().find(|passage| passage.carried() == word)
    }
}
