//! What each command does.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use towpath_config::{Config, LogFormat, Mistakes};
use towpath_control::{Instance, Question, open_keys};

use crate::args::{Check, Command, Explain, Format, Reload, Run};
use crate::exit::{Failure, tell};
use crate::{demo, log, passwd, shorthand, tune, tunnel};

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Tcp(args) => one_liner(&shorthand::tcp(&args), args.print_config),
        Command::Http(args) => one_liner(&shorthand::http(&args), args.print_config),
        Command::Proxy(args) => one_liner(&shorthand::proxy(&args), args.print_config),
        Command::Tunnel(args) => match &args.new_key {
            Some(path) => tunnel::new_key(path),
            None => one_liner(&shorthand::tunnel(&args), args.print_config),
        },
        Command::Tune(args) => tune::run(&args),
        Command::Passwd(args) => passwd::run(&args),
        Command::Run(args) => file(&args),
        Command::Check(args) => check(&args),
        Command::Reload(args) => reload(&args),
        Command::Explain(args) => explain(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

/// Runs, or prints, what a one-liner stands for.
fn one_liner(text: &str, print: bool) -> Result<(), Failure> {
    let config = shorthand::parse(text)?;
    towpath_control::check(&config)?;
    if print {
        return answer(&shorthand::shown(text));
    }
    serve(config, text.to_owned())
}

fn file(args: &Run) -> Result<(), Failure> {
    let config = load(args).map_err(Failure::File)?;
    let _messages = log::start(config.log.format, log::USUAL);
    warn_of_keys(&config);
    let mut instance = Instance::start(config)?;
    let (again, watched) = (args.clone(), args.watch.then(|| args.file.clone()));
    instance.reloads(move || load_again(&again), watched);
    Ok(instance.run()?)
}

fn warn_of_keys(config: &Config) {
    open_keys(config).iter().for_each(|warning| tracing::warn!("{warning}"));
}

/// The file once more. A pipe, which could be read at the start, has nothing more to say, and reading it could wait for ever.
fn load_again(args: &Run) -> Result<Config, String> {
    if args.file.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("{} is no regular file, so it cannot be loaded again\n", args.file.display()));
    }
    load(args).map_err(|mistakes| mistakes.to_string())
}

/// The file, with what the command line says in place of it.
fn load(args: &Run) -> Result<Config, Mistakes> {
    let mut config = towpath_config::load(&args.file)?;
    if let Some(workers) = args.workers {
        config.workers = NonZeroUsize::new(usize::from(workers));
    }
    match args.log_format {
        Some(Format::Json) => config.log.format = LogFormat::Json,
        Some(Format::Text) => config.log.format = LogFormat::Text,
        None => {}
    }
    Ok(config)
}

fn reload(args: &Reload) -> Result<(), Failure> {
    let told = towpath_control::order(&socket(args.socket.as_ref(), args.file.as_ref())?, "POST", "/reload")?;
    answer(&told)
}

fn explain(args: &Explain) -> Result<(), Failure> {
    let question = Question::new(&args.listener, &args.client, args.sni.as_deref());
    let question = question.map_err(|mistake| Failure::Usage(mistake.trim_end().to_owned()))?;
    let Some(file) = &args.file else {
        let socket = socket(args.socket.as_ref(), None)?;
        let target = format!("/explain?{}", question.to_query());
        return answer(&towpath_control::order(&socket, "GET", &target)?);
    };
    let config = towpath_config::load(file).map_err(Failure::File)?;
    let told = towpath_control::explain_file(&config, &question)?;
    answer(&told)
}

/// The socket of an instance: what is given, or what its file says.
fn socket(given: Option<&PathBuf>, file: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(path.clone());
    }
    let Some(file) = file else { return Err(Failure::Usage("give a file or --socket".to_owned())) };
    let config = towpath_config::load(file).map_err(Failure::File)?;
    let no_socket = || {
        let file = file.display();
        Failure::Usage(format!("{file} has no [admin] socket; add one and start again, or send SIGHUP"))
    };
    config.admin.map(|admin| admin.socket).ok_or_else(no_socket)
}

fn check(args: &Check) -> Result<(), Failure> {
    let Some(file) = &args.file else {
        return answer(&towpath_config::schema());
    };
    let config = towpath_config::load(file).map_err(Failure::File)?;
    towpath_control::check(&config)?;
    open_keys(&config).iter().for_each(|warning| tell(&format!("warning: {warning}")));
    let count =
        |number: usize, thing: &str| format!("{number} {thing}{}", if number == 1 { "" } else { "s" });
    let (listeners, pools) = (count(config.listeners.len(), "listener"), count(config.pools.len(), "pool"));
    answer(&format!("{}: fine, {listeners} and {pools}\n", file.display()))
}

/// Runs what `text` says, again whenever a file that it names has changed.
fn serve(config: Config, text: String) -> Result<(), Failure> {
    let _messages = log::start(config.log.format, log::USUAL);
    warn_of_keys(&config);
    let mut instance = Instance::start(config)?;
    instance.reloads(
        move || towpath_config::parse(&text, "command line").map_err(|mistakes| mistakes.to_string()),
        None,
    );
    Ok(instance.run()?)
}

/// Writes what was asked for to the standard output.
fn answer(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush())?;
    Ok(())
}
