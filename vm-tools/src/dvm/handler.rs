//! The program that opens a document: found as a shell would find it, started without one.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;

use crate::failure::Failure;

/// Where programs are when `PATH` is not set, as under udev.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";
/// What udev says about the device, which is nothing to a document's program.
const FORGOTTEN: [&str; 6] = ["ACTION", "DEVNAME", "DEVPATH", "DEVTYPE", "SUBSYSTEM", "KERNEL"];
/// What of root's environment means the same to every user: the language.
const COMMON: [&str; 4] = ["LANG", "LANGUAGE", "LC_ALL", "TZ"];

/// Whose environment this process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// The receiving user's.
    Own,
    /// Root's, who became that user: root's session is not the user's.
    Root,
}

/// Starts the first of the commands that is installed, with the document's absolute path as its last argument.
///
/// # Errors
/// None of them is installed, or it cannot be started.
pub fn start(
    openers: &[Vec<String>],
    document: &Path,
    home: &Path,
    environment: Environment,
) -> Result<Child, Failure> {
    let search = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    let found = openers.iter().find_map(|words| {
        let (name, arguments) = words.split_first()?;
        Some((find(OsStr::new(name), &search)?, arguments))
    });
    let Some((program, arguments)) = found else {
        let names: Vec<&str> = openers.iter().filter_map(|words| words.first()).map(String::as_str).collect();
        return Err(Failure::failed(&format!(
            "nothing here opens documents: install {}",
            names.join(" or ")
        )));
    };
    let mut command = Command::new(&program);
    // An absolute path never begins with "-", so it cannot be an option.
    command.args(arguments).arg(document).current_dir(home).stdin(Stdio::null()).process_group(0);
    if environment == Environment::Root {
        command.env_clear();
        command.envs(COMMON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    }
    command.env("HOME", home).env("PATH", &search);
    for name in FORGOTTEN {
        command.env_remove(name);
    }
    for (name, value) in session_environment(&PathBuf::from(format!("/run/user/{}", geteuid().as_raw()))) {
        if environment == Environment::Root || std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    command.spawn().map_err(|error| Failure::failed(&format!("cannot start {}: {error}", program.display())))
}

/// The program of that name, if there is an executable one.
fn find(name: &OsStr, search: &OsStr) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_absolute() && is_program(path));
    }
    let directories = std::env::split_paths(search).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join(name)).find(is_program)
}

/// What a program needs to find the user's desktop: under udev nobody has said it. Only what is there is named.
fn session_environment(runtime: &Path) -> Vec<(&'static str, OsString)> {
    let mut found: Vec<(&str, OsString)> = Vec::new();
    if fs::symlink_metadata(runtime).is_ok_and(|it| it.is_dir() && it.uid() == geteuid().as_raw()) {
        found.push(("XDG_RUNTIME_DIR", runtime.into()));
        if runtime.join("bus").exists() {
            let mut address = OsString::from("unix:path=");
            address.push(runtime.join("bus"));
            found.push(("DBUS_SESSION_BUS_ADDRESS", address));
        }
        if runtime.join("wayland-0").exists() {
            found.push(("WAYLAND_DISPLAY", "wayland-0".into()));
        }
    }
    if Path::new("/tmp/.X11-unix/X0").exists() {
        found.push(("DISPLAY", ":0".into()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(directory: &Path, name: &str, text: &str) -> String {
        let path = directory.join(name);
        testkit::write_program(&path, text);
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn l8_the_name_is_one_argument_and_nothing_in_it_is_executed() {
        let directory = tempfile::tempdir().unwrap();
        let seen = directory.path().join("seen");
        let tell = script(
            directory.path(),
            "tell",
            &format!("#!/bin/sh\nprintf '%s|' \"$@\" > {}\n", seen.display()),
        );
        for name in ["a b", "-rf", "$(touch x)`touch x`;touch x", "'\"\\", "a&b|c>d", "*", "{x,y}", "~"] {
            let document = directory.path().join(name);
            let opener = vec![tell.clone(), "--first".to_owned()];
            assert!(
                start(&[opener], &document, directory.path(), Environment::Own)
                    .unwrap()
                    .wait()
                    .unwrap()
                    .success()
            );
            assert_eq!(fs::read_to_string(&seen).unwrap(), format!("--first|{}|", document.display()));
            assert!(!directory.path().join("x").exists());
        }
    }

    #[test]
    fn the_first_command_that_is_installed_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let one = script(directory.path(), "one", "#!/bin/sh\nexit 1\n");
        let two = script(directory.path(), "two", "#!/bin/sh\nexit 2\n");
        let missing = "no-such-program-of-qfilexchg".to_owned();
        let run =
            |openers: &[Vec<String>]| start(openers, Path::new("/x"), directory.path(), Environment::Own);
        let code = |openers: &[Vec<String>]| run(openers).unwrap().wait().unwrap().code();
        assert_eq!(code(&[vec![missing.clone()], vec![two.clone()], vec![one.clone()]]), Some(2));
        assert_eq!(code(&[vec![one], vec![two]]), Some(1));
        let failure = run(&[vec![missing]]).unwrap_err().to_string();
        assert_eq!(failure, "nothing here opens documents: install no-such-program-of-qfilexchg");
    }

    #[test]
    fn programs_are_found_in_absolute_directories_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = script(directory.path(), "one", "");
        fs::write(directory.path().join("text"), "").unwrap();
        let search = OsString::from(format!(":.:relative:/nonexistent:{}", directory.path().display()));
        assert_eq!(find(OsStr::new("one"), &search), Some(PathBuf::from(&path)));
        assert_eq!(find(OsStr::new(&path), OsStr::new("")), Some(PathBuf::from(&path)));
        for name in ["text", "two", "./one", "../one", ""] {
            assert_eq!(find(OsStr::new(name), &search), None, "{name:?}");
        }
    }

    #[test]
    fn of_roots_environment_only_the_language_is_passed_on() {
        let directory = tempfile::tempdir().unwrap();
        let seen = directory.path().join("seen");
        let tell = script(directory.path(), "tell", &format!("#!/bin/sh\nenv > {}\n", seen.display()));
        let names = |environment| {
            let opener = vec![tell.clone()];
            let mut child = start(&[opener], Path::new("/x"), directory.path(), environment).unwrap();
            assert!(child.wait().unwrap().success());
            let text = fs::read_to_string(&seen).unwrap();
            assert!(text.contains(&format!("HOME={}\n", directory.path().display())), "{text}");
            text.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect::<Vec<_>>()
        };
        // Every test has this one.
        assert!(names(Environment::Own).contains(&"CARGO_MANIFEST_DIR".to_owned()));
        let own =
            ["HOME", "PATH", "PWD", "SHLVL", "_", "OLDPWD", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];
        let desktop = ["WAYLAND_DISPLAY", "DISPLAY"];
        for name in names(Environment::Root) {
            assert!(own.into_iter().chain(desktop).chain(COMMON).any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn only_what_is_there_is_named_to_the_program() {
        let runtime = tempfile::tempdir().unwrap();
        let names = || session_environment(runtime.path()).into_iter().map(|it| it.0).collect::<Vec<_>>();
        assert!(names().contains(&"XDG_RUNTIME_DIR") && !names().contains(&"WAYLAND_DISPLAY"));
        fs::write(runtime.path().join("bus"), "").unwrap();
        fs::write(runtime.path().join("wayland-0"), "").unwrap();
        assert!(names().contains(&"DBUS_SESSION_BUS_ADDRESS") && names().contains(&"WAYLAND_DISPLAY"));
        assert!(!session_environment(Path::new("/nonexistent")).iter().any(|it| it.0 == "XDG_RUNTIME_DIR"));
    }
}
