//! Writes the page of a record: `cargo run -p swaprig-report --example page -- record.jsonl RUN-DIR page.html`.

use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [record, run_dir, out] = &args[..] else {
        panic!("usage: page RECORD RUN-DIR OUT");
    };
    let start = std::time::Instant::now();
    swaprig_report::write_page(Path::new(record), Path::new(run_dir), Path::new(out)).unwrap();
    println!("{out} in {} ms", start.elapsed().as_millis());
}
