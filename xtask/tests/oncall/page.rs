//! The page, in a browser.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::watched::{Watched, await_that, tool};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn the_page_shows_the_alert_its_charts_move_and_its_links_answer() {
    let Some(program) = tool(&["chromium", "chromium-browser", "google-chrome"]) else {
        return;
    };
    let mut watched = Watched::start(&["01", "--for", "5m"]);
    let mut browser = Browser::start(&program);
    browser.window(1280, "light");
    browser.open(&watched.url);
    let alert = browser.value("document.querySelector('[role=alert]').innerText");
    assert!(alert.as_str().unwrap().to_lowercase().contains("page"), "{alert}");

    let drawn = "[...document.querySelectorAll('figure polyline')].map(line => line.getAttribute('points'))";
    let before = await_that("a drawn chart", SOON, || {
        Some(browser.value(drawn)).filter(|lines| some_points(lines) > 2)
    });
    let shown = "[...document.querySelectorAll('.legend b')].map(figure => figure.innerText)";
    let figures = browser.value(shown);
    await_that("charts that move", SOON, || {
        let (now, later) = (browser.value(drawn), browser.value(shown));
        (some_points(&now) > some_points(&before) && later != figures).then_some(())
    });

    let links = browser.value("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))");
    let links: Vec<String> = serde_json::from_value(links).unwrap();
    assert!(links.len() >= 7, "{links:?}");
    for link in &links {
        let (status, body) = watched.get(link);
        assert!(status == 200 && !body.is_empty(), "{link}: {status} {body}");
    }
    let elsewhere = format!(
        "performance.getEntriesByType('resource').map(one => one.name).filter(name => !name.startsWith({}))",
        json!(watched.url)
    );
    assert_eq!(
        browser.value(&elsewhere),
        json!([]),
        "something is loaded from elsewhere"
    );

    let mut grounds = Vec::new();
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")] {
        browser.window(width, scheme);
        browser.open(&watched.url);
        let wide = browser.value("document.documentElement.scrollWidth");
        assert!(
            wide.as_u64().unwrap() <= width.into(),
            "{wide} pixels wide in a window of {width}"
        );
        grounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        browser.picture(&pictures().join(format!("page-{width}-{scheme}.png")));
    }
    assert_ne!(grounds[0], grounds[1], "dark looks like light");
    drop(browser);
    assert!(watched.interrupt().code().is_some_and(|code| code != 0));
    // The service ends with whoever started it, and takes its moment.
    await_that("the end of the page", SOON, || {
        std::net::TcpStream::connect(watched.url.trim_start_matches("http://")).err()
    });
}

/// How many points the longest line has.
fn some_points(lines: &Value) -> usize {
    let lines = lines.as_array().into_iter().flatten();
    lines
        .map(|line| line.as_str().unwrap_or_default().split(' ').count())
        .max()
        .unwrap_or_default()
}

/// Where pictures are left to be looked at.
fn pictures() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("oncall");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
