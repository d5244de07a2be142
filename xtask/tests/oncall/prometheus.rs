//! A real Prometheus that scrapes the service, and is asked what the charts and the dashboard ask.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rstest::rstest;
use serde_json::Value;

use crate::watched::{Watched, agent, await_that, tool};

/// A rate needs two scrapes, and a series of the first answers an answer.
const ANSWERED_MAX: Duration = Duration::from_secs(60);

struct Prometheus {
    child: Child,
    url: String,
    agent: ureq::Agent,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(program: &Path, target: &str) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: incident\n    static_configs:\n      - targets: ['{target}']\n"
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Prometheus {
            child,
            url: format!("http://127.0.0.1:{port}"),
            agent: agent(Duration::from_secs(10)),
            _folder: folder,
        }
    }

    /// What a query gives; nothing while nobody answers.
    fn ask(&self, promql: &str) -> Option<Vec<Value>> {
        let asked = self
            .agent
            .get(format!("{}/api/v1/query", self.url))
            .query("query", promql);
        let answer: Value = asked.call().ok()?.body_mut().read_json().ok()?;
        assert_ne!(answer["status"], "error", "{promql}: {answer}");
        answer["data"]["result"].as_array().cloned()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[rstest]
#[case::without_servers("01")]
#[case::with_postgres("09")]
fn prometheus_answers_for_every_panel_of_the_dashboard(#[case] scenario: &str) {
    let Some(program) = tool(&["prometheus"]) else {
        return;
    };
    let watched = Watched::start(&[scenario, "--for", "5m"]);
    let prometheus = Prometheus::start(&program, watched.url.trim_start_matches("http://"));
    await_that("a scrape", ANSWERED_MAX, || {
        let up = prometheus.ask("up")?;
        (up.first()?["value"][1] == "1").then_some(())
    });
    let (status, dashboard) = watched.get("/dashboard.json");
    assert_eq!(status, 200);
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    // As many as the page has charts.
    let (_, page) = watched.get("/");
    assert_eq!(panels.len(), page.matches("<figure>").count());
    let asked = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    for target in asked {
        let promql = target["expr"].as_str().unwrap();
        let found = await_that(promql, ANSWERED_MAX, || {
            prometheus.ask(promql).filter(|found| !found.is_empty())
        });
        assert_eq!(found.len(), 1, "{promql} is one line of a chart: {found:?}");
    }
    let names = prometheus
        .ask("count by (__name__) ({job=\"incident\"})")
        .unwrap();
    assert!(names.len() > 12, "{names:?}");
}
