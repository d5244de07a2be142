use super::*;

type Shelved<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u64);

fn shelf(entries: &[Shelved<'_>]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, version, templates, bytes) in entries {
        let data = home.path().join(name).join("data");
        fs::create_dir_all(data.join("global")).unwrap();
        fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        fs::write(data.join("global/pg_control"), "").unwrap();
        let templates = templates
            .iter()
            .map(|(name, print)| ((*name).to_owned(), (*print).to_owned()))
            .collect();
        let (version, password) = ((*version).to_owned(), String::new());
        let about = About {
            format: FORMAT,
            version,
            password,
            templates,
            bytes: *bytes,
        };
        fs::write(
            home.path().join(name).join("about.json"),
            serde_json::to_vec(&about).unwrap(),
        )
        .unwrap();
    }
    home
}

fn wanted(templates: &[(&str, &str)]) -> BTreeMap<String, String> {
    templates
        .iter()
        .map(|(name, print)| ((*name).to_owned(), (*print).to_owned()))
        .collect()
}

fn program() -> Program {
    Program {
        path: PathBuf::from("/nonexistent"),
        version: "15.18".to_owned(),
        libraries: Vec::new(),
        interpreter: None,
    }
}

#[test]
fn the_smallest_cluster_with_all_templates_serves_and_the_largest_without_strangers_is_built_upon() {
    let home = shelf(&[
        ("empty", "15.18", &[], 10),
        ("a", "15.18", &[("a", "1")], 20),
        ("ab", "15.18", &[("a", "1"), ("b", "1")], 30),
        ("a-of-another-seed", "15.18", &[("a", "2")], 15),
        ("a-of-another-server", "15.19", &[("a", "1")], 5),
    ]);
    let name = |found: Option<(PathBuf, About)>| {
        found.map(|(folder, _)| folder.file_name().unwrap().to_string_lossy().into_owned())
    };
    let covering = |templates: &[(&str, &str)]| name(covering(home.path(), &program(), &wanted(templates)));
    let covered = |templates: &[(&str, &str)]| name(covered(home.path(), &program(), &wanted(templates)));
    assert_eq!(covering(&[]).as_deref(), Some("empty"));
    assert_eq!(covering(&[("a", "1")]).as_deref(), Some("a"));
    assert_eq!(covering(&[("b", "1")]).as_deref(), Some("ab"));
    assert_eq!(covering(&[("a", "1"), ("c", "1")]), None);
    assert_eq!(covered(&[("a", "1"), ("c", "1")]).as_deref(), Some("a"));
    assert_eq!(covered(&[("a", "3")]).as_deref(), Some("empty"));
}

#[test]
fn a_damaged_folder_is_no_cluster() {
    let home = shelf(&[
        ("whole", "15.18", &[], 1),
        ("unread", "15.18", &[], 1),
        ("headless", "15.18", &[], 1),
    ]);
    fs::write(home.path().join("unread/about.json"), "{").unwrap();
    fs::remove_file(home.path().join("headless/data/global/pg_control")).unwrap();
    let names: Vec<_> = list(home.path()).into_iter().map(|(folder, _)| folder).collect();
    assert_eq!(names, [home.path().join("whole")]);
}
