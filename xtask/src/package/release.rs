//! Which release this is: its version, its time.

use std::process::Command;

use super::list::packaging;
use crate::Outcome;
use crate::workspace;

/// The variable that says which time files bear (reproducible-builds.org/specs/source-date-epoch).
const EPOCH_ENV: &str = "SOURCE_DATE_EPOCH";

/// A release.
#[derive(Debug)]
pub struct Release {
    /// The version of the programs, and the number of the packaging behind it.
    pub debian_version: String,
    /// Who made it: `NAME <ADDRESS>`.
    pub maintainer: String,
    /// The changelog.
    pub changelog: String,
    /// The time of all files, in seconds since 1970.
    pub epoch_s: u64,
}

impl Release {
    /// The release of this work tree.
    pub fn read() -> Outcome<Self> {
        let path = packaging("debian/changelog");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let epoch_s = epoch()?;
        Self::parse(text, env!("CARGO_PKG_VERSION"), epoch_s)
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(changelog: String, version: &str, epoch_s: u64) -> Outcome<Self> {
        let first = changelog.lines().next().unwrap_or_default();
        let debian_version = first.split(['(', ')']).nth(1).unwrap_or_default().to_owned();
        if debian_version.rsplit_once('-').is_none_or(|(upstream, _)| upstream != version) {
            return Err(format!("the newest entry is not of version {version}-N: {first}"));
        }
        let trailer = changelog.lines().find_map(|line| line.strip_prefix(" -- "));
        let maintainer = trailer.and_then(|line| line.split_once("  ")).map(|(name, _)| name.to_owned());
        let maintainer = maintainer.ok_or("the newest entry has no line \" -- NAME <ADDRESS>  DATE\"")?;
        Ok(Self { debian_version, maintainer, changelog, epoch_s })
    }
}

/// `SOURCE_DATE_EPOCH`, or else the time of the commit.
fn epoch() -> Outcome<u64> {
    let text = match std::env::var(EPOCH_ENV) {
        Ok(text) => text,
        Err(_) => {
            let mut git = Command::new("git");
            git.args(["log", "-1", "--format=%ct"]).current_dir(workspace::top());
            let output = git.output().map_err(|error| format!("git: {error}; set {EPOCH_ENV}"))?;
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };
    text.trim().parse().map_err(|_| format!("{EPOCH_ENV} is no number of seconds, and there is no commit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_must_speak_of_this_version() {
        let text = "q (1.2-3) unstable; urgency=low\n\n  * x\n\n -- A B <a@b.example>  Tue, 24 Nov 2026 21:00:00 +0000\n";
        let release = Release::parse(text.to_owned(), "1.2", 5).unwrap();
        assert_eq!(
            (release.debian_version.as_str(), release.maintainer.as_str()),
            ("1.2-3", "A B <a@b.example>")
        );
        for version in ["1.3", "1", "1.2-3"] {
            assert!(Release::parse(text.to_owned(), version, 5).is_err(), "{version}");
        }
        assert!(Release::parse("q (1.2-3)\n".to_owned(), "1.2", 5).is_err());
    }
}
