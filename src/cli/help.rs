//! The commands in groups, as `swaprig --help` shows them.

use std::fmt::Write as _;

use clap::Command;

/// The groups, and the commands of each in the order in which they are shown.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Scenarios",
        &["run", "check", "list", "report", "new", "schema"],
    ),
    (
        "World",
        &[
            "exec", "up", "shell", "status", "mine", "fund", "pay", "fault", "logs",
        ],
    ),
    ("Swap", &["server", "client"]),
    ("Setup", &["doctor", "bench", "conformance"]),
];

/// `command` with a help in which its subcommands stand in groups.
pub(super) fn grouped(command: Command) -> Command {
    let text = commands(&command);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{text}\nOptions:\n{{options}}{{after-help}}"
    );
    command.help_template(template)
}

fn commands(command: &Command) -> String {
    let find = |name: &str| {
        let found = command.get_subcommands().find(|sub| sub.get_name() == name);
        found.and_then(Command::get_about).map(ToString::to_string)
    };
    let names = GROUPS.iter().flat_map(|(_, names)| *names);
    let width = names.map(|name| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (group, names) in GROUPS {
        let _ = writeln!(text, "{group}:");
        for name in *names {
            let _ = writeln!(text, "  {name:<width$}  {}", find(name).unwrap_or_default());
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_that_is_shown_is_in_one_group() {
        let command = super::super::Cli::command();
        let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        let mut shown: Vec<&str> = shown.map(Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.to_vec())
            .collect();
        shown.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(shown, grouped);
        command.debug_assert();
    }
}
