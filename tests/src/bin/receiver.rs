//! A receiver of alerts for whoever tries palisade out: a line for each alert of a webhook in
//! Alertmanager's shape, version 4. Listens on loopback only; ships with nothing.
//!
//! ```text
//! receiver [PORT]           on this port of 127.0.0.1, or on one that the kernel chooses
//! FLAKY=SEED receiver ...   of a hundred requests, thirty meet a fault
//! ```

use std::io::IsTerminal;
use std::io::Write;
use std::process::ExitCode;

use palisade_tests::cluster::port::Port;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;
use palisade_tests::receiver::Request;
use palisade_tests::receiver::webhook::Alert;
use palisade_tests::receiver::webhook::Webhook;

/// Of a hundred requests, where faults are asked for.
const FAULTS: u32 = 30;

fn main() -> ExitCode {
    let plan = match std::env::var("FLAKY") {
        Ok(seed) => Plan::flaky(seed.parse().expect("FLAKY is a number"), FAULTS),
        Err(_) => Plan::kind(),
    };
    let receiver = match std::env::args().nth(1) {
        Some(port) => Receiver::on(Port::take(port.parse().expect("a port")), plan),
        None => Receiver::start(plan),
    };
    let mut out = std::io::stdout();
    let paint = if out.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        Paint::Colour
    } else {
        Paint::Plain
    };
    let mut said = writeln!(out, "listens on {}", receiver.url("/"));
    while said.is_ok() {
        said = receiver.next().iter().try_for_each(|request| show(&mut out, request, paint));
    }
    // Nobody reads us any more.
    ExitCode::SUCCESS
}

#[derive(Clone, Copy)]
enum Paint {
    Colour,
    Plain,
}

fn show(out: &mut impl Write, request: &Request, paint: Paint) -> std::io::Result<()> {
    if !request.is_taken() {
        return writeln!(out, "refused: {:?}", request.conduct);
    }
    let Ok(webhook) = serde_json::from_slice::<Webhook>(&request.body) else {
        return writeln!(out, "{} bytes that are no webhook", request.body.len());
    };
    for alert in &webhook.alerts {
        match paint {
            Paint::Plain => writeln!(out, "{alert}")?,
            Paint::Colour => writeln!(out, "\u{1b}[{}m{alert}\u{1b}[0m", colour(alert))?,
        }
    }
    match webhook.truncated_alerts {
        0 => Ok(()),
        more => writeln!(out, "and {more} more"),
    }
}

/// Green for what is over; else red, yellow or none, by how loud it is.
fn colour(alert: &Alert) -> u8 {
    match (alert.is_firing(), alert.label("severity")) {
        (false, _) => 32,
        (true, "critical") => 31,
        (true, "warning") => 33,
        (true, _) => 0,
    }
}
