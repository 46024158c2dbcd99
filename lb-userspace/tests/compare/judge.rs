//! What differs between ours and HAProxy's, and whether it is meant to.

use std::fmt::Write as _;

use crate::{
    case::{Deviation, EVERYTHING, Setup},
    run::Outcome,
};

/// What came of a comparison.
#[derive(Default)]
pub(crate) struct Verdict {
    /// Differences that are in the list.
    pub(crate) meant: usize,
    /// Those that are not, and entries of the list that are no more.
    pub(crate) count: usize,
    /// All of the latter, told.
    pub(crate) told: String,
}

/// Compares case by case.
pub(crate) fn judge(setup: &Setup, ours: &[Outcome], theirs: &[Outcome]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut used = vec![0; setup.deviations.len()];
    for (case, (ours, theirs)) in setup.cases.iter().zip(ours.iter().zip(theirs)) {
        let mut fields: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
        fields.sort();
        fields.dedup();
        let mut said = String::new();
        let status = |outcome: &Outcome| {
            outcome
                .get("1 status")
                .cloned()
                .unwrap_or_else(|| "-".into())
        };
        let (status, their_status) = (status(ours), status(theirs));
        let whole = |d: &Deviation| d.allows(&case.name, EVERYTHING, &status, &their_status);
        if let Some(i) = setup
            .deviations
            .iter()
            .position(whole)
            .filter(|_| ours != theirs)
        {
            used[i] += 1;
            verdict.meant += 1;
            continue;
        }
        for field in fields {
            let of =
                |outcome: &'_ Outcome| outcome.get(field).cloned().unwrap_or_else(|| "-".into());
            let (ours, theirs) = (of(ours), of(theirs));
            if ours == theirs {
                continue;
            }
            let meant = |d: &Deviation| d.allows(&case.name, field, &ours, &theirs);
            if ALWAYS.iter().any(meant) || setup.is_of_corpus() && OF_CORPUS.iter().any(meant) {
                continue;
            }
            if let Some(i) = setup.deviations.iter().position(meant) {
                used[i] += 1;
                verdict.meant += 1;
                continue;
            }
            verdict.count += 1;
            let _ = writeln!(
                said,
                "    {field}:\n      ours   {ours:?}\n      theirs {theirs:?}"
            );
        }
        if !said.is_empty() {
            let _ = writeln!(verdict.told, "  {:?} at {}\n{said}", case.name, case.at);
        }
    }
    for (deviation, _) in setup
        .deviations
        .iter()
        .zip(&used)
        .filter(|(_, used)| **used == 0)
    {
        verdict.count += 1;
        let _ = writeln!(
            verdict.told,
            "  no more: {} in {:?} ({})",
            deviation.field, deviation.cases, deviation.why
        );
    }
    verdict
}

/// What differs everywhere.
const ALWAYS: &[Deviation] = &[Deviation {
    cases: &["HTTP/1.0", "1.0"],
    field: "1 version",
    ours: "HTTP/1.0",
    theirs: "HTTP/1.1",
    why: "hyper answers a client that speaks HTTP/1.0 in that version, HAProxy in its own; RFC 9110 section 6.2 allows both",
}];

/// What differs all over the corpus; the setups have each of these in their own lists.
const OF_CORPUS: &[Deviation] = &[
    Deviation {
        cases: &["http://"],
        field: "seen 1 line",
        ours: "*",
        theirs: "GET http://*",
        why: "servers get the path and the host of a target that has both, as RFC 9112 section 3.2.2 wants it from a gateway",
    },
    Deviation {
        cases: &["POST", "PUT", "PATCH", "REPORT"],
        field: "1 header connection",
        ours: "-",
        theirs: "close",
        why: "the body of what was answered here is read and dropped, and the connection goes on",
    },
    Deviation {
        cases: &[],
        field: "kept",
        ours: "true",
        theirs: "false",
        why: "the body of what was answered here is read and dropped, and the connection goes on",
    },
];
