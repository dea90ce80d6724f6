//! YAML within strict bounds: what people write, never what a host holds.

use serde::de::DeserializeOwned;

/// Bytes that a file may have; the catalogue has some 30 KB.
pub const MAX_FILE: usize = 1 << 20;

/// The text is not what was expected. At fault: its author.
#[derive(Debug, thiserror::Error)]
pub enum ParseYamlError {
    /// Larger than [`MAX_FILE`].
    #[error("larger than {MAX_FILE} bytes")]
    TooLarge,
    /// Not the YAML, or not the words, that were expected; the source says where.
    #[error("failed to parse the YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
}

/// Parses one document.
///
/// # Errors
/// [`ParseYamlError`].
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ParseYamlError> {
    if text.len() > MAX_FILE {
        return Err(ParseYamlError::TooLarge);
    }
    let options = serde_saphyr::options! {
        // Nobody needs anchors; without them a file cannot grow while it is read.
        budget: serde_saphyr::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 16,
            max_documents: 1,
            max_events: 200_000,
            max_merge_keys: 0,
            max_nodes: 100_000,
            max_total_scalar_bytes: MAX_FILE,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|source| ParseYamlError::Yaml(Box::new(source)))
}
