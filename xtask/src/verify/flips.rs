//! The same subject, run again and again: what is not the same every time.

use std::collections::BTreeMap;

use super::declared::Slip;

/// What was found over all runs of one subject.
#[derive(Debug, Default)]
pub struct Tally {
    runs: u32,
    found: BTreeMap<String, Found>,
    /// How often each check and budget was judged.
    judged: BTreeMap<String, u32>,
}

#[derive(Debug)]
struct Found {
    times: u32,
    /// The first of them: its words, its run and its seed.
    what: String,
    run: u32,
    seed: u64,
}

impl Tally {
    /// One run more, in which `judged` were judged.
    pub fn add<'a>(&mut self, seed: u64, judged: impl IntoIterator<Item = &'a str>, slips: Vec<Slip>) {
        self.runs += 1;
        for name in judged {
            *self.judged.entry(name.to_owned()).or_default() += 1;
        }
        // Two slips about one thing in one run are one occasion; the words of both are kept.
        let mut of_this_run: BTreeMap<String, String> = BTreeMap::new();
        for Slip { about, what } in slips {
            let words = of_this_run.entry(about).or_default();
            if !words.is_empty() {
                words.push_str("; ");
            }
            words.push_str(&what);
        }
        for (about, what) in of_this_run {
            let found = self.found.entry(about).or_insert(Found {
                times: 0,
                what,
                run: self.runs,
                seed,
            });
            found.times += 1;
        }
    }

    /// The slips, those that did not come every time marked as flips with their counts.
    pub fn slips(self) -> Vec<String> {
        let whole = self.runs;
        self.found
            .into_iter()
            .map(|(about, found)| {
                let of = self.judged.get(&about).copied().unwrap_or(whole);
                match (found.times, of) {
                    (1, 1) => found.what,
                    (times, of) if times == of => format!("{of} of {of}: {}", found.what),
                    (times, of) => format!(
                        "flip, {times} of {of}: {} (first in run {}, seed {})",
                        found.what, found.run, found.seed
                    ),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slip(about: &str) -> Slip {
        Slip::new(about, format!("{about} fails: seen"))
    }

    #[test]
    fn flips_are_counted_per_check() {
        let mut tally = Tally::default();
        for run in 0..20 {
            let slips = match run {
                3 | 7 | 19 => vec![slip("a"), slip("always")],
                _ => vec![slip("always")],
            };
            tally.add(100 + run, ["a", "always", "never"], slips);
        }
        assert_eq!(
            tally.slips(),
            [
                "flip, 3 of 20: a fails: seen (first in run 4, seed 103)",
                "20 of 20: always fails: seen"
            ]
        );
    }

    #[test]
    fn a_check_that_was_judged_once_is_told_without_counts() {
        let mut tally = Tally::default();
        tally.add(1, ["once", "again"], vec![slip("once")]);
        tally.add(2, ["again"], vec![]);
        assert_eq!(tally.slips(), ["once fails: seen"]);
    }

    #[test]
    fn two_words_about_one_check_in_one_run_are_one_occasion() {
        let mut tally = Tally::default();
        tally.add(1, ["a"], vec![slip("a"), Slip::new("a", "and more")]);
        tally.add(2, ["a"], vec![]);
        assert_eq!(
            tally.slips(),
            ["flip, 1 of 2: a fails: seen; and more (first in run 1, seed 1)"]
        );
    }
}
