//! What the keyboard's keys mean here: the display's own table, by keysyms of X11/keysymdef.h.

use dialog::window::Key;

/// Control, Alt and Super (`ControlMask`, `Mod1Mask`, `Mod4Mask` of X.h): with one of them a key is somebody else's.
const OTHER_MODIFIERS: u16 = 0x04 | 0x08 | 0x40;

/// Which key of the keyboard means what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    first: u8,
    meanings: Vec<Key>,
}

impl Keys {
    /// Reads the display's table: `columns` keysyms for each key, from the key `first` on.
    #[must_use]
    pub fn new(first: u8, columns: u8, keysyms: &[u32]) -> Self {
        let rows = keysyms.chunks(usize::from(columns).max(1));
        // The first one is that without Shift, with which Tab is Tab as well.
        let meanings = rows.map(|row| row.first().map_or(Key::Other, |keysym| meaning(*keysym))).collect();
        Self { first, meanings }
    }

    /// What a key means while these modifiers are down.
    #[must_use]
    pub fn meaning(&self, key: u8, modifiers: u16) -> Key {
        if modifiers & OTHER_MODIFIERS != 0 {
            return Key::Other;
        }
        let row = key.checked_sub(self.first).and_then(|row| self.meanings.get(usize::from(row)));
        row.copied().unwrap_or(Key::Other)
    }
}

fn meaning(keysym: u32) -> Key {
    match keysym {
        // Return, KP_Enter, space
        0xFF0D | 0xFF8D | 0x0020 => Key::Enter,
        // Escape
        0xFF1B => Key::Escape,
        // Tab
        0xFF09 => Key::Tab,
        // Left, Up
        0xFF51 | 0xFF52 => Key::Left,
        // Right, Down
        0xFF53 | 0xFF54 => Key::Right,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_their_first_keysym_says() {
        let keysyms = [0xFF1B, 0, 0xFF09, 0xFE20, 0x0061, 0x0041, 0xFF0D, 0];
        let keys = Keys::new(9, 2, &keysyms);
        let meanings = [Key::Escape, Key::Tab, Key::Other, Key::Enter];
        for (key, expected) in (9..).zip(meanings) {
            assert_eq!(keys.meaning(key, 0), expected);
            assert_eq!(keys.meaning(key, 0x01 | 0x10), expected, "shift and num lock change nothing");
            assert_eq!(keys.meaning(key, 0x08), Key::Other, "with Alt it is the window manager's");
        }
    }

    #[test]
    fn l19_a_key_outside_of_the_table_means_nothing() {
        for keys in [Keys::default(), Keys::new(9, 1, &[0xFF0D]), Keys::new(9, 0, &[0xFF0D])] {
            for key in [0, 8, 10, 255] {
                assert_eq!(keys.meaning(key, 0), Key::Other);
            }
        }
        assert_eq!(Keys::new(255, 1, &[0xFF0D, 0xFF0D]).meaning(255, 0), Key::Enter);
    }
}
