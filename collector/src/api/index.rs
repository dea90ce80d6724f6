//! The page at `/`: the addresses, for somebody who found the port.

use super::answer::Answer;
use super::answer::Media;
use crate::http::route::ROUTES;

/// The page. It holds no foreign text, loads nothing and needs no style.
#[must_use]
pub fn page() -> Answer {
    let mut rows = String::new();
    for route in ROUTES {
        let shown = route.path.replace('<', "&lt;");
        let path = if route.method == "GET" && !route.path.contains('{') {
            format!("<a href=\"{shown}\">{shown}</a>")
        } else {
            shown
        };
        rows.push_str(&format!(
            "<tr><td>{}</td><td>{path}</td><td>{}</td></tr>\n",
            route.method, route.about
        ));
    }
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>palisade</title></head>\n<body><h1>palisade</h1>\n<p>This collector answers at these addresses; <a href=\"/openapi.json\">/openapi.json</a> describes them.</p>\n<table>\n<tr><th scope=\"col\">Method</th><th scope=\"col\">Address</th><th scope=\"col\">Answers</th></tr>\n{rows}</table></body></html>\n"
    );
    Answer::text(Media::Html, text)
}
