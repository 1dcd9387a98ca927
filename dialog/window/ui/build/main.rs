//! Compiles ui/dialog.slint into Rust, with every glyph that it can show as a small picture.

mod glyphs;

use std::path::Path;

use slint_build::{CompilerConfiguration, EmbedResourcesKind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let configuration = CompilerConfiguration::new()
        .with_style("fluent".to_owned())
        .embed_resources(EmbedResourcesKind::EmbedForSoftwareRenderer);
    slint_build::compile_with_config("ui/dialog.slint", configuration)?;
    let made = Path::new(&std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("dialog.rs");
    let code = std::fs::read_to_string(&made)?;
    std::fs::write(&made, glyphs::in_order(&code)?)?;
    println!("cargo:rerun-if-changed=build");
    Ok(())
}
