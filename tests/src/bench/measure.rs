//! Pairs, medians, and the CPU time of processes.

use std::time::Duration;

use nix::sys::resource::UsageWho;
use nix::sys::resource::getrusage;
use nix::time::clock_getcpuclockid;
use nix::time::clock_gettime;
use nix::unistd::Pid;

/// Pairs that count; one more comes before them and is discarded.
pub(super) const PAIRS: usize = 5;

/// The median of some figures, with the least and the greatest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// The figure in the middle.
    pub(super) median: f64,
    /// The least.
    pub(super) min: f64,
    /// The greatest.
    pub(super) max: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (below, above) = (figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
        let median = f64::midpoint(below, above);
        Self { median, min: figures[0], max: figures[figures.len() - 1] }
    }

    /// Of one figure that does not vary.
    pub(super) const fn fixed(figure: f64) -> Self {
        Self { median: figure, min: figure, max: figure }
    }
}

/// One of the two things that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Ours.
    A,
    /// What it is compared with.
    B,
}

/// What was measured on both sides.
#[derive(Clone, Debug)]
pub(super) struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    /// Measures A B A B ... and discards the first pair, in which caches are filled.
    /// `run` gives as many figures of a side as are to be compared, each pair with its own.
    pub(super) fn measure<const N: usize>(mut run: impl FnMut(Side) -> [f64; N]) -> [Self; N] {
        let mut pairs: Vec<_> = (0..=PAIRS).map(|_| (run(Side::A), run(Side::B))).collect();
        pairs.remove(0);
        std::array::from_fn(|at| Self(pairs.iter().map(|(a, b)| (a[at], b[at])).collect()))
    }

    /// The side that is judged.
    pub(super) fn a(&self) -> Spread {
        Spread::of(self.0.iter().map(|(a, _)| *a))
    }

    /// The side that it is compared with.
    pub(super) fn b(&self) -> Spread {
        Spread::of(self.0.iter().map(|(_, b)| *b))
    }

    /// a / b of each pair.
    pub(super) fn ratio(&self) -> Spread {
        Spread::of(self.0.iter().map(|(a, b)| a / b))
    }
}

/// CPU time of a living process, all its threads and those that ended included.
pub(super) fn cpu_of(pid: u32) -> Duration {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    let clock = clock_getcpuclockid(pid).expect("a clock of a living process");
    clock_gettime(clock).expect("CPU time").into()
}

/// CPU time of all children that ended and were waited for, and of theirs.
pub(super) fn cpu_of_ended_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("resource usage");
    let times = [usage.user_time(), usage.system_time()];
    times
        .iter()
        .map(|time| {
            let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
            Duration::from_micros(micros.try_into().expect("no negative time"))
        })
        .sum()
}
