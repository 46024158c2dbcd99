//! What is sent, and what may differ in what comes of it.

/// How a client speaks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Via {
    Plain,
    /// TLS, asking for this name.
    Tls(&'static str),
    /// The same, showing a certificate.
    Known(&'static str),
    /// HTTP/2 by prior knowledge.
    H2,
    /// HTTP/2 over TLS, asking for this name.
    H2Tls(&'static str),
}

/// One step of a client's. In texts `\n` stands for CR LF.
#[derive(Clone)]
pub(crate) enum Step {
    Send(String),
    Bytes(Vec<u8>),
    /// Reads the response to a request of this method.
    Read(String),
    /// Reads so many bytes as this text has.
    Expect(&'static str),
    Pause(u64),
    /// Lets the server that holds a request of this case answer it.
    Release,
    /// Says that nothing more will be sent.
    Shut,
    /// Reads what there is to the end.
    Rest,
}

/// A conversation of one client.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) via: Via,
    /// The listening socket's name.
    pub(crate) at: &'static str,
    pub(crate) steps: Vec<Step>,
    /// Requests on connections of their own that are with servers meanwhile.
    pub(crate) busy: Vec<String>,
    /// Requests likewise that have to wait for one of those.
    pub(crate) queued: Vec<String>,
    /// Whether another request is sent in the end, to see whether the connection goes on.
    pub(crate) probe: bool,
}

/// One request and its response.
pub(crate) fn ask(text: &str) -> Case {
    let method = text.trim_start().split(' ').next().unwrap_or("").to_owned();
    let steps = vec![Step::Send(text.to_owned()), Step::Read(method)];
    let name: String = text.chars().take(100).collect();
    Case {
        name,
        via: Via::Plain,
        at: "web",
        steps,
        busy: Vec::new(),
        queued: Vec::new(),
        probe: true,
    }
}

/// `GET` with these header lines, each ended by `\n`.
pub(crate) fn get(target: &str, headers: &str) -> Case {
    ask(&format!("GET {target} HTTP/1.1\nHost: a\n{headers}\n"))
}

/// Several requests in one write, and the responses to them.
pub(crate) fn pipeline(texts: &[&str]) -> Case {
    let mut case = ask(&texts.concat());
    case.steps = vec![Step::Send(texts.concat())];
    let methods = texts
        .iter()
        .map(|text| text.split(' ').next().unwrap_or(""));
    case.steps
        .extend(methods.map(|method| Step::Read(method.to_owned())));
    case.named("pipeline")
}

/// Any steps.
pub(crate) fn steps(name: &str, steps: Vec<Step>) -> Case {
    Case {
        name: name.to_owned(),
        via: Via::Plain,
        at: "web",
        steps,
        busy: Vec::new(),
        queued: Vec::new(),
        probe: false,
    }
}

impl Case {
    pub(crate) fn named(mut self, name: &str) -> Case {
        self.name = format!("{name}: {}", self.name);
        self
    }

    pub(crate) fn at(mut self, at: &'static str) -> Case {
        self.at = at;
        self
    }

    pub(crate) fn via(mut self, at: &'static str, via: Via) -> Case {
        self.via = via;
        self.at(at)
    }

    pub(crate) fn busy(mut self, requests: &[&str]) -> Case {
        self.busy = requests.iter().map(|&request| request.to_owned()).collect();
        self
    }

    /// What is sent first, before anything else.
    pub(crate) fn after(mut self, bytes: &[u8]) -> Case {
        self.steps.insert(0, Step::Bytes(bytes.to_vec()));
        self.name = format!("{}{}", String::from_utf8_lossy(bytes).trim_end(), self.name);
        self
    }

    pub(crate) fn without_probe(mut self) -> Case {
        self.probe = false;
        self
    }
}

/// In the place of a field: whatever follows from these first statuses.
pub(crate) const EVERYTHING: &str = "everything";

/// A difference that is meant.
pub(crate) struct Deviation {
    /// Parts of the names of the cases where it is; any of them. None: all cases.
    pub(crate) cases: &'static [&'static str],
    /// What differs; a `*` at the end or the beginning stands for anything.
    pub(crate) field: &'static str,
    /// Our value and HAProxy's; `*` is any.
    pub(crate) ours: &'static str,
    pub(crate) theirs: &'static str,
    /// Why that is as it should be.
    pub(crate) why: &'static str,
}

impl Deviation {
    pub(crate) fn allows(&self, case: &str, field: &str, ours: &str, theirs: &str) -> bool {
        (self.cases.is_empty() || self.cases.iter().any(|part| case.contains(part)))
            && like(self.field, field)
            && like(self.ours, ours)
            && like(self.theirs, theirs)
    }
}

fn like(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        _ if pattern == "*" => true,
        (Some(end), _) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => text == pattern,
    }
}

/// One configuration of both, what is asked of it, and what may differ.
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// `{web}`, `{s1}` and so on stand for addresses, `{dir}` for the folder of files.
    pub(crate) yaml: &'static str,
    pub(crate) cfg: &'static str,
    /// Further files.
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) cases: Vec<Case>,
    /// Whether cases may be carried out at the same time: they are slow, and none depends on another.
    pub(crate) parallel: bool,
    pub(crate) deviations: &'static [Deviation],
}
