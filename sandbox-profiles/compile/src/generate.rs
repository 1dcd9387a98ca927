//! From compiled profiles to the text of Rust constants.

use std::fmt::Write;

use super::Compiled;
use super::format::{Ids, Landlock, Later, Namespace};
use super::names;

/// The constants of all profiles, and the list of them.
///
/// # Errors
/// None that is known.
pub fn all(profiles: &[Compiled]) -> Result<String, String> {
    let mut text = String::new();
    for profile in profiles {
        one(&mut text, profile)?;
    }
    let list: Vec<String> = profiles.iter().map(|profile| format!("&{}", constant_name(profile))).collect();
    text.push_str("/// Every profile.\n");
    put(&mut text, format_args!("pub static ALL: &[&Profile] = &[{}];\n", list.join(", ")))?;
    Ok(text)
}

fn one(text: &mut String, profile: &Compiled) -> Result<(), String> {
    let file = &profile.file;
    let name = constant_name(profile);
    put(text, format_args!("/// The profile of `{}`.\n", file.process))?;
    put(text, format_args!("pub static {name}: Profile = Profile {{\n"))?;
    put(text, format_args!("process: {:?},\nuser: {:?},\n", file.process, file.user))?;
    put(text, format_args!("stdio: Stdio::{:?},\ndescriptors: &{:?},\n", file.stdio, file.descriptors))?;
    match &file.rest {
        None => put(text, format_args!("rest: None,\n"))?,
        Some(rest) => put(
            text,
            format_args!("rest: Some(Rest {{ name: {:?}, count_max: {} }}),\n", rest.name, rest.count_max),
        )?,
    }
    text.push_str("later: &[");
    for later in &file.later {
        let Later { kind, count_max, reason } = later;
        let kind = format_args!("Kind::{kind:?}");
        put(text, format_args!("Later {{ kind: {kind}, count_max: {count_max}, reason: {reason:?} }},"))?;
    }
    text.push_str("],\n");
    put(
        text,
        format_args!(
            "namespaces: {},\nroot: Root::{:?},\n",
            namespaces(&file.namespaces, file.ids),
            file.root
        ),
    )?;
    let capabilities: Vec<usize> =
        file.capabilities.iter().filter_map(|name| names::capability(name)).collect();
    put(text, format_args!("capabilities: &{capabilities:?},\nrlimits: &["))?;
    for (resource, value) in &file.rlimits {
        put(text, format_args!("Limit {{ resource: Resource::{resource:?}, value: {value} }},"))?;
    }
    put(text, format_args!("],\nlandlock: {},\nfilter: &[", landlock(&file.landlock()?)))?;
    for step in &profile.program {
        let (code, jt, jf, k) = (step.code, step.jt, step.jf, step.k);
        put(text, format_args!("SockFilter {{ code: {code}, jt: {jt}, jf: {jf}, k: {k} }},"))?;
    }
    text.push_str("],\nsyscalls: &[\n");
    for grant in &profile.grants {
        let conditions: Vec<&str> =
            grant.conditions.iter().map(|condition| condition.text.as_str()).collect();
        put(
            text,
            format_args!(
                "Syscall {{ name: {:?}, number: {}, conditions: &{conditions:?}, reason: {:?} }},\n",
                grant.name, grant.number, grant.reason
            ),
        )?;
    }
    text.push_str("],\n};\n\n");
    Ok(())
}

fn namespaces(wanted: &[Namespace], ids: Ids) -> String {
    let has = |namespace| wanted.contains(&namespace);
    format!(
        "Namespaces {{ user: {}, pid: {}, net: {}, ipc: {}, uts: {}, cgroup: {}, all_ids: {} }}",
        has(Namespace::User),
        has(Namespace::Pid),
        has(Namespace::Net),
        has(Namespace::Ipc),
        has(Namespace::Uts),
        has(Namespace::Cgroup),
        ids == Ids::All
    )
}

fn landlock(landlock: &Landlock) -> String {
    let rules = match landlock {
        Landlock::NotForStarters => return "Landlock::NotForStarters".to_owned(),
        Landlock::Rules(rules) => rules,
    };
    let rule = |rule: &super::format::LandlockRule| {
        let access: Vec<String> = rule.access.iter().map(|right| format!("FsAccess::{right:?}")).collect();
        format!("LandlockRule {{ descriptor: {:?}, access: &[{}] }}", rule.descriptor, access.join(", "))
    };
    let rules: Vec<String> = rules.iter().map(rule).collect();
    format!("Landlock::Rules(&[{}])", rules.join(", "))
}

fn constant_name(profile: &Compiled) -> String {
    profile.stem.replace('-', "_").to_uppercase()
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) -> Result<(), String> {
    text.write_fmt(arguments).map_err(|error| error.to_string())
}
