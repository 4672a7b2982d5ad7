//! What `--help` prints, compared with golden files; UPDATE_GOLDEN=1 rewrites them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use support::towpath::{command, output};

fn help_of(words: &[&str]) -> String {
    let (code, stdout, stderr) = output(command(words));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}");
    stdout.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n"
}

/// The commands that the help of the program lists.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn help_is_what_the_golden_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let whole = help_of(&["--help"]);
    let commands = commands(&whole);
    assert!(commands.len() >= 3, "{whole}");
    let mut helps = vec![("towpath".to_owned(), whole)];
    for command in commands {
        let long = help_of(&[&command, "--help"]);
        helps.push((format!("towpath-{command}"), long));
    }
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for (name, help) in &helps {
        let file = folder.join(format!("{name}.txt"));
        if update {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, help).unwrap();
        }
        let golden = fs::read_to_string(&file).unwrap_or_default();
        if golden != *help {
            wrong.push(format!("--- {name}.txt\n{golden}+++ {name} --help\n{help}"));
        }
    }
    let names: Vec<_> = helps.iter().map(|(name, _)| format!("{name}.txt")).collect();
    let files = fs::read_dir(&folder).unwrap().flatten().map(|file| file.file_name().into_string().unwrap());
    wrong.extend(
        files.filter(|file| !names.contains(file)).map(|file| format!("{file} belongs to no command")),
    );
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 rewrites them\n{}", wrong.join("\n"));
}

#[test]
fn every_command_has_an_example_in_its_help() {
    for command in commands(&help_of(&["--help"])) {
        let help = help_of(&[&command, "--help"]);
        assert!(help.contains("Example") && help.contains(&format!("  towpath {command}")), "{help}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(help_of(&["--version"]), format!("towpath {}\n", env!("CARGO_PKG_VERSION")));
}
