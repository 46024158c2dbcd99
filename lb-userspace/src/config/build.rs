//! Events to a tree: anchors, merge keys, keys written twice, and bounds on all that can grow.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::{
    diagnostic::Diagnostic,
    source::{Position, Span},
    tree::{Entry, Kind, Node, Scalar, position},
};

/// Deepest nesting; the format itself needs nine levels.
const MAX_DEPTH: usize = 32;
/// Most nodes, those that aliases repeat counted each time.
const MAX_NODES: usize = 2_000_000;

/// Why reading stopped.
pub(super) enum Failure {
    Scan(ScanError),
    Own(Box<Diagnostic>),
}

/// A collection that is not closed yet.
struct Frame {
    start: Marker,
    anchor: usize,
    contents: Contents,
}

enum Contents {
    Sequence(Vec<Rc<Node>>),
    Mapping {
        entries: Vec<Entry>,
        seen: HashMap<String, usize>,
        key: Option<Key>,
        merged: Vec<Rc<Node>>,
    },
}

/// A key that waits for its value.
enum Key {
    Named(String, Span),
    /// `<<`: the value's entries are taken over where the mapping has none of its own.
    Merge,
    /// Reported already.
    Bad,
}

/// Puts the events together.
pub(super) struct Builder<'a> {
    pub(super) root: Option<Rc<Node>>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
    documents: usize,
    pub(super) diagnostics: Vec<Diagnostic>,
    text: &'a [char],
    poisoned: &'a BTreeSet<usize>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(text: &'a [char], poisoned: &'a BTreeSet<usize>) -> Self {
        Builder {
            text,
            root: None,
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            documents: 0,
            diagnostics: Vec::new(),
            poisoned,
        }
    }

    pub(super) fn read<T: saphyr_parser::Input>(
        &mut self,
        mut parser: Parser<'_, T>,
    ) -> Result<(), Failure> {
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(Failure::Scan)?;
            self.event(event, span)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, marks: saphyr_parser::Span) -> Result<(), Failure> {
        let span = span(marks.start, marks.end);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(own(Diagnostic::error(
                        Span::at(span.start.line, span.start.column, 3),
                        "a second YAML document begins here",
                    )
                    .mend("a configuration is one document: remove this `---` line, or put the rest into a file of its own")));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let span = self.without_trailing_space(span, marks);
                let kind = match self
                    .poisoned
                    .range(marks.start.index()..marks.end.index())
                    .next()
                {
                    Some(_) => Kind::Poisoned,
                    None => {
                        let text_tag = tag
                            .as_ref()
                            .is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                        self.refuse_tag(span, tag.as_deref());
                        Kind::Scalar(Scalar {
                            text: text.into_owned(),
                            plain: plain && !text_tag,
                        })
                    }
                };
                self.value(Node::new(span, kind), anchor)?;
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.nodes = self.nodes.saturating_add(node.weight - 1);
                    self.value(node, 0)?;
                }
                None => {
                    self.diagnostics.push(
                        Diagnostic::error(
                            span,
                            "this alias is inside the value that it stands for",
                        )
                        .mend("write the value out where it is needed"),
                    );
                    self.value(Node::new(span, Kind::Poisoned), 0)?;
                }
            },
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(span, tag.as_deref());
                self.open(marks.start, anchor, Contents::Sequence(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(span, tag.as_deref());
                let contents = Contents::Mapping {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.open(marks.start, anchor, contents)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(marks.end)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// The scanner counts the blanks after a quoted scalar as part of it.
    fn without_trailing_space(&self, mut span: Span, marks: saphyr_parser::Span) -> Span {
        let mut at = marks.end.index();
        while span.end > span.start
            && at > 0
            && matches!(self.text.get(at - 1), Some(' ' | '\t'))
            && span.end.column > 1
        {
            at -= 1;
            span.end.column -= 1;
        }
        span
    }

    /// Where the innermost open collection begins.
    pub(super) fn open_bracket(&self) -> Option<(usize, Position)> {
        let frame = self.stack.last()?;
        let (mut at, mut place) = (frame.start.index(), position(frame.start));
        // Anchor and tag come before the bracket.
        while matches!(self.text.get(at), Some('&' | '!')) {
            let rest = self.text[at..].iter();
            let skipped = rest.clone().take_while(|c| !c.is_whitespace()).count();
            let skipped = skipped + rest.skip(skipped).take_while(|c| **c == ' ').count();
            at += skipped;
            place.column += skipped;
        }
        Some((at, place))
    }

    fn open(&mut self, start: Marker, anchor: usize, contents: Contents) -> Result<(), Failure> {
        if self.stack.len() >= MAX_DEPTH {
            let at = position(start);
            return Err(own(Diagnostic::error(
                Span::at(at.line, at.column, 1),
                format!("nested more than {MAX_DEPTH} levels deep"),
            )
            .mend(
                "no part of a configuration is that deep: look for a bracket too many",
            )));
        }
        self.stack.push(Frame {
            start,
            anchor,
            contents,
        });
        Ok(())
    }

    fn close(&mut self, end: Marker) -> Result<(), Failure> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let span = span(frame.start, end);
        let kind = match frame.contents {
            Contents::Sequence(items) => Kind::Sequence(items),
            Contents::Mapping {
                mut entries,
                mut seen,
                merged,
                ..
            } => {
                for node in merged {
                    self.merge(&node, &mut entries, &mut seen);
                }
                Kind::Mapping(entries)
            }
        };
        self.value(Node::new(span, kind), frame.anchor)
    }

    /// A plain text over several lines just before an error: most likely a key was taken for its second line.
    pub(super) fn poison_doubtful(&mut self) {
        let last = match self.stack.last_mut().map(|frame| &mut frame.contents) {
            Some(Contents::Sequence(items)) => items.last_mut(),
            Some(Contents::Mapping { entries, .. }) => {
                entries.last_mut().map(|entry| &mut entry.value)
            }
            None => None,
        };
        if let Some(node) = last
            && matches!(&node.kind, Kind::Scalar(scalar) if scalar.plain)
            && node.span.start.line != node.span.end.line
        {
            *node = Node::new(node.span, Kind::Poisoned);
        }
    }

    /// What was read before an error, as if it ended there.
    pub(super) fn close_all(&mut self) {
        while let Some(frame) = self.stack.last() {
            let end = frame.start;
            if self.close(end).is_err() {
                return;
            }
        }
    }

    /// Puts a finished node where it belongs.
    fn value(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Failure> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            return Err(own(Diagnostic::error(
                node.span,
                format!("more than {MAX_NODES} values"),
            )
            .mend("look for aliases that repeat each other")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.contents {
            Contents::Sequence(items) => items.push(node),
            Contents::Mapping {
                entries,
                seen,
                key,
                merged,
            } => match key.take() {
                None => *key = Some(read_key(&node, &mut self.diagnostics)),
                Some(Key::Bad) => {}
                Some(Key::Merge) => merged.push(node),
                Some(Key::Named(name, key_span)) => {
                    match seen.get(&name).and_then(|at| entries.get(*at)) {
                        Some(first) => self.diagnostics.push(
                            Diagnostic::error(
                                key_span,
                                format!(
                                    "`{name}` is written twice in one mapping, in lines {} and {}",
                                    first.key_span.start.line, key_span.start.line
                                ),
                            )
                            .also(first.key_span, "the first one is here")
                            .mend("keep one of them"),
                        ),
                        None => {
                            seen.insert(name.clone(), entries.len());
                            entries.push(Entry {
                                key: name,
                                key_span,
                                value: node,
                            });
                        }
                    }
                }
            },
        }
        Ok(())
    }

    /// `<<: *a` and `<<: [*a, *b]`: own keys win, then earlier ones (the YAML 1.1 merge type).
    fn merge(
        &mut self,
        node: &Rc<Node>,
        entries: &mut Vec<Entry>,
        seen: &mut HashMap<String, usize>,
    ) {
        match &node.kind {
            Kind::Mapping(theirs) => {
                for entry in theirs {
                    if !seen.contains_key(&entry.key) {
                        seen.insert(entry.key.clone(), entries.len());
                        entries.push(entry.clone());
                    }
                }
            }
            Kind::Sequence(items)
                if items
                    .iter()
                    .all(|item| matches!(item.kind, Kind::Mapping(_))) =>
            {
                for item in items {
                    self.merge(item, entries, seen);
                }
            }
            Kind::Poisoned => {}
            _ => self.diagnostics.push(
                Diagnostic::error(
                    node.span,
                    format!("`<<` merges mappings, this is {}", node.kind_name()),
                )
                .mend("write `<<: *name`, where `&name` marks a mapping above"),
            ),
        }
    }

    fn refuse_tag(&mut self, span: Span, tag: Option<&saphyr_parser::Tag>) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            self.diagnostics.push(
                Diagnostic::error(span, format!("the tag `{tag}` means nothing here"))
                    .mend("remove it, or quote the value if it begins with an exclamation mark"),
            );
        }
    }
}

fn read_key(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Key {
    match &node.kind {
        Kind::Poisoned => Key::Bad,
        Kind::Scalar(scalar) if scalar.plain && scalar.text == "<<" => Key::Merge,
        Kind::Scalar(scalar) if !scalar.text.is_empty() => {
            Key::Named(scalar.text.clone(), node.span)
        }
        _ => {
            let what = if matches!(node.kind, Kind::Scalar(_)) {
                "nothing"
            } else {
                node.kind_name()
            };
            diagnostics.push(
                Diagnostic::error(node.span, format!("a key must be a name, this is {what}"))
                    .mend("write `name: value`; a text that begins with `[` or `{` wants quotes"),
            );
            Key::Bad
        }
    }
}

fn own(diagnostic: Diagnostic) -> Failure {
    Failure::Own(Box::new(diagnostic))
}

fn span(start: Marker, end: Marker) -> Span {
    Span {
        start: position(start),
        end: position(end),
    }
}
