//! The reference configuration leaves nothing out.

use super::*;

/// A key that no section has, nor one like it.
const NOBODYS: &str = "zzzzzzzzzzzzzzzzzzzz";

/// The keys that a section knows, as it says itself when it is asked for another.
fn known_in(section: &str, header: &str) -> Vec<String> {
    let mistakes = parse(&format!("{header}\n{NOBODYS} = 1\n")).expect_err("nobody knows that key");
    let place = if section.is_empty() { "`: known are ".into() } else { format!("` in [{section}]: known are ") };
    let known = mistakes.iter().find_map(|mistake| mistake.text.split_once(&format!("{NOBODYS}{place}")));
    let (_, known) = known.unwrap_or_else(|| panic!("[{section}] does not tell its keys: {mistakes:?}"));
    known.split(", ").map(str::to_owned).collect()
}

/// Whether the reference shows the section `name` with a header, and all lines of such sections, without the `#`.
fn of_reference(name: &str) -> (Option<&'static str>, Vec<&'static str>) {
    let uncommented = REFERENCE.lines().map(|line| line.trim_start_matches("# "));
    let (mut header, mut lines, mut is_in) = (None, Vec::new(), name.is_empty());
    for line in uncommented {
        let bare = line.split('#').next().unwrap_or_default().trim();
        if bare.starts_with('[') && bare.ends_with(']') {
            is_in = bare.trim_matches(['[', ']']) == name;
            header = header.or(is_in.then_some(bare));
        } else if is_in {
            lines.push(line);
        }
    }
    (header, lines)
}

#[test]
fn the_reference_has_every_key_of_every_section() {
    let mut sections = vec![String::new()];
    let (mut missing, mut keys) = (Vec::new(), 0);
    while let Some(section) = sections.pop() {
        let (header, lines) = of_reference(&section);
        for key in known_in(&section, header.unwrap_or_default()) {
            let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            // What a section has like another one is told in words behind `##`.
            let names_it = |line: &&&str| match line.strip_prefix("##") {
                Some(words) => words.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key),
                None => line.strip_prefix(&key).is_some_and(|rest| rest.trim_start().starts_with('=')),
            };
            if of_reference(&path).0.is_some() {
                sections.push(path);
            } else if lines.iter().find(names_it).is_some() {
                keys += 1;
            } else {
                missing.push(path);
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(keys > 100, "only {keys} keys were found");
}
