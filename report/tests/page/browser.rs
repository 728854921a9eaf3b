//! Pages in a real browser, where there is one: Chromium, named by `SWAPRIG_BROWSER` or on `PATH`. axe-core judges them where
//! it is named by `SWAPRIG_AXE` or lies in `target/axe-core/`. What is named must be there; otherwise a test skips, aloud.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests start the browser, find it on PATH, and read environment variables, which gate them (design D11)"
)]

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use swaprig_report::page;

use crate::html::tags;
use crate::{RECORDS, logs, record};

/// How long a browser may take for a page. It needs two seconds.
const SOON: Duration = Duration::from_secs(60);

/// Written into the document by a script that a copy of the page gets: sizes, and what axe finds.
const PROBE: &str = r#"
addEventListener("load", async () => {
  const out = document.createElement("pre");
  out.id = "probe";
  const root = document.documentElement;
  const found = { overflow: root.scrollWidth - root.clientWidth, width: innerWidth, dark: matchMedia("(prefers-color-scheme: dark)").matches };
  if (window.axe) {
    const result = await axe.run();
    found.axe = result.violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => v.id + ": " + v.nodes[0].html);
    found.rules = result.passes.length;
  }
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
"#;

fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SWAPRIG_BROWSER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut files = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name)));
    let found = files.find(|file| file.is_file());
    if found.is_none() {
        skipped("there is no chromium on PATH, and SWAPRIG_BROWSER names none");
    }
    found
}

/// The source of axe-core.
fn axe() -> Option<String> {
    if let Some(named) = std::env::var_os("SWAPRIG_AXE") {
        return Some(std::fs::read_to_string(named).expect("SWAPRIG_AXE names axe.min.js"));
    }
    let placed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/axe-core/axe.min.js");
    let source = std::fs::read_to_string(&placed).ok();
    if source.is_none() {
        skipped(
            "no accessibility check: SWAPRIG_AXE names no axe.min.js, and target/axe-core has none",
        );
    }
    source
}

/// Not `eprintln`, which the test runner keeps to itself when a test passes.
fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// The document after its scripts ran, and what the browser said.
fn opened(browser: &Path, file: &Path, profile: &Path, options: &[&str]) -> (String, String) {
    let mut child = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--enable-logging=stderr",
        ])
        .args(["--virtual-time-budget=20000", "--no-first-run"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(options)
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the browser starts");
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    let said = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stdout.read_to_end(&mut text);
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
    });
    let dom = receiver.recv_timeout(SOON);
    let _ = child.kill();
    let _ = child.wait();
    let said = said.join().unwrap();
    (
        dom.unwrap_or_else(|_| panic!("no page within {SOON:?}\n{said}")),
        said,
    )
}

fn console(said: &str) -> Vec<&str> {
    said.lines()
        .filter(|line| line.contains(":CONSOLE"))
        .collect()
}

#[test]
fn a_browser_shows_the_arrows_and_unpacks_the_logs() {
    let Some(browser) = browser() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in RECORDS {
        let contents = record(name);
        let page = page(&contents, &logs(&contents, 300));
        let file = dir.path().join(name).with_extension("html");
        std::fs::write(&file, &page).unwrap();
        let (dom, said) = opened(&browser, &file, &dir.path().join("profile"), &[]);
        assert_eq!(console(&said), [] as [&str; 0], "{name}");
        let arrows = |html: &str| {
            tags(html)
                .iter()
                .filter(|tag| tag.get("data-from").is_some())
                .count()
        };
        assert_eq!(arrows(&dom), arrows(&page), "{name}");
        assert!(
            dom.contains("600 of 600 lines"),
            "{name}: the logs are unpacked and counted"
        );
        let drawn = tags(&dom)
            .iter()
            .filter(|tag| tag.name == "p" && tag.get("class") == Some("l1"))
            .count();
        assert!(drawn >= 150, "{name}: {drawn} lines are drawn");
        assert!(
            dom.contains("&lt;b&gt;handled&lt;/b&gt;"),
            "{name}: what logs say is text"
        );
    }
}

#[test]
fn pages_are_accessible_and_fit_their_window() {
    let Some(browser) = browser() else { return };
    let axe = axe().map(|source| source.replace("</script", "<\\/script"));
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in RECORDS {
        let contents = record(name);
        let page = page(&contents, &logs(&contents, 50));
        let policy = page.find("<meta http-equiv").unwrap();
        let after = policy + page[policy..].find('>').unwrap() + 1;
        let probed = format!(
            "{}{}<script>{}</script><script>{PROBE}</script>",
            &page[..policy],
            &page[after..],
            axe.as_deref().unwrap_or_default()
        );
        let file = dir.path().join(name).with_extension("html");
        std::fs::write(&file, probed).unwrap();
        for (window, scheme) in [
            ("1280,900", "1"),
            ("768,1000", "1"),
            ("390,844", "1"),
            ("1280,900", "0"),
        ] {
            let options = [
                &*format!("--window-size={window}"),
                &format!("--blink-settings=preferredColorScheme={scheme}"),
            ];
            let (dom, said) = opened(&browser, &file, &dir.path().join("profile"), &options);
            let (_, probe) = dom
                .split_once("<pre id=\"probe\">")
                .unwrap_or_else(|| panic!("{said}"));
            let probe: String = probe[..probe.find("</pre>").unwrap()]
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&");
            let probe: serde_json::Value = serde_json::from_str(&probe).unwrap();
            println!("{name} at {window}: {probe}");
            assert!(
                probe["overflow"].as_i64().unwrap() <= 0,
                "{name} at {window}: {probe}"
            );
            assert_eq!(probe["dark"], scheme == "0", "{name} at {window}: {probe}");
            if axe.is_some() {
                assert!(probe["rules"].as_u64().unwrap() > 15, "{name}: {probe}");
                assert_eq!(probe["axe"], serde_json::json!([]), "{name} at {window}");
            }
        }
    }
}
