//! What `doctor` tells, and what `services down --purge` removes.

use services::{DaemonState, Kind, Mode, Options, Search, purge, start, survey};

mod support;
use support::{cache, people};

#[test]
fn a_bare_machine_is_surveyed_without_an_error() {
    let root = cache();
    let daemon = Some("unix:///nonexistent/docker.sock".to_owned());
    let search = Search {
        path: Some("/nonexistent".into()),
        usual_folders: false,
        daemon,
        ..Search::default()
    };
    let survey = survey(&Options {
        search,
        ..Options::with_cache(root.path())
    });
    assert!(matches!(survey.daemon, DaemonState::Absent(_)));
    // DynamoDB is the workbook's own program, which cargo makes.
    for kind in survey.kinds.iter().filter(|kind| kind.kind != Kind::DynamoDb) {
        assert!(!kind.is_available(), "{kind:?}");
        assert!(kind.ways.iter().all(|way| way.next.is_some()), "{kind:?}");
    }
    let words = survey.to_string();
    assert!(
        words.contains("container daemon: none") && words.contains("no `apt-get` on PATH"),
        "{words}"
    );
}

#[test]
fn what_is_cached_is_listed_with_its_size_and_purged() {
    let root = cache();
    let options = Options {
        mode: Mode::Local,
        ..Options::with_cache(root.path())
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime
        .block_on(start(Kind::Postgres, &options, &[people()]))
        .unwrap();
    let survey = survey(&options);
    println!("{survey}");
    assert_eq!(survey.cache.len(), 1, "{:?}", survey.cache);
    assert!(survey.cache[0].what.contains("people"), "{:?}", survey.cache);
    assert!(survey.cache[0].bytes > Some(20 << 20), "{:?}", survey.cache);
    assert!(survey.kinds[0].is_available());

    let purged = purge(root.path()).unwrap();
    assert_eq!((purged.entries, Some(purged.bytes)), (1, survey.cache[0].bytes));
    assert!(!root.path().join("clusters").exists());
    // A run works on its copy.
    runtime.block_on(running.check_alive()).unwrap();
}
