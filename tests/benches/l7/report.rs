//! The table, and the same as JSON.

use serde_json::{Value, json};

use crate::stand::Figures;

/// From this share of a core on, others have spoilt a figure.
const DISTURBED: f64 = 0.1;

pub(crate) struct Report {
    /// It is about what each feature of lb costs.
    features: bool,
    /// By case, in order; in it by who was measured.
    cases: Vec<(&'static str, Vec<Row>)>,
}

struct Row {
    peer: String,
    turns: Vec<Figures>,
}

impl Row {
    /// The least, the median and the most of a figure.
    fn spread(&self, figure: impl Fn(&Figures) -> f64) -> [f64; 3] {
        let mut all: Vec<f64> = self.turns.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        let at = |i: usize| all.get(i).copied().unwrap_or(f64::NAN);
        [at(0), at(all.len() / 2), at(all.len().saturating_sub(1))]
    }

    fn us(&self) -> f64 {
        self.spread(|figures| figures.us)[1]
    }

    fn is_ours(&self) -> bool {
        self.peer.starts_with("lb")
    }

    /// Whether it is compared with `other`: the bare with the bare, the full with the full; a feature with none.
    fn compares(&self, other: &Row, features: bool) -> bool {
        match features {
            true => self.peer != "lb" && other.peer == "lb",
            false => self.is_full() == other.is_full() && !other.is_ours(),
        }
    }

    /// Whether it writes a line a request.
    fn logs(&self) -> bool {
        self.is_full() || self.peer.ends_with("+log")
    }

    fn is_full(&self) -> bool {
        self.peer.ends_with(" full")
    }
}

impl Report {
    /// Nothing yet, of what others need or of what each feature adds.
    pub(crate) fn new(features: bool) -> Report {
        Report {
            features,
            cases: Vec::new(),
        }
    }

    /// One more turn.
    pub(crate) fn add(&mut self, case: &'static str, peer: String, figures: Figures) {
        let at = match self.cases.iter().position(|(name, _)| *name == case) {
            Some(at) => at,
            None => {
                self.cases.push((case, Vec::new()));
                self.cases.len() - 1
            }
        };
        let rows = &mut self.cases[at].1;
        match rows.iter_mut().find(|row| row.peer == peer) {
            Some(row) => row.turns.push(figures),
            None => rows.push(Row {
                peer,
                turns: vec![figures],
            }),
        }
    }

    /// Prints all.
    pub(crate) fn conclude(self) -> Value {
        let beside = match self.features {
            true => "our median as a share of what lb needs without any feature",
            false => {
                "our median as a share of the best other's with the same features, below 1 is better"
            }
        };
        println!(
            "microseconds of processor time a request, least/median/most of the rounds; beside: {beside};\nbusy: how much \
             of its core it used\n"
        );
        println!(
            "{:<10} {:<13} {:>16} {:>7} {:>10} {:>5} {:>6}",
            "case", "who", "µs/request", "beside", "requests/s", "busy", "lines"
        );
        let (mut json, mut disturbed) = (Vec::new(), 0);
        for (case, rows) in &self.cases {
            for row in rows {
                let [least, median, most] = row.spread(|figures| figures.us);
                let others = rows
                    .iter()
                    .filter(|other| row.compares(other, self.features));
                let best = others.map(Row::us);
                let best = best.fold(f64::INFINITY, f64::min);
                let beside = (row.is_ours() && best.is_finite()).then_some(median / best);
                let [_, pace, _] = row.spread(|figures| figures.pace);
                let [_, busy, _] = row.spread(|figures| figures.busy);
                let [_, foreign, _] = row.spread(|figures| figures.foreign);
                let [_, lines, _] = row.spread(|figures| figures.lines);
                disturbed += u32::from(foreign > DISTURBED);
                println!(
                    "{case:<10} {:<13} {:>16} {:>7} {pace:>10.0} {busy:>5.2} {:>6}",
                    row.peer,
                    format!("{least:.1}/{median:.1}/{most:.1}"),
                    beside.map_or_else(|| "-".to_owned(), |beside| format!("{beside:.2}")),
                    match row.logs() {
                        true => format!("{lines:.2}"),
                        false => "-".to_owned(),
                    },
                );
                json.push(json!({
                    "case": case,
                    "who": row.peer,
                    "us_per_request": { "least": least, "median": median, "most": most },
                    "beside_best": beside,
                    "requests_per_second": pace,
                    "busy": busy,
                    "others_on_its_core": foreign,
                    "log_lines_per_request": lines,
                    "rounds": row.turns.len(),
                }));
            }
            println!();
        }
        if disturbed > 0 {
            println!(
                "something else took more than a tenth of the core during {disturbed} of them: measure again in peace"
            );
        }
        json!({ "cases": json })
    }
}
