//! The policy: text that is not understood is no policy at all, and one that is says the same when it is written anew.

use policy::{
    Action, LINE_BYTES_MAX, Operation, OperationMatch, Origin, Party, Policy, RULES_MAX, Rule, VmMatch, load,
};
use protocol::codec::{decode_settings, encode_settings};
use protocol::log::LogText;
use protocol::types::VmName;

/// The input is the tags file, a NUL, and two policy files with a NUL between them.
pub fn run(untrusted: &[u8]) {
    let mut texts = untrusted.splitn(3, |byte| *byte == 0);
    let tags = texts.next().unwrap_or_default();
    let names = ["10-first.policy", "90-last.policy"].map(str::to_owned);
    let files: Vec<(String, Vec<u8>)> = names.into_iter().zip(texts.map(<[u8]>::to_vec)).collect();
    match load(&files, ("tags", tags)) {
        Err(error) => {
            let file = match error.file.as_str() {
                "tags" => tags,
                name => &files.iter().find(|(file, _)| file == name).expect("an error names its file").1,
            };
            let lines = file.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!((1..=lines).contains(&error.line) && (1..=LINE_BYTES_MAX + 1).contains(&error.column));
            assert!(error.to_string().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
        }
        Ok(policy) => {
            assert!(policy.rules().len() <= RULES_MAX);
            says_the_same_when_written_anew(&policy, tags);
            decides(&policy);
            // It goes to the broker in the settings' form.
            if let Ok(bytes) = encode_settings(&policy) {
                assert_eq!(decode_settings(&bytes), Ok(policy));
            }
        }
    }
}

fn says_the_same_when_written_anew(policy: &Policy, tags: &[u8]) {
    let text: String = policy.rules().iter().map(text).collect();
    let anew =
        load(&[("x.policy".to_owned(), text.into_bytes())], ("tags", tags)).expect("rules are a policy");
    let without_origin = |rule: &Rule| Rule { origin: Origin(LogText::new("")), ..rule.clone() };
    let both = [policy, &anew].map(|policy| policy.rules().iter().map(without_origin).collect::<Vec<_>>());
    assert_eq!(both[0], both[1]);
}

fn text(rule: &Rule) -> String {
    let operation = match rule.operation {
        OperationMatch::Any => "*",
        OperationMatch::Only(operation) => operation.word(),
    };
    let vm = |vm: &VmMatch| match vm {
        VmMatch::Any => "@anyvm".to_owned(),
        VmMatch::Disposable => "@dispvm".to_owned(),
        VmMatch::Tagged(tag) => format!("@tag:{tag}"),
        VmMatch::Named(name) => name.to_string(),
    };
    let notify = if rule.notify { "notify=yes" } else { "" };
    format!("{operation} {} {} {} {notify}\n", vm(&rule.source), vm(&rule.target), rule.action.word())
}

/// No rule decides for whom it does not name.
fn decides(policy: &Policy) {
    let names = [&b"red"[..], b"green", b"disp1"].map(|name| VmName::new(name).expect("a name"));
    let vms = names.iter().map(|name| Party::Vm { name, disposable: name.as_str().starts_with("disp") });
    let parties: Vec<Party<'_>> = vms.chain([Party::NewDisposable]).collect();
    let names_party = |field: &VmMatch, party: &Party<'_>| match (field, party) {
        (VmMatch::Named(named), Party::Vm { name, .. }) => named == *name,
        (VmMatch::Named(_) | VmMatch::Tagged(_), Party::NewDisposable) => false,
        (VmMatch::Disposable, party) => !matches!(party, Party::Vm { disposable: false, .. }),
        (VmMatch::Any | VmMatch::Tagged(_), _) => true,
    };
    for operation in Operation::ALL {
        for source in &parties {
            for target in &parties {
                let decision = policy.decide(operation, source, target);
                let Some(origin) = &decision.origin else {
                    assert_eq!((decision.action, decision.notify), (Action::Ask, false));
                    continue;
                };
                let rule = policy.rules().iter().find(|rule| rule.origin == *origin).expect("a rule decides");
                assert_eq!((rule.action, rule.notify), (decision.action, decision.notify));
                assert!(names_party(&rule.source, source) && names_party(&rule.target, target));
                assert!(
                    matches!(rule.operation, OperationMatch::Any)
                        || rule.operation == OperationMatch::Only(operation)
                );
            }
        }
    }
}
