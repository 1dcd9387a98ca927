//! Unsafe code is in sys/ alone, and each use of it says why it is sound. (The compiler and clippy hold the crates to it;
//! this holds what they are told.)

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace;

/// The crate with unsafe code.
const UNSAFE_CRATE: &str = "sys";
/// The crate of what Slint's compiler makes, which permits itself unsafe code; nobody writes any there.
const GENERATED_CRATE: &str = "dialog/window/ui";
/// How far above a use its argument may end, in lines: the statement may have begun there.
const LINES_BETWEEN_MAX: usize = 8;
/// Shorter arguments are none, in bytes; "as above." is one.
const ARGUMENT_BYTES_MIN: usize = 9;
/// Folders that hold no sources of ours.
const NO_SOURCES: [&str; 2] = ["target", ".git"];

/// Every file of the workspace that ends like this.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![workspace::top().to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if entry.file_type().unwrap().is_dir() {
                if !NO_SOURCES.iter().any(|other| name == *other) {
                    waiting.push(entry.path());
                }
            } else if name.to_str().is_some_and(|name| name.ends_with(ending)) {
                found.push(entry.path());
            }
        }
    }
    found
}

fn is_below(path: &Path, folder: &str) -> bool {
    path.starts_with(workspace::top().join(folder))
}

/// The numbers, from 0, of lines that use unsafe code: outside of comments and strings, as this project writes.
fn uses(text: &str) -> Vec<usize> {
    let forms = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "[unsafe("];
    let is_use = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        forms.iter().any(|form| code.contains(form)) && !code.contains('"')
    };
    text.lines().enumerate().filter(|(_, line)| is_use(line)).map(|(number, _)| number).collect()
}

/// The argument for the use in this line: the text behind SAFETY in the comment above it, or in its documentation.
fn argument(lines: &[&str], number: usize) -> Option<String> {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let start = (number.saturating_sub(LINES_BETWEEN_MAX)..number).rev().find(|at| is_comment(lines[*at]))?;
    let first = (0..=start).rev().take_while(|at| is_comment(lines[*at])).last()?;
    let comment: String =
        lines[first..=start].iter().map(|line| line.trim().trim_start_matches(['/', ' '])).collect();
    let markers = ["SAFETY:", "# Safety"];
    markers.iter().find_map(|marker| Some(comment.split_once(marker)?.1.trim().to_owned()))
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    for path in files(".rs") {
        if !is_below(&path, UNSAFE_CRATE) && !path.ends_with("xtask/src/supply/unsafe_code.rs") {
            let found = uses(&fs::read_to_string(&path).unwrap());
            assert!(found.is_empty(), "{}: lines {found:?}", path.display());
        }
    }
    let root = fs::read_to_string(workspace::top().join("Cargo.toml")).unwrap();
    assert!(root.contains("\nunsafe_code = \"forbid\"\n"));
    for path in files("Cargo.toml") {
        let is_exception = is_below(&path, UNSAFE_CRATE)
            || is_below(&path, GENERATED_CRATE)
            || path.parent() == Some(workspace::top())
            || is_below(&path, "fuzz");
        let text = fs::read_to_string(&path).unwrap();
        assert!(is_exception || text.contains("[lints]\nworkspace = true\n"), "{}", path.display());
    }
}

#[test]
fn each_use_of_unsafe_code_has_its_argument() {
    let mut count = 0;
    for path in files(".rs").iter().filter(|path| is_below(path, UNSAFE_CRATE)) {
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for number in uses(&text) {
            let argument = argument(&lines, number).unwrap_or_default();
            assert!(argument.len() >= ARGUMENT_BYTES_MIN, "{}:{}: no SAFETY", path.display(), number + 1);
            count += 1;
        }
    }
    assert!(count > 20, "only {count} were found");
}

#[test]
fn a_use_without_an_argument_is_found() {
    let text = "fn f() {\n    // SAFETY: the kernel writes no more than it is given room for.\n    let a =\n        unsafe { g() };\n\n\n\n\n\n\n\n    unsafe { h() };\n    // unsafe { k() }\n}\n";
    assert_eq!(uses(text), [3, 11]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(argument(&lines, 3).unwrap().starts_with("the kernel writes"));
    assert_eq!(argument(&lines, 11), None);
}
