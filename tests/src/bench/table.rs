//! The table: on the terminal with both sides' figures, in the README as ratios only.

use std::fmt::Write as _;
use std::path::Path;

use super::measure::Spread;

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// Not below this.
    AtLeast(f64),
    /// Not above this.
    AtMost(f64),
    /// Shown for understanding; no goal of its own.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// `B5`, perhaps with a variant.
    pub(super) id: &'static str,
    /// What is measured, against what.
    pub(super) what: String,
    /// Both sides, with units; nothing for what was not run.
    pub(super) sides: Option<(String, String)>,
    /// The ratio of the sides, or why there is none.
    pub(super) ratio: Result<Spread, String>,
    /// What it should be.
    pub(super) goal: Goal,
}

impl Row {
    /// A row that was not run.
    pub(super) fn not_run(id: &'static str, what: &str, why: impl Into<String>) -> Self {
        Self { id, what: what.to_owned(), sides: None, ratio: Err(why.into()), goal: Goal::None }
    }

    fn met(&self) -> &'static str {
        let Ok(ratio) = &self.ratio else { return "not run" };
        let met = match self.goal {
            Goal::AtLeast(least) => ratio.median >= least,
            Goal::AtMost(most) => ratio.median <= most,
            Goal::None => return "-",
        };
        if met { "met" } else { "missed" }
    }

    fn ratio(&self) -> String {
        match &self.ratio {
            Ok(Spread { median, min, max }) if min.total_cmp(max).is_eq() => short(*median),
            Ok(Spread { median, min, max }) => {
                format!("{} ({}..{})", short(*median), short(*min), short(*max))
            }
            Err(why) => why.clone(),
        }
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::AtLeast(least) => format!("at least {}", short(least)),
            Goal::AtMost(most) => format!("at most {}", short(most)),
            Goal::None => "-".to_owned(),
        }
    }
}

/// Three significant digits for what is small, two places for what is not.
fn short(figure: f64) -> String {
    let places = if figure >= 100.0 {
        0
    } else if figure >= 0.1 {
        2
    } else {
        4
    };
    let text = format!("{figure:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The table for a terminal.
pub(super) fn text(rows: &[Row]) -> String {
    let mut lines =
        vec![["row", "what / against what", "sides", "ratio", "goal", ""].map(String::from)];
    for row in rows {
        let sides = row.sides.as_ref().map_or_else(String::new, |(a, b)| format!("{a} / {b}"));
        lines.push([
            row.id.to_owned(),
            row.what.clone(),
            sides,
            row.ratio(),
            row.goal(),
            row.met().to_owned(),
        ]);
    }
    let widths: [usize; 6] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in &lines {
        let mut out = String::new();
        for (cell, width) in line.iter().zip(widths) {
            write!(out, "{cell:width$}  ").expect("a string takes everything");
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    text
}

/// The table for the README: ratios only, because other machines have other figures.
fn markdown(rows: &[Row]) -> String {
    let mut text =
        "| row | what / against what | ratio: median (least..greatest) | goal | |\n|-|-|-|-|-|\n"
            .to_owned();
    for row in rows {
        let (ratio, goal) = (row.ratio(), row.goal());
        writeln!(text, "| {} | {} | {ratio} | {goal} | {} |", row.id, row.what, row.met())
            .expect("a string takes everything");
    }
    text
}

/// Puts the table between the README's marks for figures.
pub(super) fn write_readme(rows: &[Row]) {
    const MARKS: (&str, &str) = ("<!-- figures -->\n", "<!-- /figures -->");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).expect("the README");
    let (before, rest) = readme.split_once(MARKS.0).expect("a mark before the figures");
    let (_, after) = rest.split_once(MARKS.1).expect("a mark after the figures");
    let table = markdown(rows);
    let whole = format!("{before}{}{table}{}{after}", MARKS.0, MARKS.1);
    std::fs::write(&path, whole).expect("write the README");
}

/// A number with commas between its thousands.
pub(super) fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
