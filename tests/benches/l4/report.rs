//! The table, and the same as JSON.

use serde_json::{Value, json};

use crate::case::{Aim, Beside, Case, Group};
use crate::measure::{Measured, Times};
use crate::rig::{Loaded, Target};
use crate::shape::{Family, Protocol};

/// What has been measured so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Value>,
    beside: Beside,
    missed: u32,
    aimed: u32,
    disturbed: u32,
}

const HEADER: [&str; 6] = ["case", "ns/packet", "calibration", "over", "best", "aim"];

impl Report {
    /// Prints what the columns are.
    pub(crate) fn introduce() {
        println!(
            "nanoseconds a packet; ns/packet and calibration: least/median/most of the rounds; over: difference of the \
             medians; best: of the least\n"
        );
        let [case, ns, calibration, over, best, aim] = HEADER;
        println!("{case:<58} {ns:>15}  {calibration:<19} {over:>5} {best:>5}  {aim}");
    }

    /// Prints a group that has been measured.
    pub(crate) fn add(&mut self, group: &Group, measured: &[Measured]) {
        for (case, measured) in group.cases.iter().zip(measured) {
            let over = measured.over();
            self.disturbed +=
                u32::from(measured.ns.is_disturbed() || measured.calibration.is_disturbed());
            let aim = self.aim(group, case, over);
            let verdict = match aim {
                None => "-".to_owned(),
                Some(aim) => {
                    self.aimed += 1;
                    self.missed += u32::from(over > aim);
                    format!(
                        "{aim:>4} {}",
                        if over <= aim { "reached" } else { "missed" }
                    )
                }
            };
            let name = format!("{}: {}", group.name, case.name);
            println!(
                "{name:<58} {:>15}  {:<4} {:>14} {over:>5} {:>5}  {verdict}",
                spread(&measured.ns),
                stub(case.over),
                spread(&measured.calibration),
                measured.best(),
            );
            self.rows.push(json!({
                "group": group.name,
                "case": case.name,
                "ns": figures(&measured.ns),
                "over": stub(case.over),
                "calibration": figures(&measured.calibration),
                "ns_over": over,
                "ns_over_best": measured.best(),
                "aim": aim,
            }));
        }
    }

    fn aim(&mut self, group: &Group, case: &Case, over: i64) -> Option<i64> {
        let key = (group.shape.mode, case.name.clone());
        match case.aim {
            Aim::Below(aim) => {
                if (group.shape.family, group.shape.protocol) == (Family::V4, Protocol::Tcp) {
                    self.beside.insert(key, over);
                }
                Some(aim)
            }
            Aim::None => None,
            Aim::Beside(more) => self.beside.get(&key).map(|measured| measured + more),
        }
    }

    /// Prints what loading took, and ends the table.
    pub(crate) fn conclude(self, loaded: &[Loaded]) -> Value {
        println!(
            "\n{:<16} {:>22} {:>14} {:>10}",
            "program", "instructions verified", "machine code", "load"
        );
        for program in loaded {
            let verified = program
                .verified
                .map_or_else(|| "kernel does not say".to_owned(), crate::case::thousands);
            println!(
                "{:<16} {verified:>22} {:>8} bytes {:>7} ms",
                program.name,
                program.jitted,
                program.took.as_millis()
            );
        }
        println!(
            "\n{} of {} aims reached; every packet took the way meant, by the program's own counters",
            self.aimed - self.missed,
            self.aimed
        );
        if self.disturbed > 0 {
            println!(
                "something else kept the machine busy during {} cases: their medians are a fifth above their least",
                self.disturbed
            );
        }
        let programs: Vec<Value> = loaded
            .iter()
            .map(|program| {
                json!({
                    "name": program.name,
                    "instructions_verified": program.verified,
                    "machine_code_bytes": program.jitted,
                    "load_ms": program.took.as_secs_f64() * 1e3,
                })
            })
            .collect();
        json!({ "cases": self.rows, "programs": programs })
    }
}

fn stub(target: Target) -> &'static str {
    match target {
        Target::FastPath => "lb",
        Target::Pass => "pass",
        Target::Send => "send",
        Target::Wrap => "wrap",
    }
}

fn spread(times: &Times) -> String {
    format!("{}/{}/{}", times.least(), times.median(), times.most())
}

fn figures(times: &Times) -> Value {
    json!({ "least": times.least(), "median": times.median(), "most": times.most() })
}
