use swaprig_conformance::{all, run::run_cases, start::Programs};
use swaprig_harness::binary::{Kind, Quiet, Settings};
fn main() {
    let a: Vec<_> = std::env::args().collect();
    if a.get(1).map(String::as_str) == Some("diff") {
        let read = |p: &str| -> swaprig_conformance::transcript::Transcript { serde_json::from_str(&std::fs::read_to_string(p).unwrap()).unwrap() };
        for d in swaprig_conformance::report::differences(&read(&a[2]), &read(&a[3])) { println!("{} {} | {}\n    A {:?}\n    B {:?}", if d.known.is_some() {"known"} else {"DIFF"}, d.case, d.label, d.bundled, d.upstream); }
        return;
    }
    let mut args = std::env::args().skip(1);
    let kind = match args.next().as_deref() { Some("up") => Kind::Upstream, _ => Kind::Bundled };
    let key = args.next().unwrap_or_default();
    let settings = Settings::from_env();
    let programs = Programs::find(kind, &settings, &Quiet).unwrap_or_else(|e| panic!("{e}"));
    println!("{}", programs.passport());
    let cases: Vec<_> = all().into_iter().filter(|c| c.name.contains(&key)).collect();
    let dir = std::env::temp_dir().join(format!("conf-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    println!("{}", dir.display());
    let verbose = std::env::args().any(|a| a == "-v");
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let started = std::time::Instant::now();
    let runs = rt.block_on(run_cases(&programs, &cases, &dir, |run| {
        println!("{} {} {:.2?} {} seen", if run.unmet.is_empty() && run.stopped.is_none() {"ok  "} else {"FAIL"}, run.name, run.took, run.seen.len());
        for u in &run.unmet { println!("     {}\n        saw      {}\n        expected {}", u.label, u.saw, u.expected); }
        if let Some(s) = &run.stopped { println!("     STOPPED {s}"); }
        if verbose { for s in &run.seen { println!("       {} = {}", s.label, s.saw); } }
    }));
    match runs { Err(e) => println!("ERR {e}"), Ok(runs) => { if let Some(f) = std::env::args().skip(3).find(|a| a.ends_with(".json")) { std::fs::write(f, swaprig_conformance::transcript::Transcript::of(programs.passport().to_string(), &runs).text()).unwrap(); } } }
    println!("{:.2?}", started.elapsed());
}
