//! Rules as dom0's owner writes them, and the ways to write them wrong.

use proptest::prelude::*;

use policy::{
    Action, FILE_BYTES_MAX, LINE_BYTES_MAX, Operation, Party, Policy, PolicyError, RULES_MAX, load,
};
use protocol::types::VmName;

const TAGS: &[u8] = b"# who may do more\nwork trusted\nvault  trusted\tsecret\n";

fn one(text: &str) -> Result<Policy, PolicyError> {
    load(&[(String::from("a.policy"), text.as_bytes().to_vec())], ("tags", TAGS))
}

/// What the policy says of a copy, as `action file:line`.
fn says(policy: &Policy, operation: Operation, source: &str, target: &str) -> String {
    let names = [source, target].map(|text| VmName::new(text.trim_start_matches('%').as_bytes()));
    let [Ok(source_name), Ok(target_name)] = names else { return String::from("not a name") };
    let party = |text: &str, name| {
        if text == "new" {
            Party::NewDisposable
        } else {
            Party::Vm { name, disposable: text.starts_with('%') }
        }
    };
    let decision = policy.decide(operation, &party(source, &source_name), &party(target, &target_name));
    let origin = decision.origin.map_or_else(|| String::from("default"), |origin| origin.to_string());
    format!("{}{} {origin}", decision.action.word(), if decision.notify { "+notify" } else { "" })
}

fn where_refused(text: &str) -> (usize, usize) {
    match one(text) {
        Ok(_) => (0, 0),
        Err(error) => (error.line, error.column),
    }
}

#[test]
fn the_first_matching_line_decides_and_the_default_is_to_ask() {
    let policy = one(
        "copy work vault allow notify=yes # trusted\n\n  *\t* vault deny\ncopy @tag:trusted @anyvm allow\n",
    )
    .unwrap();
    assert_eq!(says(&policy, Operation::Copy, "work", "vault"), "allow+notify a.policy:1");
    assert_eq!(says(&policy, Operation::Copy, "mail", "vault"), "deny a.policy:3");
    assert_eq!(says(&policy, Operation::Dvm, "work", "vault"), "deny a.policy:3");
    assert_eq!(says(&policy, Operation::Copy, "vault", "mail"), "allow a.policy:4");
    assert_eq!(says(&policy, Operation::Copy, "mail", "work"), "ask default");
    assert_eq!(says(&Policy::default(), Operation::Copy, "work", "vault"), "ask default");
}

#[test]
fn disposables_are_matched_by_what_they_are_and_not_by_their_name() {
    let policy = one("copy @dispvm * deny\ndvm * @dispvm allow\ncopy * disp1 allow").unwrap();
    assert_eq!(says(&policy, Operation::Copy, "%disp1", "work"), "deny a.policy:1");
    assert_eq!(says(&policy, Operation::Copy, "disp1", "work"), "ask default");
    assert_eq!(says(&policy, Operation::Dvm, "work", "new"), "allow a.policy:2");
    assert_eq!(says(&policy, Operation::Copy, "work", "new"), "ask default");
}

#[test]
fn files_are_read_in_the_order_of_their_names() {
    let files = [("b.policy", "copy * * allow"), ("a.policy", "copy * * deny")]
        .map(|(name, text)| (String::from(name), text.as_bytes().to_vec()));
    let policy = load(&files, ("tags", b"")).unwrap();
    assert_eq!(says(&policy, Operation::Copy, "work", "vault"), "deny a.policy:1");
}

#[test]
fn each_mistake_is_named_with_line_and_column() {
    for (text, at) in [
        ("copi work vault allow", (1, 1)),
        ("\n  kopy work vault allow", (2, 3)),
        ("copy", (1, 5)),
        ("copy work", (1, 10)),
        ("copy work vault", (1, 16)),
        ("copy work vault yes", (1, 17)),
        ("copy work vault Allow", (1, 17)),
        ("copy work vault allow please", (1, 23)),
        ("copy work vault allow notify=yes notify=yes", (1, 34)),
        ("copy work vault allow notify=", (1, 23)),
        ("copy -work vault allow", (1, 6)),
        ("copy work va/ult allow", (1, 11)),
        ("copy @tag:nobody vault allow", (1, 6)),
        ("copy @tag: vault allow", (1, 6)),
        ("copy @everyvm vault allow", (1, 6)),
        ("copy w\u{f6}rk vault allow", (1, 7)),
        ("copy work\rvault allow", (1, 10)),
        ("copy work vault allow\n\0", (2, 1)),
    ] {
        assert_eq!(where_refused(text), at, "{text:?}");
    }
    let error = one("copy * * alow").unwrap_err();
    assert_eq!(error.to_string(), "a.policy:1:10: an action is ask, allow or deny");
}

#[test]
fn bytes_that_are_no_text_are_refused_where_they_stand() {
    let files = [(String::from("a.policy"), b"copy * * deny\ncopy \xFF".to_vec())];
    let error = load(&files, ("tags", b"")).unwrap_err();
    assert_eq!((error.line, error.column), (2, 6));
}

#[test]
fn a_tags_file_is_held_to_the_same_rules() {
    for (text, at) in
        [("work", (1, 5)), ("wo/rk tag", (1, 1)), ("work t\u{e9}", (1, 7)), ("work a/b", (1, 6))]
    {
        let error = load(&[], ("tags", text.as_bytes())).unwrap_err();
        assert_eq!((error.line, error.column), at, "{text:?}");
    }
}

#[test]
fn l19_files_lines_and_rules_are_bounded() {
    let line = |length: usize| format!("copy * * ask{}", " ".repeat(length - 12));
    assert!(one(&line(LINE_BYTES_MAX)).is_ok());
    assert_eq!(where_refused(&line(LINE_BYTES_MAX + 1)), (1, LINE_BYTES_MAX + 1));
    assert!(one(&"copy * * ask\n".repeat(RULES_MAX)).is_ok());
    assert_eq!(where_refused(&"copy * * ask\n".repeat(RULES_MAX + 1)), (RULES_MAX + 1, 1));
    assert!(one(&"#\n".repeat(FILE_BYTES_MAX / 2)).is_ok());
    assert_eq!(where_refused(&format!("{}#", "#\n".repeat(FILE_BYTES_MAX / 2))), (1, 1));
    assert!(one("").is_ok());
}

#[test]
fn what_is_no_text_is_refused_in_its_line_and_column() {
    let refused = |text: &[u8]| {
        let file = [("30-user.policy".to_owned(), text.to_vec())];
        let error = load(&file, ("tags", b"")).expect_err("refused");
        (error.line, error.column, error.text)
    };
    assert_eq!(refused(b"copy * * ask\ncopy \xe0"), (2, 6, "this is not UTF-8".to_owned()));
    assert_eq!(refused(b"# \xe0"), (1, 3, "this is not UTF-8".to_owned()));
    // The line is too long before it is anything else, so the column stays within bounds.
    let long = [vec![b'a'; LINE_BYTES_MAX + 1], vec![0xe0]].concat();
    assert_eq!(refused(&long), (1, LINE_BYTES_MAX + 1, "a line is at most 1024 bytes".to_owned()));
}

proptest! {
    #[test]
    fn no_text_that_is_refused_ever_allows(text in "[ -~\\n\\t\u{e4}\0]{0,80}") {
        // Whatever is accepted consists of rules that say so in words.
        if let Ok(policy) = one(&text) {
            let allowing = policy.rules().iter().filter(|rule| rule.action == Action::Allow).count();
            prop_assert!(text.matches("allow").count() >= allowing);
        }
    }

    #[test]
    fn arbitrary_bytes_are_a_policy_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(error) = load(&[(String::from("a.policy"), bytes)], ("tags", b"")) {
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
