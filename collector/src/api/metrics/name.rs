//! Distinguished names taken apart again into the labels that x509-certificate-exporter gives them.

/// Attributes that are labels, in the order in which they are written.
pub(super) const FIELDS: [&str; 6] = ["C", "ST", "L", "O", "OU", "CN"];

/// The value of each of [`FIELDS`] in a name of RFC 4514 form; empty where it has none.
///
/// Of several values the first of the certificate counts, as with that exporter, and of several common
/// names the last. A name that was cut to its bound gives what is left of it.
#[must_use]
pub(super) fn fields(name: &str) -> [String; FIELDS.len()] {
    let mut found: [String; FIELDS.len()] = Default::default();
    // The text has the certificate's last relative name first.
    for relative in split(name, ',').iter().rev() {
        for attribute in split(relative, '+') {
            let Some((kind, value)) = attribute.split_once('=') else { continue };
            let at = FIELDS.iter().position(|field| *field == kind);
            if let Some(slot) = at.and_then(|at| found.get_mut(at))
                && (slot.is_empty() || kind == "CN")
            {
                *slot = plain(value);
            }
        }
    }
    found
}

/// The parts between separators that are not escaped.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut escaped = false;
    text.split(|character| {
        let ends = character == separator && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    })
    .collect()
}

/// A value without its escapes.
fn plain(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        out.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str) -> Vec<String> {
        let fields = fields(name);
        let pairs = FIELDS.iter().zip(&fields).filter(|(_, value)| !value.is_empty());
        pairs.map(|(field, value)| format!("{field}={value}")).collect()
    }

    #[test]
    fn a_name_is_taken_apart_as_that_exporter_does() {
        assert_eq!(
            shown("CN=system:node:a,O=system:nodes"),
            ["O=system:nodes", "CN=system:node:a"]
        );
        assert_eq!(shown("CN=kubernetes"), ["CN=kubernetes"]);
        assert_eq!(
            shown("CN=x,OU=second,OU=first,L=Here,ST=There,C=DE,DC=no"),
            ["C=DE", "ST=There", "L=Here", "OU=first", "CN=x"]
        );
        // The certificate has them the other way round, and Go keeps the common name it met last.
        assert_eq!(shown("CN=last,CN=first,O=a+O=b"), ["O=a", "CN=last"]);
        assert_eq!(shown(""), [""; 0]);
    }

    #[test]
    fn escapes_end_no_value_and_are_taken_out() {
        assert_eq!(shown(r"CN=a\,O\=b\\,O=\#c\+d"), [r"O=#c+d", r"CN=a,O=b\"]);
        assert_eq!(shown("CN=cut\\"), ["CN=cut"]);
        assert_eq!(shown("no attribute,=,CN"), [""; 0]);
    }
}
