//! Servers that checks ask for while they run: each check has its own, and none stays.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use verdict::Verdict;

use crate::workbook::Workbook;

/// A check that asks for two Redis servers and an etcd node, tells where they are, and does `then`.
fn workbook(services: &str, then: &str) -> Workbook {
    let workbook = Workbook::built();
    let manifest = "exercises/01-counter/scenario.toml";
    workbook.edit(manifest, "services = []", &format!("services = {services}"));
    let grade = "exercises/01-counter/hidden/tests/grade.rs";
    let body = format!(
        r#"let (one, two, etcd) = (cx.redis_server().await?, cx.redis_server().await?, cx.etcd_server().await?);
        let places = format!("{{}} {{}} {{}}", one.port, two.port, etcd.port);
        std::fs::write("places.half", places).unwrap();
        std::fs::rename("places.half", "places").unwrap();
        let ask = |port: u16, words: &str| {{
            use std::io::{{Read, Write}};
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(words.as_bytes()).unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            said
        }};
        {then}
        let mut counter = Counter::default();
        let events = cx.draw("events", &[1_001, 5_000]);"#
    );
    workbook.edit(
        grade,
        "deadline_s(2), async |cx: &Check| {\n        let mut counter",
        "deadline_s(20), async |cx: &Check| {\n        let mut counter",
    );
    workbook.edit(
        grade,
        "let mut counter = Counter::default();\n        let events = cx.draw(\"events\", &[1_001, 5_000]);",
        &body,
    );
    workbook
}

const TALKS: &str = r#"
        let said = ask(one.port, "SET price 7\r\nFLUSHALL\r\nSET price 8\r\nQUIT\r\n");
        ensure!(said == "+OK\r\n+OK\r\n+OK\r\n+OK\r\n", "Redis answers.", "it said {said:?}");
        let said = ask(two.port, "GET price\r\nDBSIZE\r\nQUIT\r\n");
        ensure!(said == "$-1\r\n:0\r\n+OK\r\n", "The servers are two.", "it said {said:?}");
        let said = ask(etcd.port, "GET /health HTTP/1.0\r\n\r\n");
        ensure!(said.contains("true"), "etcd answers.", "it said {said:?}");
"#;

fn grade(workbook: &Workbook, check: &str) -> verdict::report::Report {
    let said = workbook.xtask(&[
        "grade",
        "1",
        "--reference",
        "--check",
        check,
        "--services",
        mode(),
        "--format",
        "json",
    ]);
    said.report()
}

/// As in the tests of `services`: containers only where somebody says that they can be had.
fn mode() -> &'static str {
    match std::env::var("WAR_STORIES_TEST_CONTAINERS").as_deref() {
        Ok("1") => "containers",
        _ => "local",
    }
}

/// The ports that the check told, once it has.
fn places(workbook: &Workbook) -> Vec<u16> {
    let file = workbook.root.join("exercises/01-counter/places");
    let text = std::fs::read_to_string(file).unwrap();
    text.split(' ').map(|port| port.parse().unwrap()).collect()
}

fn refused_by(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err()
}

#[test]
fn a_check_has_servers_of_its_own_and_none_stays() {
    let workbook = workbook(r#"["redis", "etcd"]"#, TALKS);
    let report = grade(&workbook, "every_event_is_counted");
    let check = &report.scenarios[0].checks[0];
    assert_eq!(check.verdict, Verdict::Pass, "{check:#?}");
    let told: Vec<_> = report
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(told, ["redis", "etcd"]);
    let places = places(&workbook);
    assert_eq!(places.len(), 3);
    assert!(places.into_iter().all(refused_by));
}

#[test]
fn a_check_that_dies_with_servers_leaves_none() {
    let workbook = workbook(
        r#"["redis", "etcd"]"#,
        "if ask(one.port, \"QUIT\\r\\n\") != \"\" { std::process::abort(); }",
    );
    let report = grade(&workbook, "every_event_is_counted");
    let check = &report.scenarios[0].checks[0];
    assert_eq!(check.verdict, Verdict::Fail, "{check:#?}");
    assert!(check.observed.contains("signal: 6"), "{check:#?}");
    assert!(places(&workbook).into_iter().all(refused_by));
}

/// A check that has a PgBouncer with `ini` before its own database, and does `then` with a client of it.
fn bounced(ini: &str, then: &str) -> Workbook {
    let workbook = Workbook::built();
    let manifest = "exercises/01-counter/scenario.toml";
    workbook.edit(
        manifest,
        "services = []",
        r#"services = ["postgres", "pgbouncer"]"#,
    );
    let body = format!(
        r#"deadline_s(20), async |cx: &Check| {{
        let pg = cx.postgres().await?;
        let upstream = pg.tap().config().clone();
        let job = cx.pgbouncer_server(&upstream, {ini:?}).await?;
        let through = pgwire::Config {{ host: job.host.clone(), port: job.port, ..upstream.clone() }};
        let console = pgwire::Config {{
            user: job.admin_user.clone(), password: job.admin_password.clone(), database: "pgbouncer".to_owned(), ..through.clone()
        }};
        {then}
        let mut counter"#
    );
    workbook.edit(
        "exercises/01-counter/hidden/tests/grade.rs",
        "deadline_s(2), async |cx: &Check| {\n        let mut counter = Counter::default();\n        let events",
        &format!("{body} = Counter::default();\n        let events"),
    );
    workbook
}

#[test]
fn a_check_has_a_pgbouncer_with_the_scenarios_configuration() {
    let workbook = bounced(
        "[pgbouncer]\npool_mode = session\ndefault_pool_size = 3\nlisten_port = 1",
        r#"let mut client = pgwire::Client::connect(&through).await.unwrap();
        let rows = client.query("SELECT current_user || current_database()").await.unwrap();
        let who = rows[0].text(0).unwrap_or_default().to_owned();
        ensure!(who == format!("{0}{0}", pg.role()), "It is the check's role.", "{who}");
        let mut console = pgwire::Client::connect(&console).await.unwrap();
        let rows = console.query("SHOW CONFIG").await.unwrap();
        for (key, value) in [("pool_mode", "session"), ("default_pool_size", "3"), ("ignore_startup_parameters", "")] {
            let row = rows.iter().find(|row| row.get("key") == Some(key)).unwrap();
            ensure!(row.get("value").unwrap_or_default() == value, "The configuration counts.", "{row:?}");
        }
        let seen = pg.tap().counts().connections_total;
        ensure!(seen == 1, "It goes through the tap.", "{seen} connections");"#,
    );
    let report = grade(&workbook, "every_event_is_counted");
    let check = &report.scenarios[0].checks[0];
    assert_eq!(check.verdict, Verdict::Pass, "{check:#?}");
}

#[test]
fn a_configuration_that_pgbouncer_refuses_is_the_submissions_failure() {
    let workbook = bounced("[pgbouncer]\npool_mode = sometimes", "drop((through, console));");
    let report = grade(&workbook, "every_event_is_counted");
    let check = &report.scenarios[0].checks[0];
    assert_eq!(check.verdict, Verdict::Fail, "{check:#?}");
    assert!(check.observed.contains("PgBouncer does not start"), "{check:#?}");
    assert!(
        check.evidence.iter().any(|line| line.contains("pool_mode")),
        "{check:#?}"
    );
}

#[test]
fn a_server_that_dies_under_a_check_is_not_its_fault() {
    let then = "ask(one.port, \"SHUTDOWN NOSAVE\\r\\n\"); ensure!(false, \"It is gone.\", \"no answer\");";
    let workbook = workbook(r#"["redis", "etcd"]"#, then);
    let report = grade(&workbook, "every_event_is_counted");
    let check = &report.scenarios[0].checks[0];
    assert_eq!(check.verdict, Verdict::Environment, "{check:#?}");
    assert!(check.because.as_ref().unwrap().contains("Redis"), "{check:#?}");
}

#[test]
fn a_pgbouncer_that_dies_under_a_check_is_not_its_fault() {
    let workbook = bounced(
        "[pgbouncer]\npool_mode = session",
        r#"let mut console = pgwire::Client::connect(&console).await.unwrap();
        console.execute("SHUTDOWN").await.ok();
        let gone = harness::eventually(std::time::Duration::from_secs(10), "its end", async || {
            pgwire::Client::connect(&through).await.err()
        });
        gone.await?;
        ensure!(false, "It is gone.", "no answer");"#,
    );
    let report = grade(&workbook, "every_event_is_counted");
    let check = &report.scenarios[0].checks[0];
    assert_eq!(check.verdict, Verdict::Environment, "{check:#?}");
    assert!(check.observed.contains("PgBouncer"), "{check:#?}");
}

#[test]
fn a_server_that_the_manifest_does_not_name_is_a_slip_of_the_author() {
    let workbook = workbook(r#"["redis"]"#, TALKS);
    let report = grade(&workbook, "every_event_is_counted");
    let check = &report.scenarios[0].checks[0];
    assert_eq!(check.verdict, Verdict::Environment, "{check:#?}");
    assert!(
        check.observed.contains("etcd") && check.observed.contains("scenario.toml"),
        "{check:#?}"
    );
}

#[test]
fn a_server_on_demand_is_started_when_a_check_asks_and_not_before() {
    let services = "[\"redis\"]\nservices-on-demand = [\"etcd\"]";
    let workbook = workbook(services, TALKS);
    let report = grade(&workbook, "every_event_is_counted");
    let told: Vec<&str> = report
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(told, ["redis"]);
    let check = &report.scenarios[0].checks[0];
    assert_eq!(check.verdict, Verdict::Pass, "{check:#?}");
    until(Duration::from_secs(10), || {
        places(&workbook).iter().copied().all(refused_by)
    });
}

#[test]
fn a_killed_grade_takes_its_servers_along() {
    let workbook = workbook(
        r#"["redis", "etcd"]"#,
        "loop { std::thread::park(); }\n        #[expect(unreachable_code, reason = \"it hangs\")]",
    );
    let mut grade = workbook
        .command(&[
            "grade",
            "1",
            "--reference",
            "--check",
            "every_event_is_counted",
            "--services",
            "local",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = workbook.root.join("exercises/01-counter/places");
    until(Duration::from_secs(120), || told.exists());
    let places = places(&workbook);
    assert!(!places.iter().copied().any(refused_by));
    grade.kill().unwrap();
    grade.wait().unwrap();
    until(Duration::from_secs(10), || places.iter().copied().all(refused_by));
}

#[test]
fn without_xtask_the_kept_servers_serve_one_check_at_a_time() {
    // One of a kind is kept, so the second question is answered with the first one's server, emptied.
    let workbook = workbook(
        r#"["redis", "etcd"]"#,
        r#"let said = ask(two.port, "DBSIZE\r\nSET price 7\r\nQUIT\r\n");
        ensure!(said == ":0\r\n+OK\r\n+OK\r\n", "It is empty.", "it said {said:?}");"#,
    );
    workbook.edit(
        "exercises/01-counter/hidden/tests/grade.rs",
        "(cx.redis_server().await?, cx.redis_server().await?, cx.etcd_server().await?)",
        "{ let one = cx.redis_server().await?; (one.clone(), one, cx.etcd_server().await?) }",
    );
    let test = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args([
                "test",
                "--quiet",
                "--profile",
                "grade",
                "--package",
                "counter-hidden",
                "every_event",
            ])
            .current_dir(&workbook.root)
            .env("CARGO_TARGET_DIR", workbook.target());
        workbook_said(cargo)
    };
    let (passed, said) = test();
    assert!(
        !passed && said.contains("cargo xtask services up redis keeps one running"),
        "{said}"
    );

    let up = workbook.xtask(&["services", "up", "redis", "etcd", "--services", "local"]);
    assert_eq!(up.code, Some(0), "{up:#?}");
    let outcomes = [test(), test()];
    let down = workbook.xtask(&["services", "down"]);
    assert_eq!(down.code, Some(0), "{down:#?}");
    for (passed, said) in outcomes {
        assert!(passed, "{said}");
    }
}

fn workbook_said(mut command: Command) -> (bool, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn until(at_most: Duration, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < at_most, "it never came to that");
        std::thread::sleep(Duration::from_millis(20));
    }
}
