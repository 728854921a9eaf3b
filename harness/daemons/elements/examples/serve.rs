//! The node as a process of its own, without the rest of swaprig: `serve [--detached] OPTIONS…`.

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let detached = arguments.first().is_some_and(|first| first == "--detached");
    if detached {
        arguments.remove(0);
    }
    swaprig_elements::run(&arguments, !detached)
}
