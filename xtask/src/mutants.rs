//! `cargo xtask mutants`: takes one protection at a time out of a copy of the tree, and sees its test fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use lexopt::{Arg, Parser, ValueExt};
use serde::Deserialize;

use crate::workspace::top;
use crate::{Outcome, next};

/// The list, in the tree's xtask/.
const LIST: &str = "xtask/mutants.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// One protection, and how to remove it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    what: String,
    file: PathBuf,
    text: String,
    by: String,
    package: String,
    /// Which of the package's tests are built: the options of cargo.
    target: String,
    test: String,
    /// What the test says then, if it can fail for more than one reason.
    says: Option<String>,
    /// Packages whose programs the test needs besides.
    #[serde(default)]
    needs: Vec<String>,
}

/// How a mutant came out.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// With the line that says why, if one was asked for.
    Killed(Option<String>),
    Survived,
    /// It does not build, or the test did not run, or failed for another reason.
    Unclear(String),
}

/// Runs them all, or those whose description contains one of these words.
pub fn main(arguments: &mut Parser) -> Outcome<()> {
    let (mut only, mut folder) = (Vec::new(), top().join("target/mutants"));
    while let Some(argument) = next(arguments)? {
        match argument {
            Arg::Value(word) => only.push(word.string().map_err(|error| error.to_string())?),
            Arg::Long("dir") => {
                folder = arguments.value().map_err(|error| error.to_string())?.into();
            }
            other @ (Arg::Short(_) | Arg::Long(_)) => return Err(other.unexpected().to_string()),
        }
    }
    let tree = folder.join("tree");
    copy(&tree)?;
    let mut alive = 0_usize;
    let is_wanted =
        |mutant: &Mutant| only.is_empty() || only.iter().any(|word| mutant.what.contains(word.as_str()));
    for mutant in list()?.into_iter().filter(is_wanted) {
        let fate = mutant.play(&tree, &folder.join("target"))?;
        let word = match &fate {
            Fate::Killed(None) => "fails".to_owned(),
            Fate::Killed(Some(why)) => format!("fails: {why}"),
            Fate::Survived => "PASSES".to_owned(),
            Fate::Unclear(why) => format!("UNCLEAR: {why}"),
        };
        println!("| {} | `{}` | `{}` | {word} |", mutant.what, mutant.file.display(), mutant.test);
        alive = alive.saturating_add(usize::from(!matches!(fate, Fate::Killed(_))));
    }
    if alive == 0 {
        Ok(())
    } else {
        Err(format!("{alive} tests do not notice that their protection is gone"))
    }
}

fn list() -> Outcome<Vec<Mutant>> {
    let text = read(&top().join(LIST))?;
    let list: List = toml::from_str(&text).map_err(|error| format!("{LIST}: {error}"))?;
    Ok(list.mutant)
}

fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| format!("reading {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    std::fs::write(path, text).map_err(|error| format!("writing {}: {error}", path.display()))
}

/// Copies every file that git knows. What has not changed keeps its time, so that little is built again.
fn copy(tree: &Path) -> Outcome<()> {
    for name in files()? {
        let (from, to) = (top().join(&name), tree.join(&name));
        let bytes = std::fs::read(&from).map_err(|error| format!("reading {}: {error}", from.display()))?;
        if std::fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        let parent = to.parent().unwrap_or(tree);
        let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::copy(&from, &to));
        written.map_err(|error| format!("writing {}: {error}", to.display()))?;
    }
    Ok(())
}

/// The files of the tree.
pub(crate) fn files() -> Outcome<Vec<PathBuf>> {
    let output = Command::new("git").arg("-C").arg(top()).args(["ls-files", "-z"]).output();
    let output = output.map_err(|error| format!("git: {error}"))?;
    let text = String::from_utf8(output.stdout).map_err(|error| format!("git ls-files: {error}"))?;
    let names = text.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    let names: Vec<PathBuf> = names.filter(|name| top().join(name).is_file()).collect();
    if names.is_empty() { Err("git ls-files names no file".to_owned()) } else { Ok(names) }
}

impl Mutant {
    /// The file without the protection.
    fn apply(&self, text: &str) -> Outcome<String> {
        match text.matches(&self.text).count() {
            1 => Ok(text.replacen(&self.text, &self.by, 1)),
            count => Err(format!("{}: {:?} stands there {count} times", self.file.display(), self.text)),
        }
    }

    fn play(&self, tree: &Path, target: &Path) -> Outcome<Fate> {
        // A test that fails anyway, or cannot run here, shows nothing.
        let before = self.run(tree, target)?;
        if before != Fate::Survived {
            return Ok(Fate::Unclear("it does not pass with the protection either".to_owned()));
        }
        let path = tree.join(&self.file);
        let whole = read(&path)?;
        write(&path, &self.apply(&whole)?)?;
        let after = self.run(tree, target);
        write(&path, &whole)?;
        after
    }

    /// Runs the test on the tree as it is.
    fn run(&self, tree: &Path, target: &Path) -> Outcome<Fate> {
        if !self.needs.is_empty() {
            let words = self.needs.iter().flat_map(|package| ["-p", package]);
            cargo(tree, target, &["build"], words)?;
        }
        let words =
            ["-p", &self.package].into_iter().chain(self.target.split(' ')).chain([self.test.as_str()]);
        Ok(fate(&self.test, self.says.as_deref(), &cargo(tree, target, &["test"], words)?))
    }
}

/// What cargo prints when it does this.
fn cargo<'w>(
    tree: &Path,
    target: &Path,
    command: &[&str],
    words: impl Iterator<Item = &'w str>,
) -> Outcome<String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        // Without optimisation: each of them is built for one test.
        .envs([("CARGO_PROFILE_DEV_OPT_LEVEL", "0"), ("CARGO_PROFILE_DEV_DEBUG", "false")])
        .args(command)
        .args(words)
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the output of `cargo test` says of this one test.
fn fate(test: &str, says: Option<&str>, output: &str) -> Fate {
    let verdict = |word: &str| {
        output.lines().any(|line| {
            let name = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(word));
            name.is_some_and(|name| name.rsplit("::").next() == Some(test))
        })
    };
    if verdict(" ... FAILED") {
        let Some(says) = says else { return Fate::Killed(None) };
        match output.lines().find(|line| line.contains(says)) {
            Some(line) => Fate::Killed(Some(line.to_owned())),
            None => Fate::Unclear(format!("it fails, and does not say: {says}")),
        }
    } else if verdict(" ... ok") {
        Fate::Survived
    } else {
        Fate::Unclear("it does not build, or the test did not run".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protection_of_the_list_stands_in_the_tree_once_and_its_test_exists() {
        let mutants = list().unwrap();
        assert!(mutants.len() >= 10);
        let mut sources = String::new();
        for name in files().unwrap().iter().filter(|name| name.extension().is_some_and(|end| end == "rs")) {
            sources.push_str(&read(&top().join(name)).unwrap());
        }
        for mutant in &mutants {
            let whole = read(&top().join(&mutant.file)).unwrap();
            assert_ne!(mutant.apply(&whole).unwrap(), whole, "{}", mutant.what);
            // The tests of the profiles have their names in a table.
            let forms = [format!("fn {}(", mutant.test), format!("\"{}\",", mutant.test)];
            assert!(
                forms.iter().any(|form| sources.contains(form)),
                "{}: no test {}",
                mutant.what,
                mutant.test
            );
            let is_said = mutant.says.as_ref().is_none_or(|says| sources.contains(says.as_str()));
            assert!(is_said, "{}: no test says {:?}", mutant.what, mutant.says);
        }
    }

    #[test]
    fn a_test_that_did_not_run_kills_nothing() {
        assert_eq!(fate("a_b", None, "test x::a_b ... FAILED\n"), Fate::Killed(None));
        assert_eq!(fate("a_b", None, "test a_b ... ok\n"), Fate::Survived);
        for output in ["", "test c_a_b ... FAILED\n", "test a_b_c ... FAILED\n", "running 0 tests\n"] {
            assert!(matches!(fate("a_b", None, output), Fate::Unclear(_)), "{output}");
        }
    }

    #[test]
    fn a_test_that_fails_for_another_reason_kills_nothing() {
        let output = "test a_b ... FAILED\n\nafter 3 steps: that it rains\n";
        let why = Fate::Killed(Some("after 3 steps: that it rains".to_owned()));
        assert_eq!(fate("a_b", Some("that it rains"), output), why);
        assert!(matches!(fate("a_b", Some("that it snows"), output), Fate::Unclear(_)));
    }
}
