//! How mistakes are told: all at once, with file and line.

use super::*;

#[test]
fn all_mistakes_come_at_once_in_the_order_of_lines() {
    let text = SMALLEST.replace("mta.example.org", "mta example").replace("\"off\"", "\"on\"")
        + "[retry]\nlifetime = \"x\"\ncolour = 1\n";
    let lines: Vec<usize> = parse(&text).expect_err("four mistakes").iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [2, 8, 11, 12]);
}

#[test]
fn a_mistake_names_its_file_and_line() {
    let mistake = Mistake { line: 12, text: "wrong".into() };
    assert_eq!(mistake.in_file(Path::new("ringpost.toml")), "ringpost.toml:12: wrong");
    let whole = Mistake { line: 0, text: "cannot be read".into() };
    assert_eq!(whole.in_file(Path::new("ringpost.toml")), "ringpost.toml: cannot be read");
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mistakes = Config::load(&folder.path().join("none.toml")).expect_err("no such file");
    assert_eq!(mistakes[0].line, 0);
    let file = folder.path().join("ringpost.toml");
    std::fs::write(&file, SMALLEST).expect("a file");
    assert_eq!(Config::load(&file).expect("good").data_dir, folder.path().join("data"));
}
