//! Where settings come from: a flag goes before a variable, a variable before the file, the file before the default.

use super::raw::RawConfig;
use anyhow::{Context, bail};
use std::path::Path;
use toml::{Table, Value};

/// Variables with a name of their own, beside `ANOMALYD_SECTION_KEY`.
const SHORT_VARIABLES: [(&str, &str); 3] = [
    ("ANOMALYD_RUNTIME_DIR", "sockets.runtime_dir"),
    ("ANOMALYD_ENDPOINT_FILE", "sockets.endpoint_file"),
    ("ANOMALYD_ROOTS", "paths.roots"),
];

/// Joins the layers.
///
/// - `file`: path and text of a configuration file.
/// - `variables`: the environment; other names than those of settings are left alone.
/// - `flags`: setting (`section.key`) and value, the last one of a setting counts.
///
/// # Errors
///
/// An unknown setting, with the nearest known one, or a value of another type, with where it was written.
pub fn join(
    file: Option<(&Path, &str)>,
    variables: impl Iterator<Item = (String, String)>,
    flags: &[(String, String)],
) -> anyhow::Result<RawConfig> {
    let defaults =
        Table::try_from(RawConfig::default()).context("the default configuration; this is a bug")?;
    let mut table = Table::new();
    if let Some((path, text)) = file {
        let place = || format!("in {}", path.display());
        // Read as a whole first, for the line numbers in its errors.
        toml::from_str::<RawConfig>(text).map_err(|error| explained(&error)).with_context(place)?;
        table = text.parse::<Table>().with_context(place)?;
    }
    let mut named: Vec<_> =
        variables.filter_map(|(name, value)| Some((setting_of(&name, &defaults)?, name, value))).collect();
    // A short name goes before the long one; otherwise the environment has no order.
    named.sort_by_key(|(_, name, _)| SHORT_VARIABLES.iter().any(|(short, _)| short == name));
    let variables = named
        .into_iter()
        .map(|(setting, name, value)| (format!("in the variable {name}={value}"), setting, value));
    let flags = flags.iter().map(|(setting, value)| {
        (format!("in the flag for {setting}={value}"), setting.clone(), value.clone())
    });
    // One may want another that comes later, as an extractor wants its weights: what is wrong in the end is wrong from some setting on.
    let mut wrong = None;
    for (place, setting, value) in variables.chain(flags) {
        set(&mut table, &defaults, &setting, &value).with_context(|| place.clone())?;
        let error = checked(&table).err();
        wrong = error.map(|error| wrong.unwrap_or_else(|| error.context(place)));
    }
    match wrong {
        Some(error) => Err(error),
        None => table.try_into().map_err(|error| explained(&error)),
    }
}

fn checked(table: &Table) -> anyhow::Result<()> {
    RawConfig::try_from_table(table.clone())
}

impl RawConfig {
    fn try_from_table(table: Table) -> anyhow::Result<()> {
        table.try_into::<Self>().map(drop).map_err(|error| explained(&error))
    }
}

/// The setting that a variable stands for: `ANOMALYD_QUEUE_CAPACITY` for `queue.capacity`.
fn setting_of(variable: &str, defaults: &Table) -> Option<String> {
    if let Some((_, setting)) = SHORT_VARIABLES.iter().find(|(short, _)| *short == variable) {
        return Some((*setting).to_owned());
    }
    let rest = variable.strip_prefix("ANOMALYD_")?;
    let (section, key) = rest.split_once('_')?;
    let (section, key) = (section.to_lowercase(), key.to_lowercase());
    // Only what is known: other programs have variables with this prefix as well.
    defaults.get(&section)?.as_table()?.contains_key(&key).then(|| format!("{section}.{key}"))
}

/// Writes `value` into `table`, read as what the setting's default is.
fn set(table: &mut Table, defaults: &Table, setting: &str, value: &str) -> anyhow::Result<()> {
    let Some((section, key)) = setting.split_once('.') else {
        bail!("{setting} is no setting: write section.key, for example queue.capacity");
    };
    let default = defaults.get(section).and_then(Value::as_table).and_then(|keys| keys.get(key));
    let value = match default {
        // A crop may be a name or a table.
        Some(Value::String(_)) if !value.trim_start().starts_with('{') => Value::String(value.to_owned()),
        Some(Value::Array(_)) if !value.trim_start().starts_with('[') => {
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        // Numbers, truth values, tables; and what has no default, where TOML's own notation decides.
        _ => format!("value = {value}")
            .parse::<Table>()
            .ok()
            .and_then(|mut parsed| parsed.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned())),
    };
    let keys = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    let Some(keys) = keys.as_table_mut() else { bail!("{section} is not a section") };
    // `online.forest.n_trees`: below the first dot every further one goes a table deeper.
    let mut keys = keys;
    let mut names = key.split('.').peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            keys.insert(name.to_owned(), value);
            break;
        }
        let deeper = keys.entry(name).or_insert_with(|| Value::Table(Table::new()));
        let Some(deeper) = deeper.as_table_mut() else { bail!("{section}.{name} has no keys below it") };
        keys = deeper;
    }
    Ok(())
}

/// An error of the TOML reader, with the nearest known name where a name is unknown.
fn explained(error: &toml::de::Error) -> anyhow::Error {
    let message = error.to_string();
    let Some((_, names)) = error
        .message()
        .split_once("unknown field ")
        .or_else(|| error.message().split_once("unknown variant "))
    else {
        return anyhow::anyhow!("{}", message.trim_end());
    };
    let mut names = names.split('`').skip(1).step_by(2);
    let nearest = names.next().and_then(|found| {
        let (distance, name) = names.map(|name| (edit_distance(found, name), name)).min()?;
        // A third of the letters wrong is still a slip of the pen.
        (distance <= found.len().max(name.len()).div_ceil(3)).then_some(name)
    });
    match nearest {
        Some(name) => anyhow::anyhow!("{}\ndid you mean `{name}`?", message.trim_end()),
        None => anyhow::anyhow!("{}", message.trim_end()),
    }
}

/// The least number of letters inserted, removed or exchanged that turns `a` into `b` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn joined(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> anyhow::Result<RawConfig> {
        join(Some((Path::new("test.toml"), file)), owned(variables).into_iter(), &owned(flags))
    }

    fn error(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        format!("{:#}", joined(file, variables, flags).unwrap_err())
    }

    #[test]
    fn flag_goes_before_variable_before_file_before_default() {
        let file = "[queue]\ncapacity = 1\nmax_bytes = 100000\ndefault_deadline_ms = 3\n";
        let variables = [("ANOMALYD_QUEUE_CAPACITY", "4"), ("ANOMALYD_QUEUE_MAX_BYTES", "200000")];
        let queue = joined(file, &variables, &[("queue.capacity", "7")]).unwrap().queue;
        assert_eq!((queue.capacity, queue.max_bytes, queue.default_deadline_ms), (7, 200_000, 3));
        assert_eq!(joined("", &[], &[]).unwrap(), RawConfig::default());
    }

    #[test]
    fn lists_names_and_tables_are_read_from_variables_and_flags() {
        let variables = [("ANOMALYD_ROOTS", "/a, /b"), ("ANOMALYD_SHARED", "/elsewhere"), ("PATH", "/bin")];
        let flags = [("image.crop", "{ rows = [1, 2], columns = [3, 4] }"), ("sockets.socket_mode", "0660")];
        let raw = joined("", &variables, &flags).unwrap();
        assert_eq!(raw.paths.roots, ["/a", "/b"]);
        assert_eq!(raw.sockets.socket_mode, "0660");
        let crop = anomalyd_models::image::Crop { rows: [1, 2], columns: [3, 4] };
        assert_eq!(raw.image.crop, super::super::raw::CropSetting::Intervals(crop));
    }

    #[test]
    fn unknown_key_is_an_error_with_its_line_and_a_suggestion() {
        let error = error("[queue]\n\ncapcity = 1\n", &[], &[]);
        for part in ["in test.toml", "line 3", "capcity", "did you mean `capacity`?"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }

    #[test]
    fn unknown_section_and_unknown_flag_are_errors_with_a_suggestion() {
        assert!(error("[que]\n", &[], &[]).contains("did you mean `queue`?"));
        assert!(error("", &[], &[("worker.count", "1")]).contains("did you mean `workers`?"));
        assert!(error("", &[], &[("count", "1")]).contains("section.key"));
        let nothing_near = error("", &[], &[("queue.zzzzzz", "1")]);
        assert!(!nothing_near.contains("did you mean"), "{nothing_near}");
    }

    #[test]
    fn value_of_another_type_is_an_error_that_names_its_place() {
        let error = error("", &[("ANOMALYD_QUEUE_CAPACITY", "many")], &[]);
        assert!(
            error.contains("ANOMALYD_QUEUE_CAPACITY=many") && error.contains("expected usize"),
            "{error}"
        );
    }

    #[test]
    fn settings_that_want_each_other_may_come_in_any_order() {
        let mut flags = [
            ("online.forest.extractor.name", "resnet50"),
            ("online.forest.extractor.weights", "trained"),
            ("online.forest.extractor.tap", "layer3"),
        ];
        for _ in 0..flags.len() {
            let raw = joined("", &[], &flags).unwrap();
            assert_ne!(raw.online, RawConfig::default().online);
            flags.rotate_left(1);
        }
        let alone = error("", &[], &[flags[0], ("queue.capacity", "7")]);
        assert!(
            alone.contains("online.forest.extractor.name=resnet50") && alone.contains("weights"),
            "{alone}"
        );
        let [name, weights, tap] = flags;
        let after = error("", &[], &[name, weights, tap, ("queue.capacity", "many")]);
        assert!(after.contains("queue.capacity=many") && !after.contains("resnet50"), "{after}");
    }

    #[test]
    fn edit_distance_counts_letters() {
        for (a, b, distance) in
            [("", "abc", 3), ("capcity", "capacity", 1), ("kitten", "sitting", 3), ("x", "x", 0)]
        {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }
}
