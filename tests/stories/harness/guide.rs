//! The examples of `docs/guide.md`, so that what users copy is what the stories run.

use std::path::Path;

/// What a section of the guide shows.
pub struct Example {
    /// Names and contents of its files: the code blocks whose fence names one, as in ` ```js send.js `.
    pub files: Vec<(String, String)>,
    /// What to exchange for port 587, from its paragraph `Port 587: A becomes B, …`.
    pub starttls: Vec<(String, String)>,
}

/// The guide's text.
pub fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide.md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The example under the heading `### SECTION`.
pub fn example(section: &str) -> Example {
    let guide = text();
    let heading = format!("### {section}");
    let mut lines = guide.lines().skip_while(|line| *line != heading).skip(1);
    let mut example = Example { files: Vec::new(), starttls: Vec::new() };
    while let Some(line) = lines.next() {
        if let Some(fence) = line.strip_prefix("```") {
            let content: String =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            if let Some((_, name)) = fence.split_once(' ') {
                example.files.push((name.to_owned(), content));
            }
        } else if line.starts_with("Port 587:") {
            let rest = lines.by_ref().take_while(|line| !line.is_empty());
            let paragraph = std::iter::once(line).chain(rest).collect::<Vec<_>>().join(" ");
            let code: Vec<&str> = paragraph.split('`').skip(1).step_by(2).collect();
            example.starttls.extend(code.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())));
        } else if line.starts_with("## ") || line.starts_with("### ") {
            break;
        }
    }
    assert!(!example.files.is_empty(), "the guide shows nothing under {heading}");
    assert!(!example.starttls.is_empty(), "the guide does not say how {section} uses port 587");
    example
}
