//! The texts that apt and the dynamic loader are given and give back.

use std::path::Path;

use super::Package;

/// apt's configuration. It is read after the machine's own (apt.conf(5)), which therefore holds for all that is not
/// set here, such as a proxy. Hooks of the machine are for its own package lists, and may need root.
pub(super) fn configuration(dir: &str, architecture: &str) -> String {
    format!(
        r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::CNF;
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Acquire::Retries "1";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
Debug::NoLocking "true";
Dir::Etc::SourceList "{dir}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{dir}/state";
Dir::State::Lists "{dir}/lists";
Dir::State::Status "{dir}/status";
Dir::Cache "{dir}/cache";
Dir::Cache::Archives "{dir}/cache/archives";
Dir::Cache::PkgCache "{dir}/cache/pkgcache.bin";
Dir::Cache::SrcPkgCache "{dir}/cache/srcpkgcache.bin";
"#
    )
}

/// A package status in which only `assumed` is installed, in a version that satisfies whatever asks for it.
pub(super) fn status(assumed: &[String], architecture: &str) -> String {
    let entry = |name: &String| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nMulti-Arch: foreign\n\
             Version: 9999\nMaintainer: nobody <nobody@localhost>\nDescription: assumed\n\n"
        )
    };
    assumed.iter().map(entry).collect()
}

/// `Inst NAME (VERSION ORIGIN [ARCHITECTURE]) …`, a line of `apt-get -s install`.
pub(super) fn planned(line: &str) -> Option<Package> {
    let rest = line.strip_prefix("Inst ")?;
    let (name, rest) = rest.split_once(" (")?;
    let inner = rest.split(')').next()?;
    let version = inner.split(' ').next()?;
    let architecture = inner.rsplit_once('[')?.1.strip_suffix(']')?;
    Some(Package {
        name: name.split([':', ' ']).next()?.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
        sha256: String::new(),
    })
}

/// The name under which apt saves a package: the colon of an epoch is escaped.
pub(super) fn deb_name(package: &Package) -> String {
    format!(
        "{}_{}_{}.deb",
        package.name,
        package.version.replace(':', "%3a"),
        package.architecture
    )
}

/// `dlstatus:3:93.3333:Retrieving file 3 of 3`, which apt writes to its status descriptor.
pub(super) fn percent(line: &str) -> Option<u64> {
    let number = line.strip_prefix("dlstatus:")?.split(':').nth(1)?;
    number.split('.').next()?.parse().ok()
}

/// The libraries of a loader's list (`NAME => PATH (ADDRESS)`) that were not found in `dir`.
pub(super) fn foreign_libraries(list: &str, dir: &Path) -> Vec<String> {
    let entry = |line: &str| -> Option<(String, String)> {
        let (name, rest) = line.trim().split_once(" => ")?;
        Some((name.to_owned(), rest.split(" (").next()?.trim().to_owned()))
    };
    let foreign = |(_, path): &(String, String)| !Path::new(path).starts_with(dir);
    list.lines()
        .filter_map(entry)
        .filter(foreign)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_s_plan_is_read() {
        let package =
            planned("Inst zlib1g (1:1.3.dfsg+really1.3.2-4 Debian:unstable [amd64])").unwrap();
        assert_eq!(package.name, "zlib1g");
        assert_eq!(
            deb_name(&package),
            "zlib1g_1%3a1.3.dfsg+really1.3.2-4_amd64.deb"
        );
        let package =
            planned("Inst libgcc-s1 (16.2.0-4 Debian:unstable, Debian:testing [amd64]) []")
                .unwrap();
        assert_eq!(
            (package.version.as_str(), package.architecture.as_str()),
            ("16.2.0-4", "amd64")
        );
        assert_eq!(
            planned("Conf libgcc-s1 (16.2.0-4 Debian:unstable [amd64])"),
            None
        );
        assert_eq!(planned("Inst nothing"), None);
    }

    #[test]
    fn progress_is_read() {
        assert_eq!(
            percent("dlstatus:3:93.3333:Retrieving file 3 of 3"),
            Some(93)
        );
        assert_eq!(percent("Get:2 http://a.test/debian sid/main"), None);
    }

    #[test]
    fn libraries_from_elsewhere_are_noticed() {
        let list = "\tlinux-vdso.so.1 (0x1)\n\
            \tlibzmq.so.5 => /p/usr/lib/libzmq.so.5 (0x2)\n\
            \tlibevent.so.7 => /usr/lib/libevent.so.7 (0x3)\n\
            \tlibgone.so.1 => not found\n\
            \t/lib64/ld.so => /p/usr/lib/ld.so (0x4)\n";
        assert_eq!(
            foreign_libraries(list, Path::new("/p")),
            ["libevent.so.7", "libgone.so.1"]
        );
    }
}
