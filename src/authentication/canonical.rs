//! What is signed of a message: its relaxed form, which no change of white space on its way breaks (RFC 6376 §3.4.2,
//! §3.4.4).

use memchr::{memchr, memmem};

/// Gives the relaxed form of `body` to `digest`, in pieces: no white space at the ends of lines, runs of it as one space,
/// no empty lines at the end, the last line ended. Nothing at all for a body without text.
pub fn body(body: &[u8], mut digest: impl FnMut(&[u8])) {
    let Some(last) = body.iter().rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) else { return };
    let text = &body[..=last];
    let two_spaces = memmem::Finder::new(b"  ");
    // Most lines are relaxed as they are: what was not given on yet begins at `from`.
    let (mut from, mut begin) = (0, 0);
    while begin < text.len() {
        let end = memchr(b'\n', &text[begin..]).map_or(text.len(), |length| begin + length + 1);
        let line = text[begin..end].strip_suffix(b"\r\n").unwrap_or(&text[begin..end]);
        let is_relaxed = !line.ends_with(b" ") && memchr(b'\t', line).is_none() && two_spaces.find(line).is_none();
        if !is_relaxed {
            digest(&text[from..begin]);
            relax(line, &mut digest);
            from = begin + line.len();
        }
        begin = end;
    }
    digest(&text[from..]);
    digest(b"\r\n");
}

fn relax(line: &[u8], digest: &mut impl FnMut(&[u8])) {
    let words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let mut is_first = !line.starts_with(b" ") && !line.starts_with(b"\t");
    for word in words {
        if !std::mem::take(&mut is_first) {
            digest(b" ");
        }
        digest(word);
    }
}

/// Appends the relaxed form of a whole field: its name in lower case, its value on one line, runs of white space as one
/// space, none at the ends. `field` is as it stands in a header; what has no colon is nothing.
pub fn field(field: &[u8], out: &mut Vec<u8>) {
    let Some(colon) = memchr(b':', field) else { return };
    let (name, value) = (field[..colon].trim_ascii_end(), &field[colon + 1..]);
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let words = value.split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).filter(|word| !word.is_empty());
    for (number, word) in words.enumerate() {
        if number > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(text: &str) -> String {
        let mut whole = Vec::new();
        body(text.as_bytes(), |piece| whole.extend_from_slice(piece));
        String::from_utf8(whole).expect("text")
    }

    fn field_of(text: &str) -> String {
        let mut whole = Vec::new();
        field(text.as_bytes(), &mut whole);
        String::from_utf8(whole).expect("text")
    }

    #[test]
    fn the_rfcs_own_example() {
        assert_eq!(field_of("A: X\r\n") + &field_of("B : Y\t\r\n\tZ  \r\n"), "a:X\r\nb:Y Z\r\n");
        assert_eq!(body_of(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
    }

    #[test]
    fn bodies_have_one_form_whatever_white_space_they_have() {
        for (text, form) in [
            ("", ""),
            ("\r\n\r\n", ""),
            (" \t\r\n \r\n", ""),
            ("x", "x\r\n"),
            ("x\r\n", "x\r\n"),
            ("x\r\n \t \r\n\r\n", "x\r\n"),
            ("x \r\n\r\n\t\r\ny", "x\r\n\r\n\r\ny\r\n"),
            ("a b  c\td \t e", "a b c d e\r\n"),
            ("\t a", " a\r\n"),
            ("a\r\n b\t\r\n\tc  d\r\ne", "a\r\n b\r\n c d\r\ne\r\n"),
            ("a\u{c}\r\n\u{b}", "a\u{c}\r\n\u{b}\r\n"),
            ("Grüße  ✉ \r\n", "Grüße ✉\r\n"),
        ] {
            assert_eq!(body_of(text), form, "{text:?}");
        }
    }

    #[test]
    fn fields_have_one_form_however_they_are_folded() {
        for (text, form) in [
            ("SubJect:hello  there\r\n", "subject:hello there\r\n"),
            ("Subject\t:\r\n\thello\r\n \t there \r\n", "subject:hello there\r\n"),
            ("Subject:\r\n", "subject:\r\n"),
            ("Subject: a\u{c} b:c", "subject:a\u{c} b:c\r\n"),
        ] {
            assert_eq!(field_of(text), form, "{text:?}");
        }
    }
}
