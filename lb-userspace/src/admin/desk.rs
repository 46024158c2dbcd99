//! What commands act on, and the way from the words of one to the text of its answer.

use std::sync::Arc;

use super::{
    certificates::Transactions,
    counters, dynamic, errors, frontends, help, info, inside,
    kernel::{self, Wire},
    level::{self, DENIED},
    maps, operate, process, rates, reload, servers, sessions, setting, stat, tables, upgrade,
    variables,
    versions::Versions,
    wish::Wishes,
};
use crate::{
    config::model::AdminLevel,
    observe::{sessions::Sessions, stats::Sources},
};

/// All that the daemon lends to the runtime sockets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Statistics and the running model.
    pub sources: Sources,
    /// Where another configuration is asked for.
    pub wishes: Wishes,
    /// The connections that userspace serves.
    pub sessions: Sessions,
    /// The sockets that there are, as they are shown.
    pub sockets: Arc<[(String, AdminLevel)]>,
    transactions: Arc<Transactions>,
    versions: Arc<Versions>,
}

impl Desk {
    /// What all sockets have in common; `sockets` are what is shown of them.
    pub fn new(
        sources: Sources,
        wishes: Wishes,
        sessions: Sessions,
        sockets: Vec<(String, AdminLevel)>,
    ) -> Self {
        Self {
            sources,
            wishes,
            sessions,
            sockets: sockets.into(),
            transactions: Arc::default(),
            versions: Arc::default(),
        }
    }
}

/// Who asks, and how.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// What they may do.
    pub(super) level: AdminLevel,
    /// They are prompted, and stay after an answer.
    pub(super) interactive: bool,
    /// So long they may say nothing.
    pub(super) patience: std::time::Duration,
    /// The user they are, as far as the kernel knows.
    peer: Option<u32>,
    expert: bool,
    experimental: bool,
}

/// The longest that somebody who says nothing is listened to.
const A_DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

impl Caller {
    pub(super) fn new(level: AdminLevel, peer: Option<u32>, patience: std::time::Duration) -> Self {
        Self {
            level,
            interactive: false,
            patience,
            peer,
            expert: false,
            experimental: false,
        }
    }
}

/// What is said, if it was not said little by little.
pub(super) type Said = Result<String, String>;

impl Desk {
    /// Does what `words` say, and says what came of it; the error is the complaint without its line end. `out` gets what is
    /// said little by little.
    ///
    /// # Errors
    /// Whoever asked is gone.
    pub(super) async fn answer(
        &self,
        caller: &mut Caller,
        words: &[&str],
        payload: Option<&[u8]>,
        out: &mut dyn Wire,
    ) -> std::io::Result<Said> {
        if caller.level < level::needed(words) {
            return Ok(Err(DENIED.to_owned()));
        }
        if let Some(said) = self.of_caller(caller, words) {
            return Ok(said);
        }
        if let Some(answer) = upgrade::answer(&self.wishes, words, caller.peer).await {
            return Ok(Ok(answer));
        }
        if let Some(answer) = reload::answer(&self.wishes, words).await {
            return Ok(Ok(answer));
        }
        if let Some(said) = counters::answer(&self.sources, words).await {
            return Ok(said);
        }
        if let Some(said) = dynamic::answer(&self.sources, &self.wishes, words).await {
            return Ok(said);
        }
        if let Some(said) = setting::answer(&self.sources, &self.wishes, words).await {
            return Ok(said);
        }
        if let Some(said) = inside::answer(&self.sources, &self.sessions, words).await {
            return Ok(said);
        }
        if let Some(said) = sessions::answer(&self.sources, &self.sessions, words).await {
            return Ok(said);
        }
        match kernel::parse(words) {
            Some(Err(complaint)) => return Ok(Err(complaint)),
            Some(Ok(command)) => {
                kernel::answer(&self.sources.path, command, out).await?;
                return Ok(Ok(String::new()));
            }
            None => {}
        }
        if maps::about(words).is_some() {
            return Ok(self.of_maps(words, payload).await);
        }
        let topology = self.sources.topology();
        let said = self
            .transactions
            .answer(&topology, words, payload)
            .or_else(|| tables::answer(&topology, words))
            .or_else(|| variables::answer(&topology, words, caller.experimental))
            .or_else(|| frontends::answer(&self.sources, words))
            .or_else(|| rates::answer(&topology.rates, words))
            .or_else(|| operate::answer(&self.sources, words))
            .or_else(|| process::answer(&self.sources, words))
            .or_else(|| self.shown(words));
        Ok(said.unwrap_or_else(|| Err(help::unknown(words))))
    }

    /// What is asked of maps, which may have a million lines: elsewhere, lest others wait.
    async fn of_maps(&self, words: &[&str], payload: Option<&[u8]>) -> Said {
        let (topology, versions) = (self.sources.topology(), Arc::clone(&self.versions));
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let payload = payload.map(<[u8]>::to_vec);
        let work = move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let said = versions
                .answer(&topology, &words, payload.as_deref())
                .or_else(|| maps::answer(&topology, &words, payload.as_deref()));
            said.unwrap_or_else(|| Err(help::unknown(&words)))
        };
        let said = tokio::task::spawn_blocking(work).await;
        said.unwrap_or_else(|_| Err("lb has not got to an end with that.".to_owned()))
    }

    fn shown(&self, words: &[&str]) -> Option<Said> {
        let topology = || self.sources.topology();
        Some(match *words {
            ["help", ref rest @ ..] => Ok(help::help(rest)),
            ["show", "errors", ref filter @ ..] => errors::show(&topology(), filter),
            ["show", "info", ref rest @ ..] => Ok(info::show(&self.sources, rest)),
            ["show", "stat", ref filter @ ..] => stat::show(&self.sources, filter),
            ["show", "status", "json"] => Ok(format!("{}\n", self.sources.snapshot().to_json())),
            ["show", "servers", "state", ref rest @ ..] => {
                servers::state(&topology(), rest.first().copied())
            }
            ["show", "servers", "conn", ref rest @ ..] => {
                servers::conn(&topology(), rest.first().copied())
            }
            ["show", "cli", "sockets"] => {
                let sockets = self.sockets.iter();
                let lines = sockets.map(|(name, level)| format!("{name} {level} all\n"));
                Ok(format!(
                    "# socket lvl processes\n{}",
                    lines.collect::<String>()
                ))
            }
            _ => return None,
        })
    }

    /// Commands about the conversation itself.
    fn of_caller(&self, caller: &mut Caller, words: &[&str]) -> Option<Said> {
        let switch = |on: &mut bool, name: &str, word: Option<&&str>| match word {
            Some(&"on") => {
                *on = true;
                Ok(String::new())
            }
            Some(&"off") => {
                *on = false;
                Ok(String::new())
            }
            _ => Ok(format!("{name} is {}\n", if *on { "ON" } else { "OFF" })),
        };
        Some(match *words {
            ["prompt", ..] => {
                caller.interactive = !caller.interactive;
                Ok(String::new())
            }
            ["operator", ..] => {
                caller.level = caller.level.min(AdminLevel::Operator);
                Ok(String::new())
            }
            ["user", ..] => {
                caller.level = AdminLevel::User;
                Ok(String::new())
            }
            ["show", "cli", "level"] => Ok(format!("{}\n", caller.level)),
            ["expert-mode", ref rest @ ..] => {
                switch(&mut caller.expert, "expert-mode", rest.first())
            }
            ["experimental-mode", ref rest @ ..] => {
                switch(&mut caller.experimental, "experimental-mode", rest.first())
            }
            ["set", "timeout", "cli", ref rest @ ..] => match rest.first() {
                None => Err("Expects an integer value.".to_owned()),
                Some(text) => match text.parse::<u32>() {
                    Ok(seconds) if seconds > 0 => {
                        // There are so many places and no more: nobody keeps one for ever.
                        caller.patience = std::time::Duration::from_secs(seconds.into()).min(A_DAY);
                        Ok(String::new())
                    }
                    _ => Err("Invalid timeout value.".to_owned()),
                },
            },
            ["set", "timeout", ..] => Err("'set timeout' only supports 'cli'.".to_owned()),
            _ => return None,
        })
    }
}
