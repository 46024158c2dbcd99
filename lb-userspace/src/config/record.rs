//! What readers ask of a tree while tests record it: the one source of the JSON Schema. Nothing of this is in the daemon.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use super::tree::{Entry, Node};

/// How a single value was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    Boolean,
    Number(i64, i64),
    Choice(Vec<String>),
}

/// All that was asked.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Keeps what the numbers below stand for where it is.
    pub(super) roots: Vec<Rc<Node>>,
    /// Keys that mappings may have, by where their entries lie.
    pub(super) tables: HashMap<usize, BTreeSet<&'static str>>,
    /// How single values were read, by where they lie.
    pub(super) values: HashMap<usize, Vec<Read>>,
}

thread_local! {
    static RECORD: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// What is asked while `work` is done, in this thread.
pub(super) fn recorded(work: impl FnOnce()) -> Record {
    RECORD.with(|record| *record.borrow_mut() = Some(Record::default()));
    work();
    RECORD
        .with(|record| record.borrow_mut().take())
        .unwrap_or_default()
}

fn with(note: impl FnOnce(&mut Record)) {
    RECORD.with(|record| {
        if let Some(record) = &mut *record.borrow_mut() {
            note(record);
        }
    });
}

pub(super) fn root(root: &Rc<Node>) {
    with(|record| record.roots.push(Rc::clone(root)));
}

pub(super) fn table(entries: &[Entry], keys: &[&'static str]) {
    with(|record| {
        let known = record.tables.entry(entries.as_ptr() as usize).or_default();
        known.extend(keys);
    });
}

pub(super) fn value(node: &Node, read: Read) {
    with(|record| {
        let reads = record.values.entry(std::ptr::from_ref(node) as usize);
        reads.or_default().push(read);
    });
}
