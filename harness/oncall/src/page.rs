//! The page: the alert, the charts, what has changed, and where the tools are. Made here; a browser that runs no script
//! loads it anew every few seconds, one that does takes the middle of it only.

use std::sync::Arc;

use crate::chart::Chart;
use crate::html::{escaped, marked};
use crate::reading::Reading;
use crate::shift::Shift;
use crate::svg;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How long after the start things are taken to be as they should.
const SETTLED_S: f64 = 3.0;

/// The whole page.
pub fn whole(shift: &Shift, readings: &[Arc<Reading>]) -> String {
    let title = escaped(&shift.0.title);
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}: on call</title><noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>\
         <style>{STYLE}</style></head><body><header><h1>{title}</h1>"
    );
    let watched = match shift.0.reference {
        true => "the reference",
        false => "the exercise, as it is in your folder",
    };
    html.push_str(&format!(
        "<p class=\"about\">{} &middot; watching {watched} &middot; seed {}</p>",
        escaped(&shift.0.scenario),
        shift.seed()
    ));
    html.push_str("<div class=\"alert\" role=\"alert\">");
    for paragraph in &shift.0.page {
        html.push_str(&format!("<p>{}</p>", marked(paragraph)));
    }
    html.push_str("</div></header><main id=\"live\">");
    html.push_str(&live(shift, readings));
    html.push_str("</main>");
    html.push_str(&tools(shift));
    html.push_str(&format!("<script>{SCRIPT}</script></body></html>"));
    html
}

/// What moves.
pub fn live(shift: &Shift, readings: &[Arc<Reading>]) -> String {
    let charts = shift.charts();
    let mut html = restarted(shift);
    html.push_str(&stale(readings));
    html.push_str("<section class=\"charts\">");
    // What is peculiar to the scenario comes right after the requests.
    let (own, standard): (Vec<&Chart>, Vec<&Chart>) = charts.iter().partition(|chart| chart.own);
    let (first, rest) = standard.split_at(standard.len().min(2));
    for chart in first.iter().chain(&own).chain(rest) {
        html.push_str(&figure(chart, readings));
    }
    html.push_str("</section>");
    html.push_str(&changes(&charts, readings));
    html
}

/// A page of one view.
pub fn of(shift: &Shift, title: &str, body: &str) -> String {
    let heading = escaped(title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{heading}</title><style>{STYLE}</style></head><body><header><h1>{heading}</h1><p class=\"about\">\
         <a href=\"/\">{}</a></p></header><main>{body}</main></body></html>",
        escaped(&shift.0.title)
    )
}

fn figure(chart: &Chart, readings: &[Arc<Reading>]) -> String {
    let mut html = format!(
        "<figure><figcaption>{}</figcaption>{}<ul class=\"legend\">",
        escaped(&chart.title),
        svg::chart(chart, readings)
    );
    let last = readings.len().checked_sub(2).map(|place| &readings[place..]);
    for (place, line) in chart.lines.iter().enumerate() {
        let now = last
            .and_then(|pair| line.source.value(&pair[0], &pair[1]))
            .map_or_else(|| "none yet".to_owned(), |value| chart.unit.shown(value));
        html.push_str(&format!(
            "<li><span class=\"key k{}\"></span>{} <b>{now}</b></li>",
            place % 8,
            escaped(&line.label)
        ));
    }
    html.push_str("</ul></figure>");
    html
}

/// The lines that are most different from what they were soon after the start.
fn changes(charts: &[Chart], readings: &[Arc<Reading>]) -> String {
    const TITLE: &str = "<h2>What has changed since the start</h2>";
    let settled = readings.first().and_then(|first| {
        readings
            .windows(2)
            .find(|pair| (pair[1].at - first.at).as_secs_f64() >= SETTLED_S)
    });
    let (Some(settled), Some(last)) = (settled, readings.len().checked_sub(2)) else {
        return format!("{TITLE}<p>A few seconds more, and there is something to compare with.</p>");
    };
    let last = &readings[last..];
    let mut rows: Vec<(f64, String)> = Vec::new();
    for (chart, line) in charts
        .iter()
        .flat_map(|chart| chart.lines.iter().map(move |line| (chart, line)))
    {
        let before = line.source.value(&settled[0], &settled[1]);
        let now = line.source.value(&last[0], &last[1]);
        let (Some(before), Some(now)) = (before, now) else {
            continue;
        };
        let factor = if before > 0.0 { now / before } else { f64::INFINITY };
        let told = match (before == now, factor.is_finite()) {
            (true, _) => "as it was".to_owned(),
            (false, false) => "new".to_owned(),
            (false, true) => format!("× {factor:.2}"),
        };
        let weight = if before == now {
            0.0
        } else {
            factor.max(1e-9).ln().abs()
        };
        rows.push((
            weight,
            format!(
                "<tr><td>{}<br><small>{}</small></td><td>{}</td><td>{}</td><td>{told}</td></tr>",
                escaped(&line.label),
                escaped(&chart.title),
                chart.unit.shown(before),
                chart.unit.shown(now),
            ),
        ));
    }
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    let rows: String = rows.into_iter().map(|(_, row)| row).collect();
    format!(
        "{TITLE}<div class=\"wide\"><table><thead><tr><th>series</th><th>after {SETTLED_S:.0} s</th><th>now</th>\
         <th>change</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

/// Says how often the container was started again, and why.
fn restarted(shift: &Shift) -> String {
    match &shift.0.ended {
        Some(ended) => format!(
            "<p class=\"stale\">Restarts: {}. The last container ended with {}.</p>",
            shift.0.restarts,
            escaped(ended)
        ),
        None => String::new(),
    }
}

/// Says so when figures have stopped coming.
fn stale(readings: &[Arc<Reading>]) -> String {
    let age = readings.last().map(|last| last.at.elapsed());
    match age {
        Some(age) if age > 4 * crate::reading::EVERY => format!(
            "<p class=\"stale\">The last figures are {:.0} s old: the service keeps whoever reads them waiting.</p>",
            age.as_secs_f64()
        ),
        Some(_) => String::new(),
        None => "<p class=\"stale\">No figures yet.</p>".to_owned(),
    }
}

fn tools(shift: &Shift) -> String {
    let mut html = String::from("<nav><h2>Tools</h2><ul>");
    let fixed = [
        (
            "/debug/tasks",
            "live tasks by where they were spawned, what they wait for, thread stacks",
        ),
        (
            "/debug/pprof/profile?seconds=5&format=svg",
            "who is on the processor, as a flame graph, in five seconds",
        ),
        (
            "/debug/pprof/heap?format=svg",
            "who holds memory, as a flame graph",
        ),
        (
            "/debug/pprof/allocs?format=svg",
            "who has asked for memory since the start, as a flame graph",
        ),
        (
            "/debug/pprof/diff?format=svg",
            "memory held now against soon after the start: red has grown",
        ),
        ("/metrics", "every figure, for Prometheus"),
        ("/dashboard.json", "the charts, for Grafana"),
    ];
    for (path, about) in fixed {
        let path = escaped(path);
        html.push_str(&format!(
            "<li><a href=\"{path}\">{path}</a><br><small>{about}</small></li>"
        ));
    }
    for view in shift.views() {
        html.push_str(&format!(
            "<li><a href=\"/debug/{0}\">/debug/{0}</a><br><small>{1}</small></li>",
            view.path,
            escaped(view.about)
        ));
    }
    html.push_str(
        "</ul><p>Without <code>format=svg</code> the same addresses give files for <code>go tool pprof</code>.</p></nav>",
    );
    html
}
