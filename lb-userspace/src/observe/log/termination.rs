//! HAProxy's termination state: who ended a session, in which phase, and what became of the sticky cookie.

/// The first two characters of the termination state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Termination {
    /// What ended it.
    pub cause: Cause,
    /// How far it had come.
    pub phase: Phase,
}

impl Termination {
    /// `--`: all went well.
    pub const NORMAL: Self = Self {
        cause: Cause::Normal,
        phase: Phase::Complete,
    };

    /// Both in one.
    pub const fn new(cause: Cause, phase: Phase) -> Self {
        Self { cause, phase }
    }
}

/// Declares an enum whose variants each have one character in the log.
macro_rules! letters {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $letter:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// Its character in the log line.
            pub const fn letter(self) -> char {
                match self {
                    $(Self::$variant => $letter,)*
                }
            }
        }
    };
}

letters! {
    /// The first event that made the session end.
    Cause {
        /// Both sides ended it as they should.
        #[default]
        Normal = '-',
        /// The client closed or reset.
        Client = 'C',
        /// The server closed, reset or refused.
        Server = 'S',
        /// The proxy refused it: a rule, bad input, a limit.
        Proxy = 'P',
        /// The proxy answered by itself: redirect, stats, `return`.
        Local = 'L',
        /// A resource was exhausted (memory, sockets, ports).
        Resource = 'R',
        /// An internal error; never expected.
        Internal = 'I',
        /// The server was marked down.
        Down = 'D',
        /// A main server came back and took over from a backup.
        Up = 'U',
        /// An operator killed it.
        Killed = 'K',
        /// The client's time ran out.
        ClientTimeout = 'c',
        /// The server's time ran out, the queue's and the connection's included.
        ServerTimeout = 's',
    }
}

letters! {
    /// Where the session stood when it ended.
    Phase {
        /// All was transferred.
        #[default]
        Complete = '-',
        /// Waiting for a complete request.
        Request = 'R',
        /// Waiting for a server's slot.
        Queue = 'Q',
        /// Connecting to the server.
        Connect = 'C',
        /// Waiting for the response's head.
        Headers = 'H',
        /// Transferring data.
        Data = 'D',
        /// The server had finished; the last data was on the way to the client.
        Last = 'L',
        /// Held back in a tarpit.
        Tarpit = 'T',
    }
}

letters! {
    /// The sticky cookie in the request.
    CookieSeen {
        /// Not applicable: no cookie is configured.
        #[default]
        NotApplicable = '-',
        /// There was none.
        None = 'N',
        /// It named no server that exists.
        Invalid = 'I',
        /// It named a server that is down.
        Down = 'D',
        /// It named the server that was used.
        Valid = 'V',
        /// It was expired (`maxidle`).
        Expired = 'E',
        /// It was older than `maxlife` allows.
        Old = 'O',
        /// There was one, but persistence was not used.
        Unused = 'U',
    }
}

letters! {
    /// The sticky cookie in the response.
    CookieSet {
        /// Not applicable: no cookie is configured.
        #[default]
        NotApplicable = '-',
        /// The server sent none and none was added.
        None = 'N',
        /// One was inserted.
        Inserted = 'I',
        /// The server's was updated with a new date.
        Updated = 'U',
        /// The server's was passed as it was.
        Passed = 'P',
        /// The server's was rewritten.
        Rewritten = 'R',
        /// The server's was deleted.
        Deleted = 'D',
    }
}
