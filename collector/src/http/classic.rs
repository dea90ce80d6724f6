//! OpenMetrics text in the older form of Prometheus (0.0.4), for whoever does not ask for the newer one:
//! curl, `promtool check metrics`, and scrapers that never learned it.
//!
//! They differ in the names of counters, whose family bears `_total` in the older one, and in lines that
//! the older one does not have.

/// The media type of the newer form, by which one asks for it.
pub(super) const OPENMETRICS: &str = "application/openmetrics-text";

/// The same figures in the older form.
pub(super) fn classic(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, words)) = help.take().and_then(|it: &str| it.split_once(' ')) {
                put(&mut out, &["# HELP ", name, suffix, " ", words]);
            }
            put(&mut out, &["# TYPE ", name, suffix, " ", kind]);
        } else if !line.starts_with('#') {
            put(&mut out, &[line]);
        }
    }
    out
}

fn put(out: &mut String, parts: &[&str]) {
    out.extend(parts.iter().copied());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples_and_nothing_else_changes() {
        let newer = "# HELP a Things that happened.\n# TYPE a counter\na_total{x=\"# HELP\"} 1\n\
                     # HELP b_seconds Time.\n# TYPE b_seconds gauge\n# UNIT b_seconds seconds\n\
                     b_seconds 2\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let older = "# HELP a_total Things that happened.\n# TYPE a_total counter\n\
                     a_total{x=\"# HELP\"} 1\n# HELP b_seconds Time.\n# TYPE b_seconds gauge\n\
                     b_seconds 2\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n";
        assert_eq!(classic(newer), older);
    }
}
