//! Other people's programs, as `tests/tools/peers` unpacked them.

use std::path::PathBuf;

/// node_exporter 1.5.0 of Debian.
pub(super) fn node_exporter() -> PathBuf {
    let path = binary("prometheus-node-exporter");
    assert!(path.is_file(), "no {}: run tests/tools/peers", path.display());
    path
}

/// Pushgateway 1.5.1 of Debian, if it is there.
pub(super) fn pushgateway() -> Option<PathBuf> {
    Some(binary("prometheus-pushgateway")).filter(|path| path.is_file())
}

fn binary(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("a home directory")).join(".cache")
    });
    cache.join("palisade/peers-1/usr/bin").join(name)
}
