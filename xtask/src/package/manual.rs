//! Manual pages. One that describes a configuration file takes the keys from the file itself, which explains each of
//! them, so that the two cannot differ: a line `@KEYS FILE@` stands for the keys of packaging/FILE.

use std::fmt::Write;

use super::list::packaging;
use crate::Outcome;

/// How the line begins that stands for the keys of a file.
const KEYS: &str = "@KEYS ";

/// The page of this name, complete.
pub fn page(name: &str) -> Outcome<String> {
    let source = read(&format!("man/{name}"))?;
    let mut page = String::new();
    for line in source.lines() {
        match line.strip_prefix(KEYS).and_then(|rest| rest.strip_suffix('@')) {
            Some(file) => page.push_str(&keys(&read(file)?)),
            None => {
                page.push_str(line);
                page.push('\n');
            }
        }
    }
    Ok(page)
}

fn read(name: &str) -> Outcome<String> {
    let path = packaging(name);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The sections and keys of a file, in mdoc(7). In front of a key stand comments: the last paragraph of them is about
/// the key, those before it are about the section. A key in a comment alone has no single default.
fn keys(toml: &str) -> String {
    let mut out = String::new();
    let mut paragraphs: Vec<Vec<&str>> = vec![Vec::new()];
    let mut in_list = false;
    let mut in_array = false;
    // What is in front of the first section or key introduces the file, for those who read the file itself.
    let mut is_head = true;
    for line in toml.lines() {
        let commented_key = line.strip_prefix("# ").filter(|rest| key(rest).is_some());
        if in_array {
            in_array = !line.starts_with(']');
        } else if line.is_empty() {
            if is_head {
                paragraphs = vec![Vec::new()];
                is_head = false;
            }
        } else if line == "#" {
            paragraphs.push(Vec::new());
        } else if line.starts_with('[') {
            let _ = writeln!(out, "{}.Ss {line}", if in_list { ".El\n" } else { "" });
            (in_list, is_head, paragraphs) = (false, false, vec![Vec::new()]);
        } else if let Some(assignment) = commented_key.or((!line.starts_with('#')).then_some(line)) {
            let about = paragraphs.pop().unwrap_or_default();
            if !paragraphs.iter().all(Vec::is_empty) {
                out.push_str(if in_list { ".El\n.Pp\n" } else { "" });
                paragraphs.iter().for_each(|lines| prose(&mut out, lines));
                in_list = false;
            }
            if !in_list {
                out.push_str(".Bl -tag -width Ds\n");
                in_list = true;
            }
            let _ = writeln!(out, ".It Li {}", quoted(assignment));
            prose(&mut out, &about);
            in_array = assignment.ends_with('[');
            (is_head, paragraphs) = (false, vec![Vec::new()]);
        } else if let Some(last) = paragraphs.last_mut() {
            last.push(line.trim_start_matches('#'));
        }
    }
    out.push_str(if in_list { ".El\n" } else { "" });
    out
}

/// The key that a line assigns to.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    let is_key =
        key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
    is_key.then_some(key)
}

/// A paragraph of a comment; lines that are set back are examples.
fn prose(out: &mut String, lines: &[&str]) {
    let mut in_example = false;
    for line in lines {
        let is_example = line.starts_with("  ");
        if is_example != in_example {
            out.push_str(if is_example { ".Bd -literal -compact\n" } else { ".Ed\n" });
            in_example = is_example;
        }
        if is_example {
            let _ = writeln!(out, "{}", escaped(line));
        } else {
            // In mdoc each sentence begins a line.
            for sentence in line.trim().split_inclusive(". ") {
                let _ = writeln!(out, "{}", escaped(sentence.trim_end()));
            }
        }
    }
    if in_example {
        out.push_str(".Ed\n");
    }
}

fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// As one argument of a macro.
fn quoted(line: &str) -> String {
    format!("\"{}\"", line.replace('\\', "\\e").replace('"', "\\(dq"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_the_text_of_their_keys() {
        let toml = "# head\n\n[a]\n# About a.\n#  try = 1\n#\n# About b.\n# .More.\nb = \"x\"\nc = 2\n# Of d.\n# d = [1]\n";
        let page = "\
.Ss [a]
About a.
.Bd -literal -compact
  try = 1
.Ed
.Bl -tag -width Ds
.It Li \"b = \\(dqx\\(dq\"
About b.
\\&.More.
.It Li \"c = 2\"
.It Li \"d = [1]\"
Of d.
.El
";
        assert_eq!(keys(toml), page);
    }

    #[test]
    fn a_file_without_sections_has_its_head_left_out() {
        let toml = "# head\n#\n# more head\n\n# Of a.\na = 1\n";
        assert_eq!(keys(toml), ".Bl -tag -width Ds\n.It Li \"a = 1\"\nOf a.\n.El\n");
    }

    #[test]
    fn the_page_of_the_configuration_has_every_key() {
        let page = page("qfilexchgd.toml.5").unwrap();
        for line in read("qfilexchgd.toml").unwrap().lines() {
            if let Some(key) = key(line) {
                assert!(page.contains(&format!("\n.It Li \"{key} = ")), "{key}");
            }
        }
    }
}
