//! Bar plots, as HTML: a row for each thing, its bar as long as its value.

use std::fmt::Write as _;

use super::lines::legend;
use super::page::escaped;

/// A row.
pub(super) struct Row {
    pub(super) name: String,
    /// Lengths that follow each other, each with its colour.
    pub(super) parts: Vec<(f64, usize)>,
    /// The value in words.
    pub(super) text: String,
    /// The least and the most that was measured.
    pub(super) spread: Option<(f64, f64)>,
}

/// Bars below each other on a common scale, with a legend where parts have names.
pub(super) fn bars(title: &str, rows: &[Row], parts: &[&str]) -> String {
    let total = |row: &Row| row.parts.iter().map(|(value, _)| value.max(0.0)).sum::<f64>();
    let most = |row: &Row| row.spread.map_or(0.0, |(_, max)| max).max(total(row));
    let longest = rows.iter().map(most).fold(0.0, f64::max);
    if longest <= 0.0 {
        return String::new();
    }
    let mut html = format!("<figure class=\"bars\"><figcaption>{}</figcaption>", escaped(title));
    for row in rows {
        let _ =
            write!(html, "<div class=\"row\"><span class=\"what\">{}</span><span class=\"track\">", escaped(&row.name));
        for (value, colour) in &row.parts {
            let _ =
                write!(html, "<b class=\"b{colour}\" style=\"width:{:.2}%\"></b>", value.max(0.0) / longest * 100.0);
        }
        if let Some((min, max)) = row.spread.filter(|(min, max)| max > min) {
            let (left, width) = (min / longest * 100.0, (max - min) / longest * 100.0);
            let _ = write!(html, "<s style=\"left:{left:.2}%;width:{width:.2}%\"></s>");
        }
        let _ = write!(html, "</span><span class=\"value\">{}</span></div>", escaped(&row.text));
    }
    if parts.len() > 1 {
        html.push_str(&legend(parts.iter().enumerate().map(|(colour, name)| (*name, colour, false))));
    }
    html + "</figure>"
}
