//! `.ci/verified.toml`: of which very files each scenario was last found as declared, whole.
//!
//! It is committed. CI proves again, in full, only what differs from it (`verify --changed`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::proving::Asked;
use super::row::Row;
use crate::errors::Error;
use crate::fingerprint;
use crate::workbook::Workbook;

const HEAD: &str = "\
# Which scenarios `cargo xtask verify` found as declared, whole, and a hash of all files that this depends on.
# Written by `cargo xtask verify --record-proof`; `cargo xtask verify --changed` proves in full what differs.
";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proved {
    hash: String,
    /// How many rows were as declared.
    rows: usize,
    repeat: u32,
}

fn file(workbook: &Workbook) -> PathBuf {
    workbook.root.join(".ci").join("verified.toml")
}

fn read(workbook: &Workbook) -> Result<BTreeMap<String, Proved>, Error> {
    let file = file(workbook);
    match std::fs::read_to_string(&file) {
        Ok(text) => toml::from_str(&text).map_err(|error| Error::slip(&file, error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(Error::slip(&file, format!("failed to read it: {error}"))),
    }
}

fn hash(workbook: &Workbook, asked: &Asked) -> Result<String, Error> {
    Ok(fingerprint::of_whole(workbook, &asked.scenario, &asked.variants)?.hex())
}

/// Marks the scenarios that stand proved as they are.
pub fn shorten(workbook: &Workbook, all: &mut [Asked]) -> Result<(), Error> {
    let proved = read(workbook)?;
    for asked in all {
        let hash = hash(workbook, asked)?;
        asked.short = proved
            .get(&asked.scenario.id)
            .is_some_and(|proved| proved.hash == hash);
    }
    Ok(())
}

/// Writes down the scenarios that were judged whole and are as declared, and strikes those that are not.
pub fn write(workbook: &Workbook, all: &[Asked], rows: &[Row], repeat: u32) -> Result<(), Error> {
    let mut proved = read(workbook)?;
    for asked in all.iter().filter(|asked| !asked.short) {
        let id = &asked.scenario.id;
        let mine: Vec<&Row> = rows.iter().filter(|row| &row.scenario == id).collect();
        // Papers, exercise, reference, and every variant.
        let whole = mine.len() == asked.variants.len() + 3;
        if whole && mine.iter().all(|row| row.is_as_declared()) {
            let entry = Proved {
                hash: hash(workbook, asked)?,
                rows: mine.len(),
                repeat,
            };
            proved.insert(id.clone(), entry);
        } else {
            proved.remove(id);
        }
    }
    let file = file(workbook);
    let body = toml::to_string(&proved).map_err(|error| Error::slip(&file, error.to_string()))?;
    let written = std::fs::create_dir_all(workbook.root.join(".ci"))
        .and_then(|()| std::fs::write(&file, format!("{HEAD}\n{body}")));
    written.map_err(|error| Error::slip(&file, format!("failed to write it: {error}")))
}
