//! What an interrupted run had judged, so that the next one goes on from there.
//!
//! The file is written after every row and removed when a run ends: rows are never carried from one whole run into
//! another. A row counts only for the very files, program and question that it was judged with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::row::Row;
use crate::fingerprint::Fingerprint;
use crate::workbook::Workbook;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Part {
    seed: u64,
    /// `scenario/subject` → what it was judged of, and how.
    rows: BTreeMap<String, Kept>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    of: String,
    row: Row,
}

/// The rows of this run, as they come about.
#[derive(Debug)]
pub struct Ledger {
    /// `None` where nothing is kept.
    file: Option<PathBuf>,
    part: Part,
    earlier: Part,
}

/// What the earlier part says about a subject.
#[derive(Debug, PartialEq)]
pub enum Before {
    /// Nothing, or something about other files.
    Unknown,
    /// It was as declared.
    Row(Box<Row>),
    /// It was not: it is judged again, and may not get away with it.
    Slips(Vec<String>),
}

impl Ledger {
    /// Opens the ledger of a run of `asked`, with the seed of the part that was interrupted unless another is asked for.
    pub fn open(
        workbook: &Workbook,
        asked: &[String],
        repeat: u32,
        seed: Option<u64>,
        fresh: bool,
    ) -> Ledger {
        let mut question = Fingerprint::new();
        for id in asked {
            question.add(id.as_bytes());
        }
        question.add(&repeat.to_le_bytes());
        let file = workbook
            .workshop()
            .join("verify")
            .join(format!("interrupted-{}.json", question.hex()));
        let text = std::fs::read(&file).unwrap_or_default();
        let mut earlier: Part = serde_json::from_slice(&text).unwrap_or_default();
        if fresh || seed.is_some_and(|seed| seed != earlier.seed) {
            earlier = Part::default();
        }
        let fallback = || match earlier.seed {
            0 => fastrand::u64(1..1_000_000),
            seed => seed,
        };
        Ledger {
            file: Some(file),
            part: Part {
                seed: seed.unwrap_or_else(fallback),
                rows: BTreeMap::new(),
            },
            earlier,
        }
    }

    /// One that keeps nothing: for runs of a few variants.
    pub fn none(seed: Option<u64>) -> Ledger {
        Ledger {
            file: None,
            part: Part {
                seed: seed.unwrap_or_else(|| fastrand::u64(1..1_000_000)),
                rows: BTreeMap::new(),
            },
            earlier: Part::default(),
        }
    }

    pub fn seed(&self) -> u64 {
        self.part.seed
    }

    /// How many rows the interrupted part holds; 0 when there is none.
    pub fn rows_before(&self) -> usize {
        self.earlier.rows.len()
    }

    /// What is known of a subject that consists of `of`.
    pub fn before(&self, scenario: &str, subject: &str, of: Fingerprint) -> Before {
        match self.earlier.rows.get(&format!("{scenario}/{subject}")) {
            Some(kept) if kept.of != of.hex() => Before::Unknown,
            Some(kept) if kept.row.is_as_declared() => Before::Row(Box::new(Row {
                earlier: true,
                ..kept.row.clone()
            })),
            Some(kept) => Before::Slips(kept.row.slips.clone()),
            None => Before::Unknown,
        }
    }

    /// Writes a row down, before anything else happens to it.
    pub fn put(&mut self, of: Fingerprint, row: &Row) -> std::io::Result<()> {
        let id = format!("{}/{}", row.scenario, row.subject);
        self.part.rows.insert(
            id,
            Kept {
                of: of.hex(),
                row: row.clone(),
            },
        );
        self.save()
    }

    /// What is still to be judged of the earlier part stays known, should this part be interrupted as well.
    fn save(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut rows: BTreeMap<&String, &Kept> = self.earlier.rows.iter().collect();
        rows.extend(&self.part.rows);
        let text = serde_json::to_vec(&serde_json::json!({ "seed": self.part.seed, "rows": rows }))?;
        let fresh = file.with_extension("json.new");
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, file)
    }

    /// The run has ended: nothing is kept.
    pub fn close(self) {
        if let Some(file) = self.file {
            std::fs::remove_file(file).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(text: &str) -> Fingerprint {
        let mut print = Fingerprint::new();
        print.add(text.as_bytes());
        print
    }

    fn workbook(folder: &tempfile::TempDir) -> Workbook {
        Workbook {
            root: folder.path().to_owned(),
            target: folder.path().join("target"),
        }
    }

    fn row(subject: &str, slips: &[&str]) -> Row {
        let slips = slips.iter().map(|slip| (*slip).to_owned()).collect();
        Row::of_slips("01-a", subject, "accepted", slips)
    }

    #[test]
    fn an_interrupted_run_goes_on_with_its_seed_and_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let open = |seed, fresh| Ledger::open(&workbook(&folder), &["01-a".to_owned()], 1, seed, fresh);
        let mut first = open(None, false);
        first.put(print("files"), &row("fine", &[])).unwrap();
        first.put(print("files"), &row("wrong", &["a slip"])).unwrap();
        let second = open(None, false);
        assert_eq!((second.seed(), second.rows_before()), (first.seed(), 2));
        let Before::Row(fine) = second.before("01-a", "fine", print("files")) else {
            panic!("the row is lost");
        };
        assert!(fine.earlier);
        assert_eq!(second.before("01-a", "fine", print("edited")), Before::Unknown);
        assert_eq!(second.before("01-a", "other", print("files")), Before::Unknown);
        assert_eq!(
            second.before("01-a", "wrong", print("files")),
            Before::Slips(vec!["a slip".to_owned()])
        );
        assert_eq!(open(None, true).rows_before(), 0);
        assert_eq!(open(Some(first.seed() + 1), false).rows_before(), 0);
        assert_eq!(open(Some(first.seed()), false).rows_before(), 2);
    }

    #[test]
    fn a_second_interruption_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Ledger::open(&workbook(&folder), &[], 1, None, false);
        open().put(print("files"), &row("one", &[])).unwrap();
        open().put(print("files"), &row("two", &[])).unwrap();
        assert_eq!(open().rows_before(), 2);
    }

    #[test]
    fn nothing_is_carried_over_from_a_run_that_ended_or_asked_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let open = |repeat| Ledger::open(&workbook(&folder), &[], repeat, None, false);
        let mut first = open(1);
        first.put(print("files"), &row("one", &[])).unwrap();
        assert_eq!(open(5).rows_before(), 0);
        first.close();
        assert_eq!(open(1).rows_before(), 0);
    }

    #[test]
    fn a_torn_file_is_no_part() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Ledger::open(&workbook(&folder), &[], 1, None, false);
        let mut first = open();
        first.put(print("files"), &row("one", &[])).unwrap();
        std::fs::write(first.file.as_ref().unwrap(), "{").unwrap();
        assert_eq!(open().rows_before(), 0);
    }
}
