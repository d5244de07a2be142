//! The picture at the top of CONTRIBUTING.md, proved over `cargo metadata`.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, PackageId};

/// All packages that `package` links, by its normal dependencies with default features and `features`.
fn linked(metadata: &Metadata, package: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![package.to_owned()];
    while let Some(name) = left.pop() {
        let Some(package) = metadata
            .packages
            .iter()
            .find(|candidate| candidate.name.as_str() == name)
        else {
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
        {
            if found.insert(dependency.name.clone()) {
                left.push(dependency.name.clone());
            }
        }
    }
    found
}

/// A fresh clone has downloaded what this machine compiles, and no more. Without a network, what is there has to do.
fn fetch() {
    static FETCHED: OnceLock<()> = OnceLock::new();
    FETCHED.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let fetched = std::process::Command::new(cargo)
            .args(["fetch", "--locked", "--quiet", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .output()
            .unwrap();
        eprintln!("{}", String::from_utf8_lossy(&fetched.stderr));
    });
}

fn workspace() -> Metadata {
    fetch();
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(vec!["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .unwrap()
}

fn names_under(metadata: &Metadata, folder: &str) -> Vec<String> {
    metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.manifest_path.as_str().contains(folder))
        .map(|package| package.name.to_string())
        .collect()
}

#[test]
fn exercises_and_solutions_know_nothing_of_what_grades_them() {
    let metadata = workspace();
    let rooms = [
        names_under(&metadata, "/exercises/"),
        names_under(&metadata, "/solutions/"),
    ]
    .concat();
    for package in rooms.iter().filter(|name| !name.ends_with("-hidden")) {
        for ours in ["harness", "oncall", "verdict", "services", "pgwire", "xtask"] {
            assert!(
                !linked(&metadata, package).contains(ours),
                "{package} links {ours}"
            );
        }
    }
}

#[test]
fn a_graded_program_links_no_container_client() {
    let metadata = workspace();
    let hidden = names_under(&metadata, "/exercises/")
        .into_iter()
        .filter(|name| name.ends_with("-hidden"));
    for package in hidden.chain(["harness".to_owned()]) {
        for foreign in ["services", "testcontainers", "bollard"] {
            assert!(
                !linked(&metadata, &package).contains(foreign),
                "{package} links {foreign}"
            );
        }
    }
}

/// What watches a service on call is linked by programs of their own, behind a feature that no grade asks for.
#[test]
fn a_graded_program_links_nothing_of_what_watches_on_call() {
    let metadata = workspace();
    let exercise: Vec<String> = names_under(&metadata, "/exercises/")
        .into_iter()
        .filter(|name| name.ends_with("-hidden"))
        .map(|name| format!("{name}/exercise"))
        .collect();
    for features in [vec![], exercise] {
        let metadata = MetadataCommand::new()
            .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .features(CargoOpt::SomeFeatures(features))
            .other_options(vec!["--offline".to_owned(), "--locked".to_owned()])
            .exec()
            .unwrap();
        let resolved = metadata.resolve.as_ref().unwrap();
        let direct = |id: &PackageId| {
            let node = resolved.nodes.iter().find(|node| node.id == *id).unwrap();
            let linked = node.deps.iter().filter(|dep| {
                dep.dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal)
            });
            linked.map(|dep| dep.pkg.clone()).collect::<Vec<_>>()
        };
        for hidden in metadata
            .workspace_packages()
            .into_iter()
            .filter(|package| package.name.as_str().ends_with("-hidden"))
        {
            let (mut found, mut left) = (BTreeSet::new(), vec![hidden.id.clone()]);
            while let Some(id) = left.pop() {
                left.extend(direct(&id).into_iter().filter(|dep| found.insert(dep.clone())));
            }
            let names: BTreeSet<&str> = found.iter().map(|id| metadata[id].name.as_str()).collect();
            assert!(names.contains("harness"), "{} was not looked at", hidden.name);
            for foreign in ["oncall", "pprof", "inferno", "prometheus-client"] {
                assert!(!names.contains(foreign), "{} links {foreign}", hidden.name);
            }
        }
    }
}

/// The container client brings some hundred crates: most of what a fresh clone would compile before its first grade. It is
/// a program of its own, which is built where a daemon answers.
#[test]
fn only_its_own_program_links_the_container_client() {
    let metadata = workspace();
    let ours = metadata.workspace_packages();
    for package in ours.iter().map(|package| package.name.as_str()) {
        for foreign in ["testcontainers", "bollard"] {
            let links = linked(&metadata, package).contains(foreign);
            assert_eq!(links, package == "containers", "{package} and {foreign}");
        }
    }
    let default: Vec<&str> = metadata
        .workspace_default_packages()
        .into_iter()
        .map(|package| package.name.as_str())
        .collect();
    assert!(!default.contains(&"containers"), "`cargo test` compiles it");
}

/// The emulator and the SDK are compiled by who needs them, and enter no other graph.
#[test]
fn dynamodb_is_paid_for_by_its_scenario_alone() {
    let metadata = workspace();
    for package in metadata.workspace_packages() {
        let (name, place) = (package.name.as_str(), package.manifest_path.as_str());
        let linked = linked(&metadata, name);
        assert_eq!(linked.contains("dynoxide-rs"), name == "dynamodb", "{name}");
        let theirs = place.contains("-hot-partition/");
        assert_eq!(linked.contains("aws-sdk-dynamodb"), theirs, "{name}");
    }
    let default = metadata.workspace_default_packages();
    assert!(
        default.iter().all(|package| package.name != "dynamodb"),
        "`cargo test` compiles it"
    );
}

#[test]
fn xtask_links_no_scenario_and_the_harness_names_none() {
    let metadata = workspace();
    let scenarios = [
        names_under(&metadata, "/exercises/"),
        names_under(&metadata, "/solutions/"),
    ]
    .concat();
    for package in ["xtask", "harness", "oncall", "services", "verdict", "pgwire"] {
        let linked = linked(&metadata, package);
        assert!(
            scenarios.iter().all(|scenario| !linked.contains(scenario)),
            "{package} links a scenario"
        );
    }
    assert!(
        linked(&metadata, "verdict")
            .iter()
            .all(|name| name.starts_with("serde") || !scenarios.contains(name))
    );
}

#[test]
fn the_lock_file_covers_the_palette() {
    // `--locked --offline` in `workspace()` is the proof: the package `palette` depends on all of it.
    let metadata = workspace();
    let root = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).unwrap();
    let palette = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "palette")
        .unwrap();
    assert!(palette.dependencies.len() > 30);
    for dependency in &palette.dependencies {
        assert!(
            root.contains(&format!("\n{} = ", dependency.name)),
            "{} is not in the palette",
            dependency.name
        );
    }
}

#[test]
fn unsafe_code_stands_only_where_it_is_named() {
    const ALLOWED: [&str; 8] = [
        "harness/check/benches/alloc.rs",
        "harness/check/src/alloc/cells.rs",
        "harness/check/src/alloc/sites.rs",
        "harness/check/src/instructions/request.rs",
        "harness/check/src/preempt.rs",
        "harness/check/src/stuck/stacks.rs",
        "harness/oncall/src/heap/allocator.rs",
        "harness/services/src/process.rs",
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut left = vec![root.join("harness"), root.join("xtask/src")];
    let mut found = BTreeSet::new();
    while let Some(folder) = left.pop() {
        for path in std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
        {
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                let source: String = source.split_whitespace().collect();
                if source.contains("expect(unsafe_code") {
                    found.insert(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
    }
    let allowed: BTreeSet<String> = ALLOWED.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(found, allowed);
}
