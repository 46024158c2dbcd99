//! What tables store.

/// Declares what a table may store.
macro_rules! data {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $fetch:literal,)*) => {
        /// What a table stores for each key; HAProxy's names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Data {
            $($(#[$doc])* $variant,)*
            /// One of an array of counters for rules.
            Gpc(u8),
            /// How fast that one grows, by period.
            GpcRate(u8),
            /// One of an array of numbers for rules.
            Gpt(u8),
        }

        impl Data {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in `store`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Gpc(_) => "gpc",
                    Self::GpcRate(_) => "gpc_rate",
                    Self::Gpt(_) => "gpt",
                }
            }

            /// By the end of a fetch's name: `http_req_rate` of `sc_http_req_rate`.
            pub fn by_fetch(name: &str) -> Option<Self> {
                match name {
                    $($fetch => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

data! {
    /// Times that it was followed.
    ConnCnt = "conn_cnt" "conn_cnt",
    /// Followed now.
    ConnCur = "conn_cur" "conn_cur",
    /// Times that it was followed, by period.
    ConnRate = "conn_rate" "conn_rate",
    /// Connections that it was followed by and that were let in.
    SessCnt = "sess_cnt" "sess_cnt",
    /// The same by period.
    SessRate = "sess_rate" "sess_rate",
    /// Requests.
    HttpReqCnt = "http_req_cnt" "http_req_cnt",
    /// Requests by period.
    HttpReqRate = "http_req_rate" "http_req_rate",
    /// Answers that are the client's fault: 400 to 499.
    HttpErrCnt = "http_err_cnt" "http_err_cnt",
    /// The same by period.
    HttpErrRate = "http_err_rate" "http_err_rate",
    /// Answers that are the server's fault: 500 to 599 but 501 and 505.
    HttpFailCnt = "http_fail_cnt" "http_fail_cnt",
    /// The same by period.
    HttpFailRate = "http_fail_rate" "http_fail_rate",
    /// Bytes from the client.
    BytesInCnt = "bytes_in_cnt" "kbytes_in",
    /// The same by period.
    BytesInRate = "bytes_in_rate" "bytes_in_rate",
    /// Bytes to the client.
    BytesOutCnt = "bytes_out_cnt" "kbytes_out",
    /// The same by period.
    BytesOutRate = "bytes_out_rate" "bytes_out_rate",
    /// A counter for rules.
    Gpc0 = "gpc0" "get_gpc0",
    /// How fast it grows, by period.
    Gpc0Rate = "gpc0_rate" "gpc0_rate",
    /// Another counter for rules.
    Gpc1 = "gpc1" "get_gpc1",
    /// How fast it grows, by period.
    Gpc1Rate = "gpc1_rate" "gpc1_rate",
    /// A number for rules.
    Gpt0 = "gpt0" "get_gpt0",
    /// The server that the key stays on: 1 for a backend's first; 0 for none.
    ServerId = "server_id" "server_id",
}

impl Data {
    /// By the end of a converter's name: `http_req_rate` of `table_http_req_rate`.
    pub fn by_table_converter(name: &str) -> Option<Self> {
        let stored = |data: &&Self| data.name() == name;
        let counted = !matches!(name, "bytes_in_cnt" | "bytes_out_cnt");
        let found = Self::ALL.iter().find(stored).filter(|_| counted).copied();
        found.or_else(|| Self::by_fetch(name))
    }

    /// One of an array, by the array's name and the place in it.
    pub fn of_array_named(name: &str, index: u8) -> Option<Self> {
        Some(match name {
            "gpc" => Self::Gpc(index),
            "gpc_rate" => Self::GpcRate(index),
            "gpt" => Self::Gpt(index),
            _ => return None,
        })
    }

    /// Its place in its array, if it is of one.
    pub const fn index(self) -> Option<u8> {
        match self {
            Self::Gpc(index) | Self::GpcRate(index) | Self::Gpt(index) => Some(index),
            _ => None,
        }
    }

    /// The place of an array that stands for it where it is not stored itself.
    pub(super) const fn of_array(self) -> Option<Self> {
        Some(match self {
            Self::Gpc0 => Self::Gpc(0),
            Self::Gpc1 => Self::Gpc(1),
            Self::Gpc0Rate => Self::GpcRate(0),
            Self::Gpc1Rate => Self::GpcRate(1),
            Self::Gpt0 => Self::Gpt(0),
            _ => return None,
        })
    }

    /// What counts the same by period.
    pub const fn rate(self) -> Option<Self> {
        match self {
            Self::Gpc0 => Some(Self::Gpc0Rate),
            Self::Gpc1 => Some(Self::Gpc1Rate),
            Self::Gpc(index) => Some(Self::GpcRate(index)),
            _ => None,
        }
    }

    /// By its name in `store`.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|data| data.name() == name).copied()
    }

    /// Whether it counts by period.
    pub const fn is_rate(self) -> bool {
        matches!(
            self,
            Self::ConnRate
                | Self::SessRate
                | Self::HttpReqRate
                | Self::HttpErrRate
                | Self::HttpFailRate
                | Self::BytesInRate
                | Self::BytesOutRate
                | Self::Gpc0Rate
                | Self::Gpc1Rate
                | Self::GpcRate(_)
        )
    }
}
