//! YAML within strict bounds: what people write for palisade, never what a host holds.

use serde::de::DeserializeOwned;

/// Bytes that one file of rules, a profile or waivers may have. The longest built-in one has about
/// a tenth of this.
pub(crate) const MAX_FILE: usize = 1 << 20;

/// A file could not be parsed. At fault: its author.
#[derive(Debug, thiserror::Error)]
pub enum ParseYamlError {
    /// Larger than [`MAX_FILE`].
    #[error("larger than {MAX_FILE} bytes")]
    TooLarge,
    /// Not the YAML, or not the words, that were expected; the source says where.
    #[error("failed to parse the YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
}

/// Parses one document. Words are `true` and `false` only, so that `on` stays a word.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ParseYamlError> {
    if text.len() > MAX_FILE {
        return Err(ParseYamlError::TooLarge);
    }
    let options = serde_saphyr::options! {
        // Nobody needs anchors to write rules; without them a file cannot grow while it is read.
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn words_stay_words_and_anchors_are_refused() {
        let value: Value = parse("{a: on, b: true, c: 7, d: \"0600\"}").unwrap();
        assert_eq!(value, serde_json::json!({"a":"on","b":true,"c":7,"d":"0600"}));
        for bad in ["{a: &x 1, b: *x}", "{a: 1, a: 2}", "{a: 1", "--- 1\n--- 2\n"] {
            assert!(parse::<Value>(bad).is_err(), "{bad}");
        }
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        assert!(parse::<Value>(&deep).is_err());
        assert!(parse::<Value>(&" ".repeat(MAX_FILE + 1)).is_err());
    }
}
