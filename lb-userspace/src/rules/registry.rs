//! What expressions refer to by name: maps, tables, variables, lists of users. Collected while a configuration is read.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    auth::Users,
    condition::Condition,
    convert::jwt::PublicKeys,
    fetch::link::Links,
    live::Live,
    map::{Map, Output},
    matching::How,
    problem::Problem,
    process::{Process, Shared, Var},
    scene::{Fact, Scope, VarId},
    table::Handle,
    template::Template,
};

/// What a configuration's expressions refer to.
pub struct Registry<'a> {
    /// Relative paths begin here.
    base: &'a Path,
    maps: Vec<Arc<Map>>,
    tables: Vec<Arc<Handle>>,
    files: Vec<Arc<Live>>,
    variables: Vec<String>,
    process: Process,
    users: Vec<(String, Arc<Users>)>,
    conditions: Vec<(String, Arc<Condition>)>,
    facts: Vec<Fact>,
    public_keys: Arc<PublicKeys>,
    links: Links,
    /// The proxy whose keys are being read.
    owner: Option<String>,
    files_are: Files,
}

/// What is done about files that expressions name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    Read,
    Refused,
    /// They are taken to be there, and empty.
    Imagined,
}

impl<'a> Registry<'a> {
    /// An empty one.
    pub fn new(base: &'a Path) -> Self {
        Self {
            base,
            maps: Vec::new(),
            tables: Vec::new(),
            files: Vec::new(),
            variables: Vec::new(),
            process: Process::default(),
            users: Vec::new(),
            conditions: Vec::new(),
            facts: Vec::new(),
            public_keys: Arc::default(),
            links: Links::default(),
            owner: None,
            files_are: Files::Read,
        }
    }

    /// One for what is said while lb runs: whoever says it has no right to read files as lb, and some of those never end.
    pub fn without_files() -> Self {
        Self {
            files_are: Files::Refused,
            ..Self::new(Path::new(""))
        }
    }

    /// One for who wants to know an expression's type alone: whatever it names is taken to be there.
    pub(super) fn imagined() -> Self {
        Self {
            files_are: Files::Imagined,
            owner: Some(String::new()),
            ..Self::new(Path::new(""))
        }
    }

    /// Whether files may be read.
    pub(super) fn reads_files(&self) -> bool {
        self.files_are == Files::Read
    }

    /// Whether maps are to be had, be it imagined ones.
    pub(super) fn has_maps(&self) -> bool {
        self.files_are != Files::Refused
    }

    /// A path of the file.
    pub fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }

    /// The map in a file, read once however often it is named.
    pub fn map(&mut self, path: &str, how: How, output: Output) -> Result<Arc<Map>, Problem> {
        self.read(path, how, false, output)
    }

    /// The list of patterns in a file.
    pub fn list(&mut self, path: &str, how: How, ignore_case: bool) -> Result<Arc<Map>, Problem> {
        self.read(path, how, ignore_case, Output::Nothing)
    }

    fn read(
        &mut self,
        path: &str,
        how: How,
        ignore_case: bool,
        output: Output,
    ) -> Result<Arc<Map>, Problem> {
        let path = self.path(path);
        let same = |map: &&Arc<Map>| map.is(&path, how, ignore_case, output);
        if let Some(map) = self.maps.iter().find(same) {
            return Ok(Arc::clone(map));
        }
        let map = Arc::new(match self.files_are {
            Files::Imagined => Map::empty(path, how, ignore_case, output),
            _ => Map::read(path, how, ignore_case, output)?,
        });
        self.maps.push(Arc::clone(&map));
        Ok(map)
    }

    /// Whatever is read from a file, for rules to change.
    pub fn live(&mut self, path: &str) -> Arc<Live> {
        let path = self.path(path);
        if let Some(file) = self.files.iter().find(|file| file.path() == path) {
            return Arc::clone(file);
        }
        let file = Arc::new(Live::new(&path));
        self.files.push(Arc::clone(&file));
        file
    }

    /// All maps.
    pub fn maps(&self) -> &[Arc<Map>] {
        &self.maps
    }

    /// The table of a name, which may be declared later.
    pub fn table(&mut self, name: &str) -> Arc<Handle> {
        if let Some(table) = self.tables.iter().find(|table| table.name() == name) {
            return Arc::clone(table);
        }
        let table = Arc::new(Handle::new(name));
        self.tables.push(Arc::clone(&table));
        table
    }

    /// The proxy whose keys are read from here on.
    pub fn set_owner(&mut self, name: &str) {
        self.owner = Some(name.to_owned());
    }

    /// The table of a name, or where none is written that of the proxy itself.
    pub(super) fn table_or_own(
        &mut self,
        name: Option<&str>,
        fetch: &str,
    ) -> Result<Arc<Handle>, Problem> {
        let name = name.map(str::to_owned).or_else(|| self.owner.clone());
        let name = name.ok_or_else(|| {
            Problem::new(
                format!("`{fetch}` needs a table's name"),
                format!("write `{fetch}(TABLE)`"),
            )
        })?;
        Ok(self.table(&name))
    }

    /// All tables that were declared or named.
    pub fn tables(&self) -> &[Arc<Handle>] {
        &self.tables
    }

    /// The names of all variables, in the order of their numbers.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// The variables of the process, and what they are set to first.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Sets one of them before anything else is done.
    pub fn set_first(&mut self, var: Var, value: Template) {
        self.process.first.push((var, value));
    }

    /// A variable: `txn.name`.
    pub fn var(&mut self, name: &str) -> Result<Var, Problem> {
        let mend =
            "write `proc.`, `sess.`, `txn.`, `req.` or `res.` and a name, `check.` in a check";
        let (scope, rest) = name
            .split_once('.')
            .ok_or_else(|| Problem::new(format!("the variable `{name}` has no scope"), mend))?;
        let scope = match scope {
            "proc" => None,
            "sess" => Some(Scope::Session),
            "txn" => Some(Scope::Transaction),
            "req" => Some(Scope::Request),
            "res" => Some(Scope::Response),
            "check" => Some(Scope::Check),
            _ => {
                return Err(Problem::new(
                    format!("`{scope}` is no scope of a variable"),
                    mend,
                ));
            }
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if rest.is_empty() || !rest.bytes().all(good) {
            return Err(Problem::new(
                format!("`{name}` cannot be the name of a variable"),
                "write letters, digits, `_` and `.`",
            ));
        }
        let Some(scope) = scope else {
            let found = self
                .process
                .named
                .iter()
                .find(|shared| shared.name() == rest);
            let shared = found.map(Arc::clone).unwrap_or_else(|| {
                let shared = Arc::new(Shared::new(rest));
                self.process.named.push(Arc::clone(&shared));
                shared
            });
            return Ok(Var::Process(shared));
        };
        let found = self.variables.iter().position(|known| known == rest);
        let index = found.unwrap_or_else(|| {
            self.variables.push(rest.to_owned());
            self.variables.len() - 1
        });
        u16::try_from(index)
            .map(|index| Var::Own(VarId { index, scope }))
            .map_err(|_| Problem::new("there are too many variables", "use fewer"))
    }

    /// Declares a list of users.
    pub fn add_users(&mut self, name: &str, users: Users) {
        self.users.push((name.to_owned(), Arc::new(users)));
    }

    /// A list of users.
    pub fn users(&self, name: &str) -> Option<Arc<Users>> {
        if self.files_are == Files::Imagined {
            return Users::new(Vec::new()).ok().map(Arc::new);
        }
        let found = self.users.iter().find(|(known, _)| known == name);
        found.map(|(_, users)| Arc::clone(users))
    }

    /// The conditions that have names, of one frontend or backend.
    pub fn set_conditions(&mut self, conditions: Vec<(String, Arc<Condition>)>) {
        self.conditions = conditions;
    }

    /// Names one condition more.
    pub fn add_condition(&mut self, name: &str, condition: Arc<Condition>) {
        self.conditions.push((name.to_owned(), condition));
    }

    /// A condition by its name.
    pub fn condition(&self, name: &str) -> Option<Arc<Condition>> {
        let found = self.conditions.iter().find(|(known, _)| known == name);
        found.map(|(_, condition)| Arc::clone(condition))
    }

    /// The names of conditions.
    pub fn condition_names(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().map(|(name, _)| name.as_str())
    }

    /// The public keys that tokens are verified by.
    pub(super) fn public_keys(&self) -> Arc<PublicKeys> {
        Arc::clone(&self.public_keys)
    }

    /// What rules ask of connections that somebody has to remember for them.
    pub fn links(&self) -> Links {
        self.links
    }

    /// The same, to add to.
    pub fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }

    pub(super) fn uses(&mut self, fact: &Fact) {
        self.facts.push(fact.clone());
    }

    /// The proxies and servers that were named since the last call.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }
}
