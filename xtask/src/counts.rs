//! Reads from what a test runner printed how many tests passed, failed and were skipped.

use std::fmt;
use std::ops::AddAssign;

/// Tests by outcome; a check that is no test counts as one when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Ran and succeeded.
    pub(crate) passed: u64,
    /// Ran and failed, or could not be run.
    pub(crate) failed: u64,
    /// Did not run: ignored, filtered out, or not possible on this machine.
    pub(crate) skipped: u64,
}

impl Counts {
    /// The sum over every summary in a runner's output: libtest's or nextest's. None if there is no summary, as when
    /// something did not compile.
    pub(crate) fn read(output: &str) -> Option<Self> {
        let mut summaries = output
            .lines()
            .filter_map(|line| libtest(line).or_else(|| nextest(line)))
            .peekable();
        summaries.peek()?;
        Some(summaries.fold(Self::default(), |mut sum, counts| {
            sum += counts;
            sum
        }))
    }

    /// Moves tests that ended early because the machine lacks something from the passed to the skipped: to a runner they
    /// are alike.
    pub(crate) fn skip(&mut self, tests: u64) {
        let moved = tests.min(self.passed);
        self.passed -= moved;
        self.skipped += moved;
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// The lines by which tests say that this machine cannot run them: `skipped: TEST: REASON`.
pub(crate) fn skips(output: &str) -> impl Iterator<Item = &str> {
    output
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("skipped: "))
}

/// The tests that passed only when they were run again, as nextest lists them after its summary:
/// `FLAKY 2/2 [   1.5s] CRATE::BINARY TEST`.
pub(crate) fn flaky(output: &str) -> impl Iterator<Item = &str> {
    let after = output
        .rfind("Summary [")
        .map_or("", |summary| &output[summary..]);
    after.lines().filter_map(|line| {
        let (_, test) = line.trim_start().strip_prefix("FLAKY ")?.split_once("] ")?;
        Some(test.trim())
    })
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s`
fn libtest(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    tally(numbers, ';')
}

/// `Summary [   0.012s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 2 skipped`
fn nextest(line: &str) -> Option<Counts> {
    let (_, numbers) = line
        .trim_start()
        .strip_prefix("Summary [")?
        .split_once(" run: ")?;
    let mut outside = String::new();
    let mut depth = 0_u32;
    for c in numbers.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            c if depth == 0 => outside.push(c),
            _ => {}
        }
    }
    tally(&outside, ',')
}

/// Adds up `NUMBER WORDS` between separators; words that are no outcome are passed over.
fn tally(numbers: &str, separator: char) -> Option<Counts> {
    let mut counts = Counts::default();
    for part in numbers.split(separator) {
        let Some((number, outcome)) = part.trim().split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match outcome.trim() {
            "passed" => counts.passed += number,
            "failed" | "exec failed" | "timed out" => counts.failed += number,
            "skipped" | "ignored" | "filtered out" => counts.skipped += number,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_summaries_are_added_up() {
        let output = "running 5 tests\n\
            test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s\n\
            test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s\n";
        assert_eq!(
            Counts::read(output),
            Some(Counts {
                passed: 6,
                failed: 2,
                skipped: 4
            })
        );
    }

    #[test]
    fn nextest_summaries_are_read_with_their_remarks() {
        let output = "────\n     Summary [   0.012s] 7 tests run: 4 passed (1 slow, 1 leaky), 1 failed, 1 exec failed, 1 timed out, 2 skipped\n";
        assert_eq!(
            Counts::read(output),
            Some(Counts {
                passed: 4,
                failed: 3,
                skipped: 2
            })
        );
        let none = "     Summary [   0.000s] 0 tests run: 0 passed, 5 skipped\n";
        assert_eq!(
            Counts::read(none),
            Some(Counts {
                passed: 0,
                failed: 0,
                skipped: 5
            })
        );
    }

    #[test]
    fn output_without_a_summary_is_no_count() {
        assert_eq!(
            Counts::read("error[E0425]: cannot find value `x` in this scope\n"),
            None
        );
    }

    #[test]
    fn tests_that_pass_at_the_second_attempt_are_named_once() {
        let output = "   FLAKY 2/2 [   1.510s] lb-tests::e2e other::test\n────\n\
            \x20    Summary [   0.012s] 7 tests run: 7 passed (1 flaky), 2 skipped\n\
            \x20  FLAKY 2/2 [   1.510s] (59/151) lb-tests::e2e flood::a_flood\n";
        assert_eq!(
            flaky(output).collect::<Vec<_>>(),
            ["(59/151) lb-tests::e2e flood::a_flood"]
        );
        assert_eq!(flaky("").count(), 0);
    }

    #[test]
    fn tests_that_say_they_were_skipped_are_not_passed() {
        let output = "  stderr ───\n    skipped: e2e::nat: this kernel loads no XDP program\nPASS e2e::other\n";
        assert_eq!(
            skips(output).collect::<Vec<_>>(),
            ["e2e::nat: this kernel loads no XDP program"]
        );
        let mut counts = Counts {
            passed: 2,
            failed: 0,
            skipped: 0,
        };
        counts.skip(1);
        assert_eq!(counts.to_string(), "1 passed, 0 failed, 1 skipped");
    }
}
