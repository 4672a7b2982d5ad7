//! What each command does.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use towpath_config::{Config, LogFormat};
use towpath_control::Instance;

use crate::args::{Check, Command, Format, Run, Tcp};
use crate::exit::Failure;
use crate::{demo, log, shorthand};

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Tcp(args) => tcp(&args),
        Command::Run(args) => file(&args),
        Command::Check(args) => check(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

fn tcp(args: &Tcp) -> Result<(), Failure> {
    let text = shorthand::tcp(args);
    let config = shorthand::parse(&text)?;
    if args.print_config {
        return answer(&text);
    }
    serve(config)
}

fn file(args: &Run) -> Result<(), Failure> {
    let mut config = towpath_config::load(&args.file).map_err(Failure::File)?;
    if let Some(workers) = args.workers {
        config.workers = NonZeroUsize::new(usize::from(workers));
    }
    match args.log_format {
        Some(Format::Json) => config.log.format = LogFormat::Json,
        Some(Format::Text) => config.log.format = LogFormat::Text,
        None => {}
    }
    serve(config)
}

fn check(args: &Check) -> Result<(), Failure> {
    let Some(file) = &args.file else {
        return answer(&towpath_config::schema());
    };
    let config = towpath_config::load(file).map_err(Failure::File)?;
    let count =
        |number: usize, thing: &str| format!("{number} {thing}{}", if number == 1 { "" } else { "s" });
    let (listeners, pools) = (count(config.listeners.len(), "listener"), count(config.pools.len(), "pool"));
    answer(&format!("{}: fine, {listeners} and {pools}\n", file.display()))
}

fn serve(config: Config) -> Result<(), Failure> {
    let _messages = log::start(config.log.format);
    Ok(Instance::start(config)?.run()?)
}

/// Writes what was asked for to the standard output.
fn answer(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush())?;
    Ok(())
}
