//! Charts, drawn here: a page that a browser opens without a network, and without a script, shows them.

use crate::chart::Chart;
use crate::html::escaped;
use crate::reading::Reading;
use crate::series::Unit;

use std::sync::Arc;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 4.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 18.0;
/// Of a picture that stands alone: above the chart, and for each line of the legend.
const TITLE: f64 = 28.0;
const ROW: f64 = 16.0;
const PICTURE: &str = include_str!("picture.css");
/// Points that are drawn per line; of more, the largest of each few.
const POINTS: usize = 140;

/// The chart's lines over time.
pub fn chart(chart: &Chart, readings: &[Arc<Reading>]) -> String {
    let lines: Vec<Vec<(f64, f64)>> = chart
        .lines
        .iter()
        .map(|line| {
            let begun = readings.first().map(|reading| reading.at);
            let points = readings.windows(2).filter_map(|pair| {
                let value = line.source.value(&pair[0], &pair[1])?;
                Some(((pair[1].at - begun?).as_secs_f64(), value))
            });
            thinned(points.collect())
        })
        .collect();
    let seconds = readings
        .first()
        .zip(readings.last())
        .map_or(1.0, |(first, last)| (last.at - first.at).as_secs_f64().max(1.0));
    let highest = lines
        .iter()
        .flatten()
        .map(|(_, value)| *value)
        .fold(0.0, f64::max);
    let top = round_up(highest, chart.unit);
    let x = |second: f64| LEFT + second / seconds * (WIDTH - 2.0 * LEFT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escaped(&chart.title)
    );
    for share in [0.0, 0.5, 1.0] {
        let at = y(top * share);
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
            WIDTH - LEFT
        ));
        if share > 0.0 {
            svg.push_str(&format!(
                "<text class=\"axis\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>",
                at - 3.0,
                chart.unit.shown(top * share)
            ));
        }
    }
    svg.push_str(&format!(
        "<text class=\"axis\" x=\"{LEFT}\" y=\"{:.0}\">0 s</text><text class=\"axis\" x=\"{:.0}\" y=\"{:.0}\" \
         text-anchor=\"end\">{seconds:.0} s</text>",
        HEIGHT - 4.0,
        WIDTH - LEFT,
        HEIGHT - 4.0
    ));
    for (place, points) in lines.iter().enumerate() {
        let points: Vec<String> = points
            .iter()
            .map(|(second, value)| format!("{:.1},{:.1}", x(*second), y(*value)))
            .collect();
        svg.push_str(&format!(
            "<polyline class=\"line l{}\" points=\"{}\"/>",
            place % 8,
            points.join(" ")
        ));
    }
    svg.push_str("</svg>");
    svg
}

/// The chart with its title and legend, as a file that stands alone, in the page's colours for light and dark.
pub fn picture(chart: &Chart, readings: &[Arc<Reading>]) -> String {
    let height = TITLE + HEIGHT + ROW * chart.lines.len() as f64 + 6.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\">\
         <style>{PICTURE}</style><rect class=\"card\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\
         <text class=\"title\" x=\"10\" y=\"20\">{}</text><g transform=\"translate(0 {TITLE})\">{}</g>",
        escaped(&chart.title),
        self::chart(chart, readings),
    );
    for (place, line) in chart.lines.iter().enumerate() {
        let at = TITLE + HEIGHT + ROW * place as f64 + 8.0;
        svg.push_str(&format!(
            "<path class=\"line l{}\" d=\"M10 {at}h22\"/><text class=\"label\" x=\"40\" y=\"{:.0}\">{}</text>",
            place % 8,
            at + 4.0,
            escaped(&line.label)
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// A picture that says why there is none.
pub fn note(text: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 600 60\" width=\"600\"><text x=\"10\" y=\"35\" \
         font-family=\"sans-serif\" font-size=\"14\">{}</text></svg>",
        escaped(text)
    )
}

/// Each stretch's highest point: what is short and high is what somebody looks for.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(POINTS).max(1);
    points
        .chunks(step)
        .filter_map(|stretch| {
            stretch
                .iter()
                .copied()
                .max_by(|one, other| one.1.total_cmp(&other.1))
        })
        .collect()
}

/// The next figure that is easy to read.
fn round_up(value: f64, unit: Unit) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let base: f64 = match unit {
        Unit::Bytes => 1024f64.powf(value.log(1024.0).floor()),
        Unit::Count | Unit::Seconds | Unit::Share => 10f64.powf(value.log10().floor()),
    };
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1024.0]
        .iter()
        .map(|factor| factor * base)
        .find(|top| *top >= value)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0.0, Unit::Count, 1.0)]
    #[case(1502.0, Unit::Count, 2000.0)]
    #[case(0.031, Unit::Seconds, 0.05)]
    #[case(3_000_000.0, Unit::Bytes, 5.0 * 1024.0 * 1024.0)]
    fn axes_end_at_a_round_figure(#[case] value: f64, #[case] unit: Unit, #[case] top: f64) {
        assert!((round_up(value, unit) - top).abs() < 1e-9);
    }

    #[test]
    fn a_short_peak_is_drawn() {
        let points: Vec<(f64, f64)> = (0..1000)
            .map(|n| (f64::from(n), f64::from(u8::from(n == 501))))
            .collect();
        let thinned = thinned(points);
        assert!(thinned.len() <= POINTS && thinned.iter().any(|(_, value)| *value == 1.0));
    }
}
