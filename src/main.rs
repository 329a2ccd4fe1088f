//! Parses the command line, runs the command, prints what is wrong, and ends with the right code.

use std::io::Write;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Parser;
use kiln::cli::Kiln;
use kiln::error::{Error, Problem};
use kiln::ranks::launched_rank;
use miette::{MietteHandlerOpts, Report};

/// What the last panic has said. Libraries of devices panic in threads of their own, and where Kiln looks whether there is a device; what a
/// user sees is one report, of the panic that ended the command.
static FAULT: Mutex<Option<String>> = Mutex::new(None);

fn main() -> ExitCode {
    kiln::memory::keep();
    let kiln = Kiln::parse();
    panic::set_hook(Box::new(|panic| {
        *FAULT.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
    }));
    let result = catch_unwind(AssertUnwindSafe(|| kiln.run())).unwrap_or_else(|_| {
        let fault = FAULT.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let what =
            format!("Kiln has hit a fault of its own, or of the device's driver; nothing saved is lost\n{fault}");
        let help = "the same command goes on from the last checkpoint; please report this message";
        let error = Error::run(Problem::new(what).help(help));
        Err(launched_rank().into_iter().fold(error, Error::on_rank))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn report(error: &Error) {
    if let Error::Interrupted = error {
        say("interrupted; everything is saved, and the same command goes on from here");
    }
    // Long lines stay whole, so that a place such as file:12:5 can be searched for and clicked on.
    let handler = || MietteHandlerOpts::new().wrap_lines(false).break_words(false).build();
    let _ = miette::set_hook(Box::new(move |_| Box::new(handler())));
    for problem in error.problems() {
        say(&format!("{:?}", Report::new(problem.clone())));
    }
}

/// Prints to stderr, whether or not anybody reads it.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
