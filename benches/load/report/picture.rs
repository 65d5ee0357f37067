//! The ratios as a picture: a bar for each wish, on a logarithmic axis, with a mark where the wish is.

use std::fmt::Write;

use super::{About, Found};

const LEFT: f64 = 210.0;
const WIDTH: f64 = 420.0;
const RIGHT: f64 = 330.0;
const LINE: f64 = 22.0;
const TOP: f64 = 58.0;

/// The least and the most that the axis shows.
const LEAST: f64 = 0.1;
const MOST: f64 = 1000.0;

fn x(ratio: f64) -> f64 {
    let part = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + part * WIDTH
}

/// An SVG. Its colours follow the reader's choice of light or dark.
pub fn picture(about: &About, all: &[Found]) -> String {
    let mut bars = String::new();
    let mut y = TOP;
    for found in all {
        for (number, verdict) in found.verdicts(all).iter().enumerate() {
            let (one, here) = (x(1.0), x(verdict.ratio));
            let class = if verdict.met { "met" } else { "missed" };
            let name = if number == 0 { found.row.name } else { "" };
            let _ = writeln!(
                bars,
                "<text x='{:.0}' y='{:.0}' class='name'>{name}</text>\
                 <rect x='{:.1}' y='{:.0}' width='{:.1}' height='12' class='{class}'/>\
                 <line x1='{2:.1}' x2='{2:.1}' y1='{:.0}' y2='{:.0}' class='wish' transform='translate({:.1})'/>\
                 <text x='{:.0}' y='{1:.0}'>{}</text>",
                LEFT - 10.0,
                y + 11.0,
                one.min(here),
                y + 1.0,
                (one - here).abs().max(1.0),
                y - 2.0,
                y + 16.0,
                x(verdict.wanted) - one.min(here),
                LEFT + WIDTH + 12.0,
                escaped(&verdict.text),
            );
            y += LINE;
        }
    }
    let mut axis = String::new();
    for ratio in [0.1, 1.0, 10.0, 100.0, 1000.0] {
        let _ = writeln!(
            axis,
            "<line x1='{0:.1}' x2='{0:.1}' y1='{1:.0}' y2='{y:.0}' class='axis'/>\
             <text x='{0:.1}' y='{2:.0}' class='tick'>{ratio} ×</text>",
            x(ratio),
            TOP - 8.0,
            TOP - 12.0,
        );
    }
    let (width, height) = (LEFT + WIDTH + RIGHT, y + 12.0);
    let title = escaped(&format!("Packhouse against its peers, {}; {}", about.date, about.machine));
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0} {height:.0}' font-family='sans-serif' \
         font-size='12'>\n<style>\ntext {{ fill: #24292f }} .met {{ fill: #2da44e }} .missed {{ fill: #cf222e }} \
         .axis {{ stroke: #d0d7de }} .wish {{ stroke: #24292f; stroke-width: 2 }} .name {{ text-anchor: end }} \
         .tick {{ text-anchor: middle }} .title {{ font-weight: bold }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} .met {{ fill: #3fb950 }} .missed {{ fill: \
         #f85149 }} .axis {{ stroke: #30363d }} .wish {{ stroke: #e6edf3 }} }}\n</style>\n\
         <text x='10' y='20' class='title'>{title}</text>\n{axis}{bars}</svg>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
