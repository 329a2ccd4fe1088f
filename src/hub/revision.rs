//! The files of a revision: those that a hub lists, or those that are in the cache.

use std::path::{Component, Path};

/// A file of a repository, by its path in it, with what the list tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<String>,
}

/// A file of a list; nothing where its path would lead out of the repository's folder, or cannot be a path here.
pub(super) fn listed(path: &str, size: Option<u64>, sha256: Option<String>) -> Option<Listed> {
    let is_plain = |part: Component| matches!(part, Component::Normal(_));
    let fits = !path.is_empty()
        && path.len() <= 1000
        && !path.contains("//")
        && !path.ends_with('/')
        && !path.contains(['\\', ':'])
        && !path.chars().any(char::is_control)
        && !path.split('/').any(|part| part == ".")
        && Path::new(path).components().all(is_plain);
    if !fits {
        tracing::warn!(
            "the file `{}` of the list is passed over: that is no name for a file here",
            path.escape_debug()
        );
        return None;
    }
    Some(Listed { path: path.to_string(), size, sha256 })
}

/// The files below a folder that are there, without what is still being fetched.
pub(super) fn files_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(folder, "", &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, before: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (Some(name), path) = (entry.file_name().to_str().map(String::from), entry.path()) else { continue };
        // A link that leads nowhere has no metadata.
        match path.metadata() {
            Ok(facts) if facts.is_dir() && !path.is_symlink() => collect(&path, &format!("{before}{name}/"), found),
            Ok(facts) if facts.is_file() && !name.ends_with(".incomplete") => found.push(format!("{before}{name}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_passed_over() {
        for name in ["config.json", "zh/train-00000-of-00001.parquet", ".gitattributes", "a b/c..d"] {
            assert!(listed(name, None, None).is_some(), "{name}");
        }
        for name in
            ["", "..", "../x", "a/../../x", "/etc/passwd", "a\\b", "C:x", "a\0b", "a//b", "./a", "a/./b", "a/", "a\nb"]
        {
            assert_eq!(listed(name, None, None), None, "{name:?}");
        }
    }
}
