//! What runs: all that a configuration has brought about, and that another one takes over.

use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::{
    Origin,
    amend::Amendments,
    follow, health_file,
    stop::Times,
    upgrade::{self, Left},
    watch,
};
use crate::{
    admin::{
        self,
        wish::{Wish, Wishes},
    },
    config::{
        Config,
        model::{Bind, HealthFile, OnStop},
    },
    fastpath::FastPath,
    health::Checks,
    names::Names,
    observe::stats::{
        Sources,
        endpoint::{Endpoint, Serving},
    },
    proxy::{Proxy, Shared},
};

/// All that a configuration has brought about.
pub(super) struct Running {
    pub(super) origin: Origin,
    config: Arc<Config>,
    pub(super) shared: Arc<Shared>,
    pub(super) proxy: Proxy,
    pub(super) sources: Sources,
    pub(super) stats: Serving,
    pub(super) fast_path: Option<FastPath>,
    pub(super) admin: Vec<admin::socket::Handle>,
    /// What an upgrade starts.
    pub(super) binary: PathBuf,
    /// Whether landlock confines.
    pub(super) confined: bool,
    /// The process before, while it serves its last connections.
    pub(super) before: Option<Left>,
    /// Begun with the runtime.
    checks: Option<Checks>,
    names: Option<Names>,
    tasks: JoinSet<()>,
    /// Those of the present configuration.
    own: Vec<AbortHandle>,
    watching: Option<AbortHandle>,
    health: Option<(HealthFile, AbortHandle)>,
    pub(super) amendments: Amendments,
    wishes: Wishes,
    pub(super) wished: mpsc::UnboundedReceiver<Wish>,
}

impl Running {
    pub(super) fn new(
        config: Arc<Config>,
        origin: Origin,
        shared: Arc<Shared>,
        proxy: Proxy,
        sources: Sources,
    ) -> Self {
        let (wishes, wished) = mpsc::unbounded_channel();
        Self {
            origin,
            config,
            shared,
            proxy,
            sources,
            stats: Serving::default(),
            fast_path: None,
            admin: Vec::new(),
            binary: upgrade::own_binary(),
            confined: false,
            before: None,
            checks: None,
            names: None,
            tasks: JoinSet::new(),
            own: Vec::new(),
            watching: None,
            health: None,
            amendments: Amendments::default(),
            wishes,
            wished,
        }
    }

    /// What is run.
    pub(super) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Where wishes for another configuration go.
    pub(super) fn wishes(&self) -> Wishes {
        self.wishes.clone()
    }

    /// How long a stop takes.
    pub(super) fn times(&self) -> Times {
        let file = self.config.global.health_file.as_ref();
        Times {
            drain: file.map_or(Duration::ZERO, |file| file.drain),
            linger: file.map_or(Duration::ZERO, |file| file.linger),
            grace: self.config.global.grace,
            drains: self.config.global.fast_path.on_stop != OnStop::Keep,
        }
    }

    /// Begins to check, to answer by `stats` and to follow files. Wants a runtime.
    pub(super) fn begin(&mut self, stats: Vec<(Bind, TcpListener)>) {
        self.answer(stats);
        self.attend();
    }

    /// The kernel path goes on without this process: the other one's agent takes it over again.
    pub(super) async fn leave_kernel_path(&mut self) {
        if let Some(fast_path) = self.fast_path.take() {
            fast_path.hand_over().await;
        }
    }

    /// Begins nothing and looks after nothing, that only one process may: another one may do so.
    pub(super) fn pause(&mut self) {
        self.checks = None;
        self.names = None;
        for task in self.own.drain(..) {
            task.abort();
        }
        if let Some((_, task)) = self.health.take() {
            task.abort();
        }
        if let Some(task) = self.watching.take() {
            task.abort();
        }
        for admin in &self.admin {
            admin.pause();
        }
    }

    /// Takes up again what was left at [`Running::pause`].
    pub(super) fn resume(&mut self) {
        self.attend();
        for admin in &self.admin {
            admin.resume();
        }
    }

    /// Grants no wish any more, and says why, for as long as `last` takes.
    pub(super) async fn refusing(&mut self, why: &str, last: impl Future) {
        let refuse = async {
            // It holds a sender itself: this ends with `last` alone.
            while let Some(wish) = self.wished.recv().await {
                wish.refuse(why.to_owned());
            }
        };
        tokio::select! {
            _ = last => {}
            () = refuse => {}
        }
    }

    /// Another configuration is run from now on: that of `shared`.
    pub(super) fn change(&mut self, shared: Arc<Shared>) {
        self.config = Arc::clone(&shared.config);
        self.shared = shared;
    }

    /// Serves statistics as the configuration says.
    pub(super) fn answer(&mut self, listeners: Vec<(Bind, TcpListener)>) {
        let config = self.config.stats.clone();
        let endpoint = config.map(|config| Arc::new(Endpoint::new(config, self.sources.clone())));
        if let Err(error) = self.stats.follow(endpoint, listeners) {
            tracing::error!("the stats endpoint cannot be served: {error}");
        }
    }

    /// Checks servers and follows files as the configuration says.
    pub(super) fn attend(&mut self) {
        let topology = self.sources.topology();
        match &mut self.checks {
            Some(checks) => checks.follow(&topology),
            None => self.checks = Some(Checks::start(&topology)),
        }
        // They are asked for anew, and what is known of them meanwhile is the servers'.
        self.names = Some(Names::start(&topology));
        for task in self.own.drain(..) {
            task.abort();
        }
        let follow = follow::follow(self.config.maps.clone(), topology);
        self.own.push(self.tasks.spawn(follow));
        let servers = self.config.server_files.files.clone();
        if !servers.is_empty() {
            let keep = watch::keep_servers(servers, self.wishes());
            self.own.push(self.tasks.spawn(keep));
        }
        let file = &self.config.global.health_file;
        if self.health.as_ref().map(|(file, _)| file) != file.as_ref() {
            if let Some((_, task)) = self.health.take() {
                task.abort();
            }
            if let Some(file) = file.clone() {
                let keep = health_file::keep(file.clone(), self.sources.clone());
                self.health = Some((file, self.tasks.spawn(keep)));
            }
        }
        // One that is under way knows what it has seen.
        match (&self.watching, self.config.global.watch_config) {
            (None, true) => {
                let keep = watch::keep(self.origin.clone(), self.wishes());
                self.watching = Some(self.tasks.spawn(keep));
            }
            (Some(task), false) => {
                task.abort();
                self.watching = None;
            }
            _ => {}
        }
        while self.tasks.try_join_next().is_some() {}
    }
}
