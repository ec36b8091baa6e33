//! Line plots, as SVG that takes its colours from the page.

use std::fmt::Write as _;

use super::page::escaped;
use super::scale::Scale;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 40.0;

/// A plot.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// What is along the bottom.
    pub(super) along: &'a str,
    pub(super) x: Scale,
    pub(super) y: Scale,
    /// How marks are written.
    pub(super) write_x: &'a dyn Fn(f64) -> String,
    pub(super) write_y: &'a dyn Fn(f64) -> String,
    pub(super) lines: Vec<Line>,
    /// Stretches of the x axis with their names, such as the steps of a scenario.
    pub(super) bands: Vec<(f64, f64, String)>,
}

/// One line of it.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Its colour's number.
    pub(super) colour: usize,
    /// Drawn in dashes: another kind of thing than the others.
    pub(super) dashed: bool,
}

impl Plot<'_> {
    /// A figure with its caption and legend; nothing where there is nothing to draw.
    pub(super) fn svg(&self) -> String {
        if self.lines.iter().all(|line| line.points.len() < 2) {
            return String::new();
        }
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(self.title),
            escaped(self.title)
        );
        self.bands(&mut svg);
        self.axes(&mut svg);
        for line in &self.lines {
            self.line(line, &mut svg);
        }
        svg.push_str("</svg>");
        if self.lines.len() > 1 {
            svg.push_str(&legend(self.lines.iter().map(|line| (line.name.as_str(), line.colour, line.dashed))));
        }
        svg.push_str("</figure>");
        svg
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn bands(&self, svg: &mut String) {
        /// Pixels below which a name does not fit.
        const LETTER: f64 = 5.5;
        for (number, (from, to, name)) in self.bands.iter().enumerate() {
            let (x, end) = (self.at_x(*from), self.at_x(*to));
            let (width, height) = (end - x, HEIGHT - TOP - BOTTOM);
            if number % 2 == 0 {
                let _ = write!(
                    svg,
                    "<rect class=\"band\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>"
                );
            }
            if width > name.chars().count() as f64 * LETTER {
                let (middle, above) = (x + width / 2.0, TOP - 5.0);
                let _ = write!(svg, "<text class=\"name\" x=\"{middle:.1}\" y=\"{above}\">{}</text>", escaped(name));
            }
        }
    }

    fn axes(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for mark in self.y.marks() {
            let (y, left) = (self.at_y(mark), LEFT - 6.0);
            let _ = write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            let _ =
                write!(svg, "<text class=\"mark y\" x=\"{left}\" y=\"{:.1}\">{}</text>", y + 3.5, (self.write_y)(mark));
        }
        for mark in self.x.marks() {
            let x = self.at_x(mark);
            let _ = write!(
                svg,
                "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/>",
                bottom + 4.0
            );
            let _ = write!(
                svg,
                "<text class=\"mark\" x=\"{x:.1}\" y=\"{}\">{}</text>",
                bottom + 16.0,
                (self.write_x)(mark)
            );
        }
        let _ = write!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>");
        let (middle, low) = ((LEFT + right) / 2.0, HEIGHT - 6.0);
        let _ = write!(svg, "<text class=\"along\" x=\"{middle}\" y=\"{low}\">{}</text>", escaped(self.along));
    }

    fn line(&self, line: &Line, svg: &mut String) {
        let mut path = String::new();
        for (number, (x, y)) in line.points.iter().filter(|(_, y)| y.is_finite()).enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", self.at_x(*x), self.at_y(*y));
        }
        let dashed = if line.dashed { " dashed" } else { "" };
        let _ = write!(
            svg,
            "<path class=\"line c{}{dashed}\" d=\"{path}\"><title>{}</title></path>",
            line.colour,
            escaped(&line.name)
        );
    }
}

/// Names with their colours.
pub(super) fn legend<'a>(entries: impl Iterator<Item = (&'a str, usize, bool)>) -> String {
    let mut html = String::from("<div class=\"legend\">");
    for (name, colour, dashed) in entries {
        let dashed = if dashed { " dashed" } else { "" };
        let _ = write!(html, "<span><i class=\"b{colour}{dashed}\"></i>{}</span>", escaped(name));
    }
    html + "</div>"
}
