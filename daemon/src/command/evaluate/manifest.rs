//! A labelled run: a table of images with the label of each.

use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// One labelled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labelled {
    pub(super) step: i64,
    pub(super) path: PathBuf,
    pub(super) is_anomalous: bool,
}

/// A run to be judged.
#[derive(Debug, Clone)]
pub(super) struct LabelledRun {
    pub(super) name: String,
    /// Earlier images of the same simulation, judged first and not counted.
    pub(super) before: Vec<Labelled>,
    pub(super) images: Vec<Labelled>,
}

/// Reads a manifest: comma-separated, a header with the columns `file` (relative to the manifest's directory) and `label`
/// (`valid` or `normal`, or `anomalous`), and `frame` or `step` where steps are not the positions from 1. The run is named
/// after the directory.
///
/// # Errors
///
/// What is wrong, with its line.
pub(super) fn read(path: &Path) -> anyhow::Result<LabelledRun> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the manifest {}", path.display()))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let images = parse(&text, directory).with_context(|| format!("in {}", path.display()))?;
    let absolute = std::path::absolute(path)?;
    let name = absolute
        .parent()
        .and_then(Path::file_name)
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok(LabelledRun { name, before: Vec::new(), images })
}

fn parse(text: &str, directory: &Path) -> anyhow::Result<Vec<Labelled>> {
    let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let (header, _) =
        lines.next().context("the file is empty, expected a header with the columns file and label")?;
    let columns: Vec<&str> = header.split(',').map(str::trim).collect();
    let column = |name: &str| columns.iter().position(|column| *column == name);
    let needed =
        |name: &str| column(name).with_context(|| format!("line 1: no column {name} in \"{header}\""));
    let (file, label) = (needed("file")?, needed("label")?);
    let step = column("frame").or_else(|| column("step"));
    let mut images: Vec<Labelled> = Vec::new();
    for (line, number) in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        ensure!(
            cells.len() == columns.len(),
            "line {number}: {} cells, expected {} as in the header",
            cells.len(),
            columns.len()
        );
        let is_anomalous = match cells[label] {
            "valid" | "normal" => false,
            "anomalous" => true,
            other => bail!("line {number}: label \"{other}\", expected valid, normal or anomalous"),
        };
        let step = match step {
            Some(step) => cells[step]
                .parse()
                .with_context(|| format!("line {number}: \"{}\" is no whole number", cells[step]))?,
            None => images.len() as i64 + 1,
        };
        if let Some(last) = images.last() {
            ensure!(
                step > last.step,
                "line {number}: step {step} comes after {}, expected a later one",
                last.step
            );
        }
        images.push(Labelled { step, path: directory.join(cells[file]), is_anomalous });
    }
    ensure!(!images.is_empty(), "there are no images in it");
    Ok(images)
}

impl LabelledRun {
    /// Puts the images of `earlier` that come before this run's first in front of it.
    ///
    /// # Errors
    ///
    /// If there are none, or some are labelled anomalous.
    pub(super) fn put_before(&mut self, earlier: &Self) -> anyhow::Result<()> {
        let first = self.images.first().map_or(i64::MAX, |image| image.step);
        self.before = earlier.images.iter().filter(|image| image.step < first).cloned().collect();
        ensure!(
            !self.before.is_empty(),
            "{} has no image before step {first}, where {} begins",
            earlier.name,
            self.name
        );
        if let Some(image) = self.before.iter().find(|image| image.is_anomalous) {
            bail!(
                "{} is anomalous at step {}, before {} begins at {first}",
                earlier.name,
                image.step,
                self.name
            );
        }
        Ok(())
    }

    /// Leaves every n-th image from a step on, counted over both parts.
    pub(super) fn thin(&mut self, every: usize, from: Option<i64>) {
        let is_late = |image: &Labelled| from.is_none_or(|from| image.step >= from);
        let mut position = 0;
        let mut keep = |image: &Labelled| {
            let kept = is_late(image) && position % every == 0;
            position += usize::from(is_late(image));
            kept
        };
        self.before.retain(&mut keep);
        self.images.retain(&mut keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> anyhow::Result<Vec<Labelled>> {
        parse(text, Path::new("/runs/a"))
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let images =
            parsed("label,frame,file\nvalid,5,frames/5.png\n\nanomalous, 9 ,frames/9.png\n").unwrap();
        assert_eq!(images[1], Labelled { step: 9, path: "/runs/a/frames/9.png".into(), is_anomalous: true });
        assert!(!images[0].is_anomalous);
        let steps: Vec<i64> =
            parsed("file,label\na,normal\nb,normal\n").unwrap().iter().map(|i| i.step).collect();
        assert_eq!(steps, [1, 2]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, words) in [
            ("", "the file is empty"),
            ("frame,file\n", "no column label"),
            ("file,label\n", "no images"),
            ("file,label\na,odd\n", "line 2: label \"odd\""),
            ("file,label\na\n", "line 2: 1 cells, expected 2"),
            ("frame,file,label\n2,a,valid\n2,b,valid\n", "line 3: step 2"),
            ("frame,file,label\nx,a,valid\n", "line 2: \"x\""),
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    fn run(steps: std::ops::Range<i64>, onset: i64) -> LabelledRun {
        let image = |step| Labelled { step, path: step.to_string().into(), is_anomalous: step >= onset };
        LabelledRun { name: "r".into(), before: Vec::new(), images: steps.map(image).collect() }
    }

    #[test]
    fn twin_gets_the_images_before_it_and_is_thinned_with_them() {
        let mut twin = run(7..12, 100);
        twin.put_before(&run(1..12, 7)).unwrap();
        assert_eq!(twin.before.len(), 6);
        twin.thin(2, Some(2));
        let steps = |images: &[Labelled]| images.iter().map(|image| image.step).collect::<Vec<_>>();
        assert_eq!((steps(&twin.before), steps(&twin.images)), (vec![2, 4, 6], vec![8, 10]));
        assert!(run(7..12, 100).put_before(&run(1..12, 4)).is_err(), "a fault before the twin");
        assert!(run(1..12, 100).put_before(&run(1..12, 100)).is_err(), "nothing before");
    }
}
