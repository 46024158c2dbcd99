//! Whether it may carry traffic, and how that is said.

use super::{super::tracking::State, AdminState, Server};

impl Server {
    /// Up by health, not in maintenance and somewhere: it may carry traffic.
    pub fn is_up(&self) -> bool {
        self.admin() != AdminState::Maint
            && self.via() != State::Maint
            && self.is_healthy()
            && self.is_resolved()
    }

    /// New flows may go there.
    pub fn is_eligible(&self) -> bool {
        self.effective_weight() > 0
    }

    /// Whether the file has it no more, and others that take its place.
    pub fn is_retired(&self) -> bool {
        self.live.is_retired()
    }

    /// Holders of its cookie may go there: a draining server keeps them, one that is down or in maintenance does not.
    pub fn is_usable_by_cookie(&self) -> bool {
        self.is_up()
    }

    /// Whether it takes no new flows by the operator's will, but carries on with the ones it has.
    pub fn is_draining(&self) -> bool {
        self.admin() == AdminState::Drain
            || self.drains_via()
            || (self.admin() == AdminState::Ready && self.weight() == 0)
    }

    /// HAProxy's status: `UP`, `UP 1/3`, `DOWN`, `DOWN 1/2`, `DRAIN`, `DRAIN 2/3`, `NOLB`, `MAINT`,
    /// `MAINT (resolution)`, `MAINT (via app/one)`, `DOWN (agent)`, `DRAIN (agent)`, `no check`.
    pub fn status(&self) -> String {
        if self.admin() == AdminState::Maint {
            return "MAINT".into();
        }
        if !self.is_resolved() {
            return "MAINT (resolution)".into();
        }
        if self.is_down_by_agent() && self.is_up_by_checks() {
            return "DOWN (agent)".into();
        }
        let drain = self.admin() == AdminState::Drain;
        if let Some(tracked) = self.tracked() {
            let as_up = |word: &str| match self.health_followed() {
                Some(health) if health.is_up() => health.to_string().replacen("UP", word, 1),
                _ => word.to_owned(),
            };
            return match self.via() {
                State::Maint => format!("MAINT (via {tracked})"),
                State::Down => match self.health_followed() {
                    Some(health) if !health.is_up() => health.to_string(),
                    _ => "DOWN".to_owned(),
                },
                State::Stopping => as_up("NOLB"),
                State::Drain => as_up("DRAIN"),
                State::Up if drain => as_up("DRAIN"),
                State::Up => as_up("UP"),
            };
        }
        let by_agent = self.config.agent_check.is_some() && self.agent_enabled();
        match self.health() {
            Some(health) if health.is_up() && self.is_stopping() => {
                health.to_string().replacen("UP", "NOLB", 1)
            }
            None if self.is_stopping() => "NOLB".into(),
            // HAProxy says so of all that have an agent, whoever has wished it.
            Some(health) if health.is_up() && drain && by_agent => "DRAIN (agent)".into(),
            None if drain && by_agent => "DRAIN (agent)".into(),
            Some(health) if health.is_up() && drain => {
                health.to_string().replacen("UP", "DRAIN", 1)
            }
            Some(health) => health.to_string(),
            None if drain => "DRAIN".into(),
            None => "no check".into(),
        }
    }
}
