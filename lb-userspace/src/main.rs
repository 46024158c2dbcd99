//! Entry point of `lb`: the command line.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use lb::{
    admin::{
        cli::{ServerArgs, StatusArgs},
        health::HealthArgs,
        kernel_cli::{DenyArgs, FlowsArgs, TraceArgs},
        reload::ReloadArgs,
        stop::StopArgs,
        top::TopArgs,
        tune::TuneArgs,
        upgrade::UpgradeArgs,
    },
    allocator::Allocator,
    config::{
        self, Format, haproxy,
        model::{LogDestination, LogTarget},
    },
    daemon,
    observe::log::bridge,
};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Version, commit and the build of the kernel program that is embedded.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("LB_COMMIT"),
    ", eBPF ",
    env!("LB_EBPF_BUILD"),
    ")"
);

/// A load balancer for Linux: L4 in the kernel, L7 in userspace, one configuration
#[derive(Debug, Parser)]
#[command(name = "lb", version = VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon, in the foreground unless told otherwise
    Run(RunArgs),
    /// Check a configuration and say everything that is wrong with it
    Check(CheckArgs),
    /// Print another balancer's configuration as one of lb
    Import(ImportArgs),
    /// Show frontends, backends, servers and the path that connections take
    Status(StatusArgs),
    /// Watch the same as it changes, with keys that drain and weigh servers
    Top(TopArgs),
    /// Drain, enable, disable or weigh a server
    Server(ServerArgs),
    /// List the flows that the kernel forwards now
    Flows(FlowsArgs),
    /// Edit the prefixes whose new flows the kernel drops
    Deny(DenyArgs),
    /// Print what the kernel program decides for one client's packets, and why
    Trace(TraceArgs),
    /// Exit 0 if the data path really forwards, else 1 and say why
    Health(HealthArgs),
    /// Read the configuration again and run it, or say why not
    Reload(ReloadArgs),
    /// Have another binary take the daemon's place, with no connection lost, or say why not
    Upgrade(UpgradeArgs),
    /// Stop the daemon, gracefully unless told otherwise
    Stop(StopArgs),
    /// Print kernel settings worth having, with reasons and present values
    Tune(TuneArgs),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Go into the background once it serves; exit 1 if it does not come to that
    #[arg(long)]
    daemon: bool,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The configuration, as with --config
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The configuration; a name that ends in .cfg is HAProxy's, and so is a folder of such files
    #[arg(
        short = 'f',
        long,
        value_name = "FILE",
        default_value = "/etc/lb/lb.yaml"
    )]
    config: PathBuf,
    /// The kernel path of an HAProxy configuration, which says nothing of it: auto, xdp, xdp-generic, tc or off
    #[arg(long, value_name = "ATTACH")]
    fast_path: Option<String>,
}

impl FileArgs {
    fn path(&self) -> &Path {
        self.file.as_ref().unwrap_or(&self.config)
    }

    fn options(&self) -> haproxy::Options {
        haproxy::Options {
            fast_path: self.fast_path.clone(),
        }
    }
}

#[derive(Debug, Args)]
struct ImportArgs {
    #[command(subcommand)]
    from: ImportFrom,
}

#[derive(Debug, Subcommand)]
enum ImportFrom {
    /// An haproxy.cfg
    Haproxy {
        /// The file, or a folder of them
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    file: FileArgs,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t)]
    format: CheckFormat,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum CheckFormat {
    /// For people
    #[default]
    Text,
    /// For tools
    Json,
}

fn main() -> ExitCode {
    daemon::be_keeper();
    match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Check(args) => check(&args),
        Command::Import(args) => import(&args.from),
        Command::Status(args) => args.run(),
        Command::Top(args) => args.run(),
        Command::Server(args) => args.run(),
        Command::Flows(args) => args.run(),
        Command::Deny(args) => args.run(),
        Command::Trace(args) => args.run(),
        Command::Health(args) => args.run(),
        Command::Reload(args) => args.run(),
        Command::Upgrade(args) => args.run(),
        Command::Stop(args) => args.run(),
        Command::Tune(args) => args.run(),
        Command::Schema => written(config::SCHEMA.as_bytes()),
        Command::Completions { shell } => completions(shell),
        Command::Man => manual(),
    }
}

fn run(args: &RunArgs) -> ExitCode {
    bridge::install();
    let before = match daemon::Predecessor::find() {
        Ok(before) => before,
        Err(error) => {
            eprintln!("lb: {error}");
            return ExitCode::FAILURE;
        }
    };
    let file = &args.file;
    // Before the file is read, and before the process goes to another folder.
    let origin = daemon::Origin::new(file.path(), file.options());
    let report = config::check(file.path(), &config::process_environment, &file.options());
    let valid = report.is_valid();
    eprint!("{}", report.diagnostics.render(io::stderr().is_terminal()));
    let Some(config) = report.config.filter(|_| valid) else {
        return ExitCode::FAILURE;
    };
    if args.daemon {
        let stderr =
            |log: &LogTarget| matches!(log.target, LogDestination::Stdout | LogDestination::Stderr);
        if config.log_targets().all(stderr) {
            eprintln!(
                "lb: warning: nothing is logged once lb is in the background: name another target in global.log"
            );
        }
        match daemon::background::detach() {
            Ok(None) => {}
            Ok(Some(code)) => return code,
            Err(error) => {
                eprintln!("lb: cannot go into the background: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    daemon::run(config, origin, before)
}

fn check(args: &CheckArgs) -> ExitCode {
    let format = match args.format {
        CheckFormat::Json => Format::Json,
        CheckFormat::Text if io::stdout().is_terminal() => Format::Colour,
        CheckFormat::Text => Format::Text,
    };
    let checked = config::check_command(
        args.file.path(),
        &config::process_environment,
        &args.file.options(),
        format,
        &mut io::stdout(),
    );
    // An error means that nobody reads the answer any more.
    checked.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn import(from: &ImportFrom) -> ExitCode {
    let ImportFrom::Haproxy { file } = from;
    let colour = io::stderr().is_terminal();
    let source = match haproxy::read(file) {
        Ok(source) => source,
        Err(diagnostics) => {
            eprint!("{}", diagnostics.render(colour));
            return ExitCode::FAILURE;
        }
    };
    let (text, lost) = haproxy::import(
        &source,
        &config::process_environment,
        &haproxy::Options::default(),
    );
    print!("{text}");
    eprint!("{}", lost.render(colour));
    match lost.errors() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lb", &mut text);
    written(&text)
}

/// What the manual says besides what the commands say of themselves.
const MANUAL_END: &str = r#".SH "EXIT STATUS"
0 done, 1 it failed (a configuration that is not valid included), 2 wrong usage.
.SH SIGNALS
.TP
TERM, INT, USR1
Graceful stop within \fIglobal.grace\fR; another TERM or INT stops at once.
.TP
HUP, USR2
The configuration is read again, as by \fBlb reload\fR.
.SH FILES
.TP
\fI/etc/lb/lb.yaml\fR
The configuration; \fBlb schema\fR prints its JSON Schema.
.TP
\fI/run/lb/admin.sock\fR
The admin socket, which takes HAProxy's runtime commands as well.
"#;

/// The page of lb, with a section for each command, as one file of roff: there are no pages beside it.
fn manual() -> ExitCode {
    let command = Cli::command();
    let man = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    let rendered = man
        .render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| commands_manual(&command, "lb", &mut text))
        .and_then(|()| text.write_all(MANUAL_END.as_bytes()))
        .and_then(|()| man.render_version_section(&mut text));
    match rendered {
        Ok(()) => written(&text),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Sections about the commands below `command`, which is called `name`, and about those below them.
fn commands_manual(command: &clap::Command, name: &str, text: &mut Vec<u8>) -> io::Result<()> {
    for command in command.get_subcommands() {
        if command.get_name() == "help" {
            continue;
        }
        let name = format!("{name} {}", command.get_name());
        let man = clap_mangen::Man::new(command.clone().bin_name(&name));
        let mut part = Vec::new();
        man.render_description_section(&mut part)?;
        man.render_synopsis_section(&mut part)?;
        man.render_options_section(&mut part)?;
        // What is a page's section of its own is a part of the command's here.
        let part = String::from_utf8_lossy(&part)
            .replacen(".SH DESCRIPTION", &format!(".SH \"{name}\""), 1)
            .replace(".SH SYNOPSIS\n", ".PP\n")
            .replace(".SH OPTIONS", ".SS Options");
        text.write_all(part.as_bytes())?;
        commands_manual(command, &name, text)?;
    }
    Ok(())
}

/// To standard output; an error means that nobody reads it any more.
fn written(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
