//! Finds scenario files under directories and gives each a stable id.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::problem::Source;

/// How the name of a scenario file ends.
pub(super) const SCENARIO: &str = ".scenario.toml";
pub(super) const FRAGMENT: &str = ".fragment.toml";

/// A directory of this name is where ids begin.
const ROOT: &str = "scenarios";

/// Why there is nothing to check or to run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A path that was given is not there.
    #[error("{path}: there is no such file or directory")]
    NotFound { path: PathBuf },
    /// A file that was given is not a scenario.
    #[error("{path}: not a scenario: the name of one ends in .scenario.toml")]
    NotAScenario { path: PathBuf },
    /// Nothing was found.
    #[error(
        "no scenarios in {}: the name of one ends in .scenario.toml",
        show(paths)
    )]
    NothingFound { paths: Vec<PathBuf> },
    /// A file or directory could not be read.
    #[error("{path}: cannot be read")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn show(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no path".to_owned(),
        paths => paths
            .iter()
            .map(|p| p.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// Reads the scenario files at `paths`, and those under each of them that is a directory, sorted by id. Hidden directories
/// are left out. A file that is named by itself may have any name that ends in `.toml`, fragments apart.
///
/// The id of a file is its path from the last directory called `scenarios` on, or else from the current directory, without
/// `.scenario.toml`: it does not depend on which path it was found through.
///
/// # Errors
///
/// [`LoadError::NothingFound`] when all paths are there and hold no scenario.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Source>, LoadError> {
    let mut files = BTreeSet::new();
    let mut visited = BTreeSet::new();
    for path in paths {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => walk(path, &mut visited, &mut files)?,
            Ok(_) => {
                let name = path.to_string_lossy();
                if !name.ends_with(".toml") || name.ends_with(FRAGMENT) {
                    return Err(LoadError::NotAScenario { path: path.clone() });
                }
                files.insert((canonical(path)?, path.clone()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LoadError::NotFound { path: path.clone() });
            }
            Err(source) => {
                return Err(LoadError::Read {
                    path: path.clone(),
                    source,
                });
            }
        }
    }
    if files.is_empty() {
        return Err(LoadError::NothingFound {
            paths: paths.to_vec(),
        });
    }
    read_all(files)
}

fn canonical(path: &Path) -> Result<PathBuf, LoadError> {
    fs::canonicalize(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Adds every scenario under `dir`. `visited` keeps links from leading in a circle.
fn walk(
    dir: &Path,
    visited: &mut BTreeSet<PathBuf>,
    files: &mut BTreeSet<(PathBuf, PathBuf)>,
) -> Result<(), LoadError> {
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        if !visited.insert(canonical(&dir)?) {
            continue;
        }
        let failed = |source| LoadError::Read {
            path: dir.clone(),
            source,
        };
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                pending.push(path);
            } else if name.ends_with(SCENARIO) {
                files.insert((canonical(&path)?, path.clone()));
            }
        }
    }
    Ok(())
}

fn read_all(files: BTreeSet<(PathBuf, PathBuf)>) -> Result<Vec<Source>, LoadError> {
    let here = std::env::current_dir().and_then(fs::canonicalize).ok();
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for (canonical, path) in files {
        // One file can be found through two paths.
        if !seen.insert(canonical.clone()) {
            continue;
        }
        let bytes = fs::read(&path).map_err(|source| LoadError::Read {
            path: path.clone(),
            source,
        })?;
        sources.push(Source::from_bytes(
            id(&canonical, here.as_deref()),
            path,
            &bytes,
        ));
    }
    tell_apart(&mut sources, here.as_deref());
    sources.sort_by(|a, b| a.id().cmp(b.id()));
    Ok(sources)
}

/// Two files of the same place in two trees are called by their whole path.
fn tell_apart(sources: &mut [Source], here: Option<&Path>) {
    let mut counts = std::collections::BTreeMap::new();
    for source in sources.iter() {
        *counts.entry(source.id().to_owned()).or_insert(0) += 1;
    }
    for source in sources
        .iter_mut()
        .filter(|source| counts.get(source.id()) > Some(&1))
    {
        let path = fs::canonicalize(source.path()).unwrap_or_else(|_| source.path().to_owned());
        let from_here = here
            .and_then(|here| path.strip_prefix(here).ok())
            .unwrap_or(&path);
        source.rename(join(from_here));
    }
}

/// The stable id of a file.
fn id(path: &Path, here: Option<&Path>) -> String {
    let components: Vec<Component<'_>> = path.components().collect();
    let directories = &components[..components.len().saturating_sub(1)];
    let root = directories
        .iter()
        .rposition(|part| part.as_os_str() == ROOT);
    match root {
        Some(root) => join(&components[root + 1..].iter().collect::<PathBuf>()),
        None => join(
            here.and_then(|here| path.strip_prefix(here).ok())
                .unwrap_or(path),
        ),
    }
}

/// The directory where ids begin, of the file at `path`: the last one called `scenarios` that it is below.
pub(super) fn root_of(path: &Path) -> Option<PathBuf> {
    let named = |path: &Path| {
        path.ancestors()
            .skip(1)
            .find(|dir| dir.file_name().is_some_and(|name| name == ROOT))
            .map(Path::to_owned)
    };
    named(path).or_else(|| named(&fs::canonicalize(path).ok()?))
}

fn join(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .filter(|part| !matches!(part, Component::RootDir | Component::Prefix(_)))
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    let id = parts.join("/");
    let id = id
        .strip_suffix(SCENARIO)
        .or_else(|| id.strip_suffix(".toml"))
        .unwrap_or(&id);
    id.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "title = \"x\"").unwrap();
        }
        dir
    }

    fn ids(paths: &[PathBuf]) -> Vec<String> {
        load(paths)
            .unwrap()
            .iter()
            .map(|source| source.id().to_owned())
            .collect()
    }

    #[test]
    fn an_id_does_not_depend_on_the_path_that_led_to_the_file() {
        let dir = tree(&[
            "scenarios/lightning/pay.scenario.toml",
            "scenarios/close.scenario.toml",
            "scenarios/lib/open.fragment.toml",
            "scenarios/tests/invalid/bad.toml",
            "scenarios/.hidden/x.scenario.toml",
        ]);
        let root = dir.path().join("scenarios");
        assert_eq!(ids(std::slice::from_ref(&root)), ["close", "lightning/pay"]);
        assert_eq!(
            ids(&[dir.path().to_owned(), root.clone()]),
            ["close", "lightning/pay"]
        );
        assert_eq!(ids(&[root.join("lightning")]), ["lightning/pay"]);
        assert_eq!(
            ids(&[root.join("lightning/../lightning")]),
            ["lightning/pay"]
        );
        assert_eq!(
            ids(&[root.join("tests/invalid/bad.toml")]),
            ["tests/invalid/bad"]
        );
    }

    #[test]
    fn the_same_place_in_two_trees_is_told_apart() {
        let dir = tree(&["a/scenarios/x.scenario.toml", "b/scenarios/x.scenario.toml"]);
        let found = ids(&[dir.path().to_owned()]);
        assert!(found[0].ends_with("a/scenarios/x") && found[1].ends_with("b/scenarios/x"));
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_empty() {
        let dir = tree(&["scenarios/lib/open.fragment.toml"]);
        let of = |path: &str| load(&[dir.path().join(path)]).unwrap_err();
        assert!(matches!(of("scenarios"), LoadError::NothingFound { .. }));
        assert!(matches!(of("nowhere"), LoadError::NotFound { .. }));
        let fragment = of("scenarios/lib/open.fragment.toml");
        assert!(matches!(fragment, LoadError::NotAScenario { .. }));
        assert!(matches!(load(&[]), Err(LoadError::NothingFound { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn links_in_a_circle_end() {
        let dir = tree(&["scenarios/x.scenario.toml"]);
        let root = dir.path().join("scenarios");
        std::os::unix::fs::symlink(&root, root.join("again")).unwrap();
        assert_eq!(ids(&[root]), ["x"]);
    }
}
