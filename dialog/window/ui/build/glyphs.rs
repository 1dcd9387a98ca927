//! The order of fonts and glyphs in what Slint's compiler makes.
//!
//! It keeps the fonts, and the characters that a font must have, in sets without an order, and numbers fonts and glyphs as
//! they come: each build would be another program, with the same pictures in another order. Here the fonts get the order
//! of their names, and each font's glyphs that of its characters, which its table has already (`passes/embed_glyphs.rs`
//! and `generator/rust.rs` of i-slint-compiler 1.18). Anything that does not look as it did there is an error of the build.

/// Where a font begins, right before its name, and where it ends.
const FONT: (&str, &str) = (" : sp :: BitmapFont = sp :: BitmapFont {", "sdf : false , }");
/// What stands before and behind the table of a font's characters.
const MAP: (&str, &str) = ("static CM : ", "& CM }");
/// The same of the glyphs of one size.
const GLYPHS: (&str, &str) = ("static GDATA : ", "& GDATA }");
/// Where such a list begins and ends, within these.
const LIST: (&str, &str) = ("usize] = [", "] ;");
/// A number in the table of characters.
const INDEX: (&str, &str) = ("glyph_index : ", "u16");
/// Where a glyph begins.
const GLYPH: &str = "sp :: BitmapGlyph {";

/// The code with its fonts in the order of their names, and their glyphs in that of their characters.
pub fn in_order(code: &str) -> Result<String, String> {
    let mut pieces = code.split(FONT.0);
    let mut sorted = pieces.next().unwrap_or_default().to_owned();
    let (mut fonts, mut between) = (Vec::new(), Vec::new());
    for piece in pieces {
        let (font, rest) = piece.split_once(FONT.1).ok_or("a font does not end")?;
        fonts.push(font_in_order(font)?);
        between.push(rest);
    }
    if fonts.is_empty() {
        return Err("there is no font in the generated code".to_owned());
    }
    // They are known by their place alone: each is registered, and found by its name.
    fonts.sort();
    for (font, rest) in fonts.iter().zip(between) {
        sorted.extend([FONT.0, font, FONT.1, rest]);
    }
    Ok(sorted)
}

fn font_in_order(font: &str) -> Result<String, String> {
    let (start, rest) = font.split_once(MAP.0).ok_or("a font has no table of characters")?;
    let (map, rest) = rest.split_once(MAP.1).ok_or("a table of characters does not end")?;
    let (map, order) = numbered(map)?;
    let mut sorted = [start, MAP.0, &map, MAP.1].concat();
    let mut sizes = rest.split(GLYPHS.0);
    sorted.push_str(sizes.next().unwrap_or_default());
    for size in sizes {
        let (glyphs, rest) = size.split_once(GLYPHS.1).ok_or("a list of glyphs does not end")?;
        sorted.extend([GLYPHS.0, &reordered(glyphs, &order)?, GLYPHS.1, rest]);
    }
    Ok(sorted)
}

/// The table with the numbers 0, 1, …, and those that stood there.
fn numbered(map: &str) -> Result<(String, Vec<usize>), String> {
    let mut entries = map.split(INDEX.0);
    let mut table = entries.next().unwrap_or_default().to_owned();
    let mut order = Vec::new();
    for entry in entries {
        let (number, rest) = entry.split_once(INDEX.1).ok_or("a glyph has no number")?;
        let number = number.parse().map_err(|error| format!("a glyph has the number {number:?}: {error}"))?;
        table.extend([INDEX.0, &order.len().to_string(), INDEX.1, rest]);
        order.push(number);
    }
    Ok((table, order))
}

/// The list with the glyphs in this order.
fn reordered(list: &str, order: &[usize]) -> Result<String, String> {
    let (start, rest) = list.split_once(LIST.0).ok_or("a list of glyphs does not begin")?;
    let (glyphs, end) = rest.rsplit_once(LIST.1).ok_or("a list of glyphs has no end")?;
    let glyphs: Vec<&str> =
        glyphs.split(GLYPH).skip(1).map(|glyph| glyph.trim_end_matches([',', ' ', '\n'])).collect();
    let mut is_used = vec![false; glyphs.len()];
    let mut sorted = Vec::new();
    for number in order {
        let glyph = glyphs.get(*number).ok_or(format!("there is no glyph {number}"))?;
        if is_used.get_mut(*number).is_none_or(|used| std::mem::replace(used, true)) {
            return Err(format!("two characters have the glyph {number}"));
        }
        sorted.push(format!("{GLYPH}{glyph}"));
    }
    if sorted.len() != glyphs.len() {
        return Err(format!("{} glyphs for {} characters", glyphs.len(), sorted.len()));
    }
    Ok([start, LIST.0, &sorted.join(", "), LIST.1, end].concat())
}
