//! Where a subject is built: the learner's own tree, or a scratch copy that somebody else's files were put into.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::catalogue::Scenario;
use crate::compile::{Built, Side};
use crate::errors::Error;
use crate::scratch::Scratch;
use crate::terminal::Screen;
use crate::workbook::Workbook;
use crate::{palette, stale, submission};

/// A workspace, and what has to be said about the subjects in it.
pub struct Room {
    pub root: PathBuf,
    pub target: PathBuf,
    side: Side,
    refused: BTreeMap<String, String>,
    notes: BTreeMap<String, Vec<String>>,
    /// Held for as long as what lies in the scratch copy is graded.
    _scratch: Option<Scratch>,
}

impl Room {
    pub async fn prepare(
        workbook: &Workbook,
        side: Side,
        scenarios: &[Scenario],
        submission: Option<&Path>,
        screen: &Screen,
    ) -> Result<Room, Error> {
        if let (Some(folder), [scenario]) = (submission, scenarios) {
            return Room::of_submission(workbook, scenario, folder, screen).await;
        }
        let mut room = Room {
            root: workbook.root.clone(),
            target: workbook.target.clone(),
            side,
            refused: BTreeMap::new(),
            notes: BTreeMap::new(),
            _scratch: None,
        };
        for scenario in scenarios {
            stale::refresh(&room.target, &scenario.slug, &scenario.exercise)?;
            stale::refresh(
                &room.target,
                &format!("{}-solution", scenario.slug),
                &scenario.solution,
            )?;
            if side == Side::Exercise
                && let Err(why) = foreign_dependencies(workbook, scenario)?
            {
                room.refused.insert(scenario.id.clone(), why);
            }
        }
        Ok(room)
    }

    async fn of_submission(
        workbook: &Workbook,
        scenario: &Scenario,
        folder: &Path,
        screen: &Screen,
    ) -> Result<Room, Error> {
        let overlay = submission::take(&workbook.root, scenario, folder)?;
        let scratch = Scratch::prepare(workbook, screen).await?;
        let mut room = Room {
            root: scratch.root.clone(),
            target: scratch.target.clone(),
            side: Side::Exercise,
            refused: BTreeMap::new(),
            notes: BTreeMap::new(),
            _scratch: None,
        };
        match overlay {
            Ok(overlay) => {
                scratch.lay(scenario, &overlay)?;
                room.notes.insert(scenario.id.clone(), overlay.notes);
            }
            Err(why) => {
                room.refused.insert(scenario.id.clone(), why);
            }
        }
        room._scratch = Some(scratch);
        Ok(room)
    }

    /// Remembers what a subject was built from, if it was built.
    pub fn built(&self, scenario: &Scenario, built: &Built) -> Result<(), Error> {
        if !built.programs.contains_key(&scenario.hidden_package()) {
            return Ok(());
        }
        match self.side {
            Side::Exercise => stale::remember(&self.target, &scenario.slug, &self.exercise(scenario)),
            Side::Reference => {
                let package = format!("{}-solution", scenario.slug);
                stale::remember(&self.target, &package, &scenario.solution)
            }
        }
    }

    pub fn exercise(&self, scenario: &Scenario) -> PathBuf {
        self.root.join("exercises").join(&scenario.id)
    }

    /// Why this subject was not even compiled.
    pub fn refused(&self, scenario: &Scenario) -> Option<String> {
        self.refused.get(&scenario.id).cloned()
    }

    pub fn notes_of(&self, scenario: &Scenario) -> Vec<String> {
        self.notes.get(&scenario.id).cloned().unwrap_or_default()
    }

    /// What was compiled into the subject that must not be: a file outside its own folder, code that runs before main.
    pub fn reaches_outside(&self, scenario: &Scenario, built: &Built) -> Option<String> {
        if self.side == Side::Reference {
            return None;
        }
        let folder = self.exercise(scenario);
        let libraries = built.libraries.get(&scenario.slug)?;
        if stale::runs_before_main(libraries) {
            return Some(
                "the submission has code that runs before main (a section such as .init_array)".to_owned(),
            );
        }
        stale::sources_outside(&self.root, &folder, libraries).map(|file| {
            format!(
                "the submission reads {} while it compiles, which is not part of it",
                file.display()
            )
        })
    }
}

/// A learner's own Cargo.toml may add what the palette holds, and nothing else.
fn foreign_dependencies(workbook: &Workbook, scenario: &Scenario) -> Result<Result<(), String>, Error> {
    let read = |file: &Path| {
        std::fs::read_to_string(file)
            .map_err(|error| Error::slip(file, format!("failed to read it: {error}")))
    };
    let ours = read(&scenario.solution.join("Cargo.toml"))?;
    let theirs = read(&scenario.cargo_manifest())?;
    Ok(palette::merge(&ours, &theirs, &palette::read(&workbook.root)?).map(drop))
}
