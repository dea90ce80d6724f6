//! Waiting for a condition, with a deadline; never for an amount of time.

use std::time::Duration;
use std::time::Instant;

/// Asks `attempt` again and again until it succeeds, and returns what it returned.
///
/// # Panics
/// If it does not within `within`, with its last error.
pub fn until<T, E: std::fmt::Debug>(
    what: &str,
    within: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => {
                assert!(Instant::now() < deadline, "{what}: not within {within:?}: {error:?}");
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn what_succeeds_at_last_is_waited_for() {
        let mut left = 3;
        let value = super::until("a countdown", Duration::from_secs(60), || {
            left -= 1;
            if left == 0 { Ok("done") } else { Err(left) }
        });
        assert_eq!(value, "done");
    }

    #[test]
    #[should_panic(expected = "a wish: not within 0ns: \"no\"")]
    fn what_never_succeeds_ends_with_its_last_error() {
        super::until::<(), _>("a wish", Duration::ZERO, || Err("no"));
    }
}
