//! Documents name tests: SECURITY.md one for each of its sentences, the lab's one for each of its scenarios. Each of them
//! must exist.

use std::collections::BTreeSet;

use xen_lab::scenarios::ALL;

use crate::mutants::files;
use crate::workspace::top;

/// Documents whose tests are looked for.
const DOCUMENTS: [&str; 3] = ["SECURITY.md", "docs/mutation.md", "xen-lab/README.md"];

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
fn every_test_and_file_that_a_document_names_exists() {
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
    functions.extend(ALL.iter().map(|scenario| scenario.name.to_owned()));
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(top().join(document)).unwrap();
        let mut tests = 0;
        for word in quoted(&text) {
            if is_test_name(word) {
                tests += 1;
                assert!(functions.contains(word), "{document}: there is no test {word}");
            } else if word.contains('/') && !word.contains([' ', '*', '{', '~']) && !word.starts_with('/') {
                let near = top().join(document).with_file_name(word);
                assert!(top().join(word).exists() || near.exists(), "{document}: there is no {word}");
            }
        }
        assert!(tests >= 10, "{document} names {tests} tests");
    }
}

#[test]
fn the_lab_lists_every_scenario_beside_its_like_on_the_simulated_host() {
    let text = std::fs::read_to_string(top().join("xen-lab/README.md")).unwrap();
    let first = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let listed =
        first.flat_map(|cell| cell.split('`')).filter(|word| is_test_name(word)).collect::<BTreeSet<_>>();
    let all = ALL.iter().map(|scenario| scenario.name).collect::<BTreeSet<_>>();
    assert_eq!(listed, all);
}
