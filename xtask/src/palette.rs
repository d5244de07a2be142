//! The one change to an exercise's `Cargo.toml` that a fix may need: more dependencies, from the workbook's palette.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use crate::errors::Error;

/// What a submission's `Cargo.toml` came to.
#[derive(Debug, PartialEq)]
pub struct Merged {
    /// The exercise's own file with the added dependencies.
    pub text: String,
    /// Tables that differ and are ignored.
    pub ignored: Vec<String>,
}

/// The crates that any fix may use: the workspace's dependencies but those of the workbook itself.
pub fn read(root: &Path) -> Result<BTreeSet<String>, Error> {
    let file = root.join("Cargo.toml");
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Error::slip(&file, format!("failed to read it: {error}")))?;
    let table: Table = text
        .parse()
        .map_err(|error| Error::slip(&file, format!("{error}")))?;
    let dependencies = table
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"));
    let ours = |value: &Value| value.get("path").is_some();
    Ok(dependencies
        .and_then(Value::as_table)
        .into_iter()
        .flatten()
        .filter(|(_, value)| !ours(value))
        .map(|(name, _)| name.clone())
        .collect())
}

/// Lays the dependencies that `theirs` adds over `ours`.
///
/// # Errors
/// A sentence naming the crate or the line that cannot be taken.
pub fn merge(ours: &str, theirs: &str, palette: &BTreeSet<String>) -> Result<Merged, String> {
    let mut merged: Table = ours
        .parse()
        .map_err(|error| format!("the exercise's Cargo.toml: {error}"))?;
    let theirs: Table = theirs.parse().map_err(|error| format!("Cargo.toml: {error}"))?;
    let none = Value::Table(Table::new());
    let wanted = theirs
        .get("dependencies")
        .unwrap_or(&none)
        .as_table()
        .ok_or("Cargo.toml: `dependencies` is no table")?;
    let mut dependencies = merged
        .get("dependencies")
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    for (name, value) in wanted {
        let known = dependencies.get(name);
        if known == Some(value) {
            continue;
        }
        refuse_foreign(name, value, palette)?;
        let entry =
            with_features(known, value).map_err(|what| format!("Cargo.toml, dependency `{name}`: {what}"))?;
        dependencies.insert(name.clone(), entry);
    }
    let mut ignored: Vec<String> = Vec::new();
    for name in merged.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        if name != "dependencies" && merged.get(name) != theirs.get(name) {
            ignored.push(format!("[{name}]"));
        }
    }
    merged.insert("dependencies".to_owned(), Value::Table(dependencies));
    Ok(Merged {
        text: merged.to_string(),
        ignored,
    })
}

fn refuse_foreign(name: &str, value: &Value, palette: &BTreeSet<String>) -> Result<(), String> {
    if !palette.contains(name) {
        return Err(format!(
            "the crate `{name}` is not in the palette; the palette is [workspace.dependencies] in Cargo.toml"
        ));
    }
    for key in ["path", "git", "registry", "package"] {
        if value.get(key).is_some() {
            return Err(format!(
                "the dependency `{name}` sets `{key}`; the palette fixes where a crate comes from"
            ));
        }
    }
    Ok(())
}

/// An entry that inherits the palette's version, with the features of both.
fn with_features(known: Option<&Value>, wanted: &Value) -> Result<Value, String> {
    let list = |value: &Value| -> Result<Vec<String>, String> {
        let Some(features) = value.get("features") else {
            return Ok(Vec::new());
        };
        let features = features.as_array().ok_or("`features` is no list")?;
        features
            .iter()
            .map(|f| {
                f.as_str()
                    .map(str::to_owned)
                    .ok_or("a feature is no text".to_owned())
            })
            .collect()
    };
    let mut features = list(wanted)?;
    features.extend(known.map(list).transpose()?.unwrap_or_default());
    features.sort();
    features.dedup();
    let mut entry = Table::from_iter([("workspace".to_owned(), Value::Boolean(true))]);
    if !features.is_empty() {
        entry.insert(
            "features".to_owned(),
            Value::Array(features.into_iter().map(Value::String).collect()),
        );
    }
    if wanted.get("default-features").and_then(Value::as_bool) == Some(true) {
        entry.insert("default-features".to_owned(), Value::Boolean(true));
    }
    Ok(Value::Table(entry))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const OURS: &str = "[package]\nname = \"x\"\n[dependencies]\nbytes.workspace = true\ntokio = { workspace = true, features = [\"rt\"] }\n";

    fn palette() -> BTreeSet<String> {
        ["bytes", "tokio", "moka"].map(str::to_owned).into()
    }

    #[test]
    fn dependencies_and_features_of_the_palette_are_added() {
        let theirs =
            OURS.replace("\"rt\"", "\"time\"") + "moka = { version = \"0.1\", features = [\"sync\"] }\n";
        let merged = merge(OURS, &theirs, &palette()).unwrap();
        assert!(merged.ignored.is_empty());
        let table: Table = merged.text.parse().unwrap();
        let features = |name: &str| table["dependencies"][name]["features"].to_string();
        assert_eq!(features("tokio"), r#"["rt", "time"]"#);
        assert_eq!(features("moka"), r#"["sync"]"#);
        assert_eq!(table["dependencies"]["moka"].get("version"), None);
    }

    #[test]
    fn everything_else_is_listed_and_ignored() {
        let theirs = format!("{OURS}[build-dependencies]\ncc = \"1\"\n[lib]\npath = \"x.rs\"\n");
        let merged = merge(OURS, &theirs, &palette()).unwrap();
        assert_eq!(merged.ignored, ["[build-dependencies]", "[lib]"]);
        assert!(!merged.text.contains("cc"));
    }

    #[test]
    fn a_submission_without_the_exercises_dependencies_keeps_them() {
        let merged = merge(OURS, "[package]\nname = \"x\"\n", &palette()).unwrap();
        assert!(merged.text.contains("bytes"));
    }

    #[rstest]
    #[case("jemallocator = \"0.5\"", "`jemallocator` is not in the palette")]
    #[case("moka = { path = \"../evil\" }", "sets `path`")]
    #[case("moka = { package = \"evil\", version = \"1\" }", "sets `package`")]
    #[case("moka = [", "Cargo.toml")]
    fn what_is_refused_is_named(#[case] line: &str, #[case] named: &str) {
        let refused = merge(OURS, &format!("{OURS}{line}\n"), &palette()).unwrap_err();
        assert!(refused.contains(named), "{refused}");
    }
}
