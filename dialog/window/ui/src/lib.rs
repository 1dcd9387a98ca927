//! What the dialog's window shows: `ui/dialog.slint`, as Slint's compiler translates it.
//!
//! It shows what it is told and decides nothing: which button has the focus, and what a key or a click means, is the
//! business of `dialog::window`. It is a crate of its own because the generated code needs other lints.

slint::include_modules!();

#[cfg(test)]
mod tests {
    /// As Slint's compiler makes it, each build would have them in another order.
    #[test]
    fn fonts_have_the_order_of_their_names_and_glyphs_that_of_their_characters() {
        let code = include_str!(env!("SLINT_INCLUDE_GENERATED"));
        let mut names = Vec::new();
        for font in code.split("BitmapFont = sp :: BitmapFont {").skip(1) {
            let map = font.split_once("& CM }").unwrap().0;
            let numbers: Vec<usize> = map
                .split("glyph_index : ")
                .skip(1)
                .map(|entry| entry.split_once("u16").unwrap().0.parse().unwrap())
                .collect();
            assert!(numbers.len() > 50 && numbers.iter().copied().eq(0..numbers.len()), "{numbers:?}");
            names.push(map.split('"').nth(1).unwrap());
        }
        assert_eq!(names, ["Dialog Mono Bold", "Dialog Sans Bold", "Dialog Sans"]);
    }
}
