use std::path::{Path, PathBuf};

use crate::errors::Error;

/// The folders that everything else is found from.
#[derive(Clone, Debug)]
pub struct Workbook {
    /// Holds `exercises/`, `solutions/`, `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Workbook {
    /// The workbook that the current folder lies in.
    pub fn find() -> Result<Workbook, Error> {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let root = here
            .ancestors()
            .find(|folder| folder.join("exercises").is_dir() && folder.join("Cargo.toml").is_file())
            .ok_or_else(|| Error::NoWorkbook {
                looked_from: here.clone(),
            })?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => here.join(target),
            None => root.join("target"),
        };
        Ok(Workbook {
            root: root.to_owned(),
            target,
        })
    }

    /// What the tools keep between runs and may lose: scratch copies, programs, states.
    pub fn workshop(&self) -> PathBuf {
        self.target.join("war-stories")
    }

    /// `path` as a person would type it from the root.
    pub fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}
