//! Compiles ui/dialog.slint into Rust, with every glyph that it can show as a small picture.

use slint_build::{CompilerConfiguration, EmbedResourcesKind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let configuration = CompilerConfiguration::new()
        .with_style("fluent".to_owned())
        .embed_resources(EmbedResourcesKind::EmbedForSoftwareRenderer);
    Ok(slint_build::compile_with_config("ui/dialog.slint", configuration)?)
}
