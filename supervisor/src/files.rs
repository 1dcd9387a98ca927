//! Reading what the administrator wrote, bounded.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::ConfigError;

/// The write permission of everybody.
const MODE_OTHERS_WRITE: u32 = 0o002;

/// The whole text of a regular file.
///
/// # Errors
/// It cannot be read, everybody may write to it, it is longer than `bytes_max`, or it is not UTF-8.
pub fn read_text(file: &Path, bytes_max: usize) -> Result<String, ConfigError> {
    let fault = |text: String| ConfigError::whole(file, text);
    let mut opened = File::open(file).map_err(|error| fault(format!("cannot open: {error}")))?;
    let meta = opened.metadata().map_err(|error| fault(format!("cannot read: {error}")))?;
    if !meta.is_file() {
        return Err(fault("is not a regular file".to_owned()));
    }
    if meta.mode() & MODE_OTHERS_WRITE != 0 {
        return Err(fault("everybody may write to it, so it is not trusted: chmod o-w".to_owned()));
    }
    // One byte more than permitted, so that a longer file is seen as such.
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    opened
        .by_ref()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(format!("cannot read: {error}")))?;
    if bytes.len() > bytes_max {
        return Err(fault(format!("is longer than {bytes_max} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| fault("is not UTF-8".to_owned()))
}
