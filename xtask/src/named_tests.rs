//! SECURITY.md names a test for each of its sentences: each of them must exist.

use std::collections::BTreeSet;

use crate::mutants::files;
use crate::workspace::top;

/// Documents whose tests are looked for.
const DOCUMENTS: [&str; 2] = ["SECURITY.md", "docs/mutation.md"];

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A test's name is a sentence: lower case, with underscores.
fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 2
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[test]
fn every_test_and_file_that_security_md_names_exists() {
    let names = files().unwrap();
    let mut functions = BTreeSet::new();
    for name in names.iter().filter(|name| name.extension().is_some_and(|end| end == "rs")) {
        let text = std::fs::read_to_string(top().join(name)).unwrap();
        let words = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
        functions.extend(words.map(String::from));
        // The tests of the profiles have a table of their own.
        let listed = text.split("(\"").skip(1).filter_map(|rest| rest.split('"').next());
        functions.extend(listed.filter(|word| is_test_name(word)).map(String::from));
    }
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(top().join(document)).unwrap();
        let mut tests = 0;
        for word in quoted(&text) {
            if is_test_name(word) {
                tests += 1;
                assert!(functions.contains(word), "{document}: there is no test {word}");
            } else if word.contains('/') && !word.contains([' ', '*', '{']) && !word.starts_with('/') {
                assert!(top().join(word).exists(), "{document}: there is no {word}");
            }
        }
        assert!(tests >= 10, "{document} names {tests} tests");
    }
}
