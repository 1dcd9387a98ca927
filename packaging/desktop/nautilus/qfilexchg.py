"""Nautilus: "Send to VM…", "Open in DisposableVM" and "View in DisposableVM" in the menu of files.

Works with Nautilus 3 and 4 and the nautilus-python that belongs to it. Everything is done by qvm-send-dialog.
"""

from gi.repository import GLib, GObject, Nautilus

PROGRAM = "qvm-send-dialog"
# (word for the program, label, whether directories can be given)
ACTIONS = (
    ("send", "Send to VM…", True),
    ("open", "Open in DisposableVM", False),
    ("view", "View in DisposableVM", False),
)


class QfilexchgMenu(GObject.GObject, Nautilus.MenuProvider):
    """The menu's three entries."""

    def get_file_items(self, *arguments):
        # Nautilus 3 passes the window and the files, Nautilus 4 the files alone.
        files = arguments[-1]
        paths = [file.get_location().get_path() for file in files]
        # Something that has no path is not on this computer.
        if not paths or None in paths:
            return []
        has_directory = any(file.is_directory() for file in files)
        return [
            self._item(word, label, paths)
            for word, label, takes_directories in ACTIONS
            if takes_directories or not has_directory
        ]

    def get_background_items(self, *_arguments):
        return []

    def _item(self, word, label, paths):
        item = Nautilus.MenuItem(name=f"Qfilexchg::{word}", label=label)
        item.connect("activate", self._run, word, paths)
        return item

    def _run(self, _item, word, paths):
        # A list of words: no shell sees the names.
        GLib.spawn_async([PROGRAM, word, "--", *paths], flags=GLib.SpawnFlags.SEARCH_PATH)
