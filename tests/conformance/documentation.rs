//! The list of differences in `docs/bundled-elements.md` is the one in the code.

use std::path::Path;

use swaprig_conformance::known::Known;

const BEGIN: &str = "<!-- differences: begin (made from harness/conformance/src/known.rs) -->\n";
const END: &str = "<!-- differences: end -->";

#[test]
fn the_documentation_lists_every_known_difference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bundled-elements.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the list has a beginning");
    let (list, after) = rest.split_once(END).expect("the list has an end");
    let own = Known::markdown();
    if super::cases::update_golden() {
        std::fs::write(&path, format!("{before}{BEGIN}{own}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        list, own,
        "run `UPDATE_GOLDEN=1 cargo test --test conformance documentation`"
    );
}
