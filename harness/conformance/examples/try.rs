use swaprig_conformance::{all, run::run_cases, start::Programs};
use swaprig_harness::binary::{Kind, Quiet, Settings};
fn main() {
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
    if let Err(e) = runs { println!("ERR {e}"); }
    println!("{:.2?}", started.elapsed());
}
