//! How far a long command has come: a bar on a terminal, a line now and then in a log.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines in a log.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows progress on standard error.
pub(super) struct Show {
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Show {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{msg:20} {bar:40} {pos}/{len} {elapsed} (about {eta} more)");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, last_line: Instant::now() }
    }

    /// Says what is done and how much of it; `total` where that is known.
    pub(super) fn update(&mut self, name: &str, done: usize, total: Option<usize>) {
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
            bar.set_length(total.unwrap_or(done) as u64);
            bar.set_position(done as u64);
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let of = total.map_or_else(String::new, |total| format!(" of {total}"));
            let _ = writeln!(std::io::stderr(), "{name}: {done}{of}");
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
