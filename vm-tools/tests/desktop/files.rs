//! The menus of the file managers, as they are shipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Group, key, value.
type Groups = BTreeMap<String, BTreeMap<String, String>>;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/desktop")
}

fn entries(directory: &str) -> Vec<(PathBuf, Groups)> {
    let files = fs::read_dir(shipped().join(directory)).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.into_iter().map(|path| (path.clone(), groups(&fs::read_to_string(path).unwrap()))).collect()
}

fn groups(text: &str) -> Groups {
    let mut groups = Groups::new();
    let mut name = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(group) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name = group.to_owned();
        } else {
            let (key, value) = line.split_once('=').unwrap();
            let group = groups.entry(name.clone()).or_default();
            assert!(group.insert(key.to_owned(), value.to_owned()).is_none(), "{key} twice");
        }
    }
    groups
}

/// The words of all actions of a directory, in the order of their files.
fn actions(directory: &str) -> Vec<String> {
    let mut actions = Vec::new();
    for (path, groups) in entries(directory) {
        for group in groups.values() {
            let Some(exec) = group.get("Exec") else { continue };
            // Without quotes, fields or anything else that a desktop could interpret.
            let word = exec.strip_prefix("qvm-send-dialog ").and_then(|rest| rest.strip_suffix(" -- %F"));
            assert!(word.is_some(), "{}: {exec}", path.display());
            actions.extend(word.map(str::to_owned));
        }
    }
    actions.sort();
    actions
}

#[test]
fn each_file_manager_has_the_three_actions_and_no_shell() {
    for directory in ["applications", "dolphin", "file-manager-actions", "thunar"] {
        assert_eq!(actions(directory), ["open", "send", "view"], "{directory}");
    }
}

#[test]
fn what_an_entry_names_is_there() {
    for (path, groups) in entries("dolphin").into_iter().chain(entries("file-manager-actions")) {
        let main = &groups["Desktop Entry"];
        let (list, prefix) = match main["Type"].as_str() {
            "Service" => (&main["Actions"], "Desktop Action"),
            "Action" => (&main["Profiles"], "X-Action-Profile"),
            other => panic!("{}: {other}", path.display()),
        };
        let named: Vec<&str> = list.split_terminator(';').collect();
        assert_eq!(named.len(), groups.len() - 1);
        for name in named {
            assert!(groups[&format!("{prefix} {name}")].contains_key("Name"), "{}", path.display());
        }
    }
    // Documents only: a directory cannot be opened in a DisposableVM.
    for (path, groups) in entries("file-manager-actions") {
        let types = &groups["X-Action-Profile files"]["MimeTypes"];
        let is_send = path.ends_with("qfilexchg-send.desktop");
        assert_eq!(types, if is_send { "all/all;" } else { "all/allfiles;" });
    }
}

#[test]
fn entries_for_applications_are_valid() {
    if !testkit::require_tools(&["desktop-file-validate"]) {
        return;
    }
    for (path, groups) in entries("applications").into_iter().chain(entries("thunar")) {
        // One that names types could become what a double click starts.
        assert!(!groups["Desktop Entry"].contains_key("MimeType"));
        let checked = Command::new("desktop-file-validate").arg(&path).output().unwrap();
        assert!(checked.status.success() && checked.stdout.is_empty(), "{checked:?}");
    }
}

#[test]
fn the_extension_of_nautilus_starts_the_program_with_a_list_of_words() {
    if !testkit::require_tools(&["python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = r#"
import sys, types
started = []
class Any:
    pass
class MenuItem:
    def __init__(self, name, label):
        self.name, self.label = name, label
    def connect(self, signal, function, *arguments):
        assert signal == "activate"
        self.run = lambda: function(self, *arguments)
repository = types.ModuleType("gi.repository")
repository.GLib = types.SimpleNamespace(
    spawn_async=lambda words, flags: started.append(words), SpawnFlags=types.SimpleNamespace(SEARCH_PATH=4))
repository.GObject = types.SimpleNamespace(GObject=Any)
repository.Nautilus = types.SimpleNamespace(MenuProvider=type("MenuProvider", (), {}), MenuItem=MenuItem)
sys.modules["gi"] = types.ModuleType("gi")
sys.modules["gi.repository"] = repository
menu = {}
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"), menu)
class File:
    def __init__(self, path, directory=False):
        self.path, self.directory = path, directory
    def get_location(self):
        return self
    def get_path(self):
        return self.path
    def is_directory(self):
        return self.directory
provider = menu["QfilexchgMenu"]()
files = [File("/home/user/a b"), File("/home/user/$(reboot)")]
for arguments in ([files], ["window", files]):
    for item in provider.get_file_items(*arguments):
        item.run()
expected = [["qvm-send-dialog", word, "--", "/home/user/a b", "/home/user/$(reboot)"] for word in ("send", "open", "view")]
assert started == expected * 2, started
assert [item.label for item in provider.get_file_items([File("/d", True)])] == ["Send to VM…"]
assert provider.get_file_items([]) == [] and provider.get_file_items([File(None)]) == []
"#;
    let path = dir.path().join("check.py");
    fs::write(&path, script).unwrap();
    let extension = shipped().join("nautilus/qfilexchg.py");
    let checked = Command::new("python3").arg(&path).arg(extension).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
